//! Which route a path names. Owns the table of routes; never looks at a query, a body or the node.

use hyper::Method;

/// Every route, in the order of [`TEMPLATES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Index,
    KvSet,
    KvGet,
    KvRaw,
    KvDel,
    KvExists,
    KvMset,
    KvMget,
    KvIncr,
    KvDecr,
    KvExpire,
    KvTtl,
    KvPersist,
    KvScan,
    KvStats,
    Status,
    Promote,
    Switchover,
    Members,
    Pause,
    Resume,
    Outcome,
    Rollbacks,
    Rollback,
    Snapshot,
    Livez,
    Readyz,
    Startupz,
    Health,
    Metrics,
    OpenApi,
    Unknown,
}

/// The routes as metrics name them: bounded, and never a raw path.
pub(crate) const TEMPLATES: [&str; 32] = [
    "/",
    "/kv/set",
    "/kv/get/{key}",
    "/kv/raw/{key}",
    "/kv/del/{key}",
    "/kv/exists/{key}",
    "/kv/mset",
    "/kv/mget",
    "/kv/incr/{key}",
    "/kv/decr/{key}",
    "/kv/expire/{key}",
    "/kv/ttl/{key}",
    "/kv/persist/{key}",
    "/kv/scan",
    "/kv/stats",
    "/replication/status",
    "/replication/promote",
    "/replication/switchover",
    "/replication/members",
    "/replication/pause",
    "/replication/resume",
    "/replication/outcome",
    "/replication/rollbacks",
    "/replication/rollbacks/{id}",
    "/snapshot",
    "/livez",
    "/readyz",
    "/startupz",
    "/health",
    "/metrics",
    "/openapi.yaml",
    "unknown",
];

/// The route of `path`, with what the path says beyond its template (a key or an id, still percent-encoded).
/// A key may hold unescaped slashes.
pub(crate) fn find(path: &str) -> (Route, &str) {
    if let Some(rest) = path.strip_prefix("/kv/") {
        return match rest.split_once('/') {
            Some((verb, key)) => (keyed(verb), key),
            None => (keyless(rest), ""),
        };
    }
    if let Some(id) = path.strip_prefix("/replication/rollbacks/") {
        return (Route::Rollback, id);
    }
    let route = match path {
        "/replication/status" => Route::Status,
        "/replication/promote" => Route::Promote,
        "/replication/switchover" => Route::Switchover,
        "/replication/members" => Route::Members,
        "/replication/pause" => Route::Pause,
        "/replication/resume" => Route::Resume,
        "/replication/outcome" => Route::Outcome,
        "/replication/rollbacks" => Route::Rollbacks,
        "/snapshot" => Route::Snapshot,
        "/livez" => Route::Livez,
        "/readyz" => Route::Readyz,
        "/startupz" => Route::Startupz,
        "/health" => Route::Health,
        "/metrics" => Route::Metrics,
        "/openapi.yaml" => Route::OpenApi,
        "/" => Route::Index,
        _ => Route::Unknown,
    };
    (route, "")
}

fn keyed(verb: &str) -> Route {
    match verb {
        "get" => Route::KvGet,
        "raw" => Route::KvRaw,
        "del" => Route::KvDel,
        "exists" => Route::KvExists,
        "incr" => Route::KvIncr,
        "decr" => Route::KvDecr,
        "expire" => Route::KvExpire,
        "ttl" => Route::KvTtl,
        "persist" => Route::KvPersist,
        _ => Route::Unknown,
    }
}

fn keyless(verb: &str) -> Route {
    match verb {
        "set" => Route::KvSet,
        "mset" => Route::KvMset,
        "mget" => Route::KvMget,
        "scan" => Route::KvScan,
        "stats" => Route::KvStats,
        _ => Route::Unknown,
    }
}

/// What a method asks of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `GET` or `HEAD` (whose body hyper leaves out), or a `POST` that only reads.
    Read,
    /// Anything that changes something.
    Act,
}

impl Route {
    /// Its place in [`TEMPLATES`].
    pub(crate) const fn slot(self) -> usize {
        self as usize
    }

    /// What `method` asks of it; none: not allowed here.
    pub(crate) fn verb(self, method: &Method) -> Option<Verb> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        match self {
            Self::KvSet
            | Self::KvMset
            | Self::KvIncr
            | Self::KvDecr
            | Self::KvExpire
            | Self::KvPersist
            | Self::Promote
            | Self::Switchover
            | Self::Pause
            | Self::Resume
            | Self::Snapshot => (*method == Method::POST).then_some(Verb::Act),
            Self::Members if *method == Method::POST => Some(Verb::Act),
            Self::KvMget => (*method == Method::POST).then_some(Verb::Read),
            Self::KvDel => (*method == Method::DELETE).then_some(Verb::Act),
            Self::KvRaw if *method == Method::PUT => Some(Verb::Act),
            Self::KvRaw
            | Self::KvGet
            | Self::KvExists
            | Self::KvTtl
            | Self::KvScan
            | Self::KvStats
            | Self::Status
            | Self::Members
            | Self::Outcome
            | Self::Rollbacks
            | Self::Rollback
            | Self::Livez
            | Self::Readyz
            | Self::Startupz
            | Self::Health
            | Self::Metrics
            | Self::Index
            | Self::OpenApi => reads.then_some(Verb::Read),
            Self::Unknown => Some(Verb::Read),
        }
    }

    /// Whether it is about the value of one key, which has a version.
    pub(crate) const fn has_one_key(self) -> bool {
        match self {
            Self::KvSet
            | Self::KvGet
            | Self::KvRaw
            | Self::KvDel
            | Self::KvIncr
            | Self::KvDecr
            | Self::KvExpire
            | Self::KvPersist => true,
            Self::KvExists
            | Self::KvMset
            | Self::KvMget
            | Self::KvTtl
            | Self::KvScan
            | Self::KvStats
            | Self::Status
            | Self::Promote
            | Self::Switchover
            | Self::Members
            | Self::Pause
            | Self::Resume
            | Self::Outcome
            | Self::Rollbacks
            | Self::Rollback
            | Self::Snapshot
            | Self::Livez
            | Self::Readyz
            | Self::Startupz
            | Self::Health
            | Self::Metrics
            | Self::Index
            | Self::OpenApi
            | Self::Unknown => false,
        }
    }

    /// Whether what it does is a client's write, which can be sent again under an `Idempotency-Key`.
    pub(crate) const fn writes_keys(self) -> bool {
        match self {
            Self::KvMset => true,
            Self::KvGet => false,
            one => one.has_one_key(),
        }
    }

    /// What it is for, in a few words: as `openapi.yaml` sums it up, a sentence for each method that it takes.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Index => "This list of routes, as text.",
            Self::KvSet => "Sets a key.",
            Self::KvGet => "The value of a key, as JSON.",
            Self::KvRaw => "The value of a key, as bytes. Sets a key to the bytes of the body.",
            Self::KvDel => "Deletes a key.",
            Self::KvExists => "Whether a key is there.",
            Self::KvMset => "Sets many keys, all or none.",
            Self::KvMget => "The values of many keys.",
            Self::KvIncr => "Adds to a whole number; an absent key counts as 0.",
            Self::KvDecr => "Subtracts from a whole number; an absent key counts as 0.",
            Self::KvExpire => "Gives a key a time to live; 0 removes the key.",
            Self::KvTtl => "How long a key has to live.",
            Self::KvPersist => "Takes away a key's time to live.",
            Self::KvScan => "Keys in byte order, a page at a time.",
            Self::KvStats => "How many keys there are, and what was done to them.",
            Self::Status => "What this node knows of itself and its cluster.",
            Self::Promote => "Makes this node the master.",
            Self::Switchover => "Hands the mastership to another node, and loses nothing.",
            Self::Members => "Who belongs to the cluster. Changes who belongs to the cluster.",
            Self::Pause => "No elections for a while.",
            Self::Resume => "Elections go on.",
            Self::Outcome => "What became of a write.",
            Self::Rollbacks => "What failovers discarded on this node.",
            Self::Rollback => "A rollback file.",
            Self::Snapshot => "Takes a snapshot, and answers when it is durable.",
            Self::Livez => "Whether the process answers.",
            Self::Readyz => "Whether this node is fit for reads, or for a role.",
            Self::Startupz => "Whether this node has loaded its data.",
            Self::Health => "A summary.",
            Self::Metrics => "Metrics, in Prometheus' text format.",
            Self::OpenApi => "This description, for programs.",
            Self::Unknown => "",
        }
    }

    /// What it allows, as the `Allow` header says it.
    pub(crate) const fn allow(self) -> &'static str {
        match self {
            Self::KvSet
            | Self::KvMset
            | Self::KvMget
            | Self::KvIncr
            | Self::KvDecr
            | Self::KvExpire
            | Self::KvPersist
            | Self::Promote
            | Self::Switchover
            | Self::Pause
            | Self::Resume
            | Self::Snapshot => "POST",
            Self::Members => "GET, HEAD, POST",
            Self::KvDel => "DELETE",
            Self::KvRaw => "GET, HEAD, PUT",
            Self::KvGet
            | Self::KvExists
            | Self::KvTtl
            | Self::KvScan
            | Self::KvStats
            | Self::Status
            | Self::Outcome
            | Self::Rollbacks
            | Self::Rollback
            | Self::Livez
            | Self::Readyz
            | Self::Startupz
            | Self::Health
            | Self::Metrics
            | Self::Index
            | Self::OpenApi
            | Self::Unknown => "GET, HEAD",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        assert_eq!(find("/kv/get/user:1"), (Route::KvGet, "user:1"));
        assert_eq!(find("/kv/get/a/b"), (Route::KvGet, "a/b"));
        assert_eq!(find("/kv/get/"), (Route::KvGet, ""));
        assert_eq!(find("/kv/get"), (Route::Unknown, ""));
        assert_eq!(find("/kv/set"), (Route::KvSet, ""));
        assert_eq!(find("/replication/rollbacks"), (Route::Rollbacks, ""));
        assert_eq!(find("/replication/rollbacks/7"), (Route::Rollback, "7"));
        assert_eq!(find("/"), (Route::Index, ""));
        assert_eq!(find("/kv"), (Route::Unknown, ""));
    }

    #[test]
    fn every_route_is_documented_with_its_methods() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let document = std::fs::read_to_string(path).unwrap();
        let mut rows = document.lines().filter(|line| line.starts_with("| `/"));
        for template in TEMPLATES.iter().filter(|template| template.starts_with('/')) {
            let (route, _) = find(template);
            let row = rows.next().unwrap_or_default();
            assert!(row.starts_with(&format!("| `{template}` | {} | ", route.allow())), "{template}: {row}");
        }
        assert_eq!(rows.next(), None);
    }

    #[test]
    fn every_route_has_its_template() {
        assert_eq!(Route::Unknown.slot() + 1, TEMPLATES.len());
        for template in TEMPLATES.iter().filter(|template| template.starts_with('/')) {
            let (route, _) = find(template);
            assert_eq!(TEMPLATES[route.slot()], *template);
        }
    }
}

//! The known key that somebody probably meant.

/// The key among `known` (full paths) that is nearest to `unknown`: the same name in another section, else a
/// similar one beside it, else a similar one anywhere. None if nothing is near.
pub(super) fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let (section, name) = split(unknown);
    let beside = || known.iter().copied().filter(|key| split(key).0 == section);
    known
        .iter()
        .copied()
        .find(|key| split(key).1 == name)
        .or_else(|| closest(name, beside()))
        .or_else(|| closest(name, known.iter().copied()))
}

fn closest<'k>(name: &str, keys: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    keys.map(|key| (strsim::damerau_levenshtein(name, split(key).1), key))
        .filter(|(distance, _)| *distance <= (name.len() / 3).max(2).min(name.len().saturating_sub(1)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = [
        "server",
        "server.port",
        "replication.role",
        "replication.heartbeat_interval_ms",
        "persistence.wal.enabled",
        "persistence.snapshot.enabled",
    ];

    #[test]
    fn a_slip_of_the_pen_finds_its_neighbour() {
        assert_eq!(nearest("server.prot", &KNOWN), Some("server.port"));
        assert_eq!(nearest("replication.heartbeat_ms", &KNOWN), None);
        assert_eq!(nearest("replication.hearbeat_interval_ms", &KNOWN), Some("replication.heartbeat_interval_ms"));
        assert_eq!(nearest("sever", &KNOWN), Some("server"));
    }

    #[test]
    fn the_same_name_elsewhere_wins() {
        assert_eq!(nearest("server.role", &KNOWN), Some("replication.role"));
        assert_eq!(nearest("port", &KNOWN), Some("server.port"));
    }

    #[test]
    fn nothing_near_is_nothing() {
        assert_eq!(nearest("server.colour", &KNOWN), None);
        assert_eq!(nearest("x", &KNOWN), None);
    }
}

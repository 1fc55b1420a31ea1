//! What the log says: a [`Command`] is what was asked, and applying it in log order is deterministic. The
//! byte layout is in [`crate::wal::record`].

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use crate::ids::NodeId;
use crate::position::Index;
use crate::store::Item;
use crate::version::Version;

/// How a value came in, so that it goes out the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// Raw bytes: a JSON string's content, or a raw upload.
    Bytes,
    /// The compact text of any other JSON value.
    Json,
}

/// A value with its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    /// How it came in.
    pub kind: ValueKind,
    /// Its bytes.
    pub bytes: Bytes,
}

/// When a command on one key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// In any case.
    Always,
    /// `nx`: only where the key is absent.
    Absent,
    /// `xx`: only where the key is present.
    Present,
    /// `if_version`: only where the key has this version; [`Version::ABSENT`] asks for an absent key.
    Version(Version),
}

/// One key with its new value, in a [`Command::Batch`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// The new value.
    pub value: Value,
    /// Time to live in milliseconds, from the entry's `at`; none lives for ever.
    pub ttl_ms: Option<u64>,
}

impl Pair {
    /// Bytes of its key and value.
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.value.bytes.len()) as u64
    }
}

/// Why a mastership began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartKind {
    /// The cluster's first.
    Founding,
    /// The same master, started again.
    Restart,
    /// An operator promoted a replica (verb or edited YAML), with the guards satisfied.
    Promotion,
    /// An operator promoted a replica by force, accepting loss.
    Forced,
    /// A majority of voters elected it.
    Election,
    /// The master before it handed over, and a majority of voters agreed.
    Switchover,
}

impl StartKind {
    /// Whether an operator promoted the master.
    pub fn is_by_operator(self) -> bool {
        match self {
            Self::Promotion | Self::Forced => true,
            Self::Founding | Self::Restart | Self::Election | Self::Switchover => false,
        }
    }

    /// Whether an operator promoted it by force.
    pub fn is_by_force(self) -> bool {
        match self {
            Self::Forced => true,
            Self::Founding | Self::Restart | Self::Promotion | Self::Election | Self::Switchover => false,
        }
    }

    /// Whether a majority of voters is for it.
    pub fn is_by_voters(self) -> bool {
        match self {
            Self::Election | Self::Switchover => true,
            Self::Founding | Self::Restart | Self::Promotion | Self::Forced => false,
        }
    }
}

impl StartKind {
    /// As the API and files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Founding => "founding",
            Self::Restart => "restart",
            Self::Promotion => "promotion",
            Self::Forced => "forced",
            Self::Election => "election",
            Self::Switchover => "switchover",
        }
    }
}

/// A member of the cluster, as the log records it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Who.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// `host:port` that other nodes dial.
    pub replication: String,
    /// `host:port` that clients are sent to.
    pub http: String,
    /// Whether its disk counts towards commits.
    pub voter: bool,
    /// As its configuration says; 0 = never master.
    pub priority: u32,
    /// As an operator says, which outranks the configuration.
    pub priority_set: Option<u32>,
}

/// Who belongs to the cluster and by which rule it commits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Whether commits need a majority of voters and replicas elect.
    pub armed: bool,
    /// While armed: how long a voter that has heard the master gives its word to nobody else. In the log, so that all
    /// voters and the master's lease go by the same length, over restarts too.
    pub election_timeout_ms: u32,
    /// No replica campaigns by itself for so long; none if that is not wanted.
    pub pause: Option<Pause>,
    /// Sorted by id, at most [`MEMBERS_MAX`].
    pub members: Vec<Member>,
}

/// An operator wants no elections for a while. Every node counts by its own monotonic clock, from when it first knew of it,
/// so that nobody's wall clock makes it longer or shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pause {
    /// The entry that began it, which tells it from an earlier one; memberships after it carry it on.
    pub since: Index,
    /// How long it lasts, in milliseconds.
    pub length_ms: u32,
}

/// The most members that one cluster can have.
pub const MEMBERS_MAX: usize = 64;

/// The longest [`Ticket::key`], in bytes.
pub const TICKET_KEY_BYTES_MAX: usize = 255;

/// What makes a request safe to send again: of all the commands under one key the first is carried out, the others
/// are answered as it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The name that the client gave the request; 1 to [`TICKET_KEY_BYTES_MAX`] bytes.
    pub key: Bytes,
    /// What it asked, to tell a retry from another request under the same key.
    pub fingerprint: Fingerprint,
    /// Whether a retry must be told the old value too, which is then kept as well as it fits.
    pub wants_old: bool,
}

/// A request in 128 bits. It tells a client's slip, and is no defence against someone who seeks two requests with
/// the same one: they would only fool themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u128);

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Sets a key; clears its expiry unless `ttl_ms` gives one.
    Set {
        /// Key, new value and time to live.
        pair: Pair,
        /// When it takes effect.
        condition: Condition,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Adds to an integer; an absent key counts as 0; keeps the expiry.
    Incr {
        /// The key.
        key: Bytes,
        /// What to add; may be negative.
        by: i64,
    },
    /// Gives a key a time to live.
    Expire {
        /// The key.
        key: Bytes,
        /// From the entry's `at`, in milliseconds.
        ttl_ms: u64,
    },
    /// Takes a key's expiry away.
    Persist {
        /// The key.
        key: Bytes,
    },
    /// Sets several keys at once, all or none.
    Batch {
        /// In the order given; a key that stands twice ends with its last value.
        pairs: Vec<Pair>,
    },
    /// Another client's command, carried out only where its key is as this asks; a set has its own condition.
    If {
        /// What the key must be; not [`Condition::Always`].
        condition: Condition,
        /// What to do; [`Command::takes_condition`].
        command: Box<Command>,
    },
    /// Another client's command, carried out unless one with the same key was before.
    Once {
        /// The key, and what was asked under it.
        ticket: Ticket,
        /// What to do; a client's command, and no `Once` itself.
        command: Box<Command>,
    },
    /// Opens a mastership; the first entry of every epoch.
    EpochStart {
        /// Why.
        kind: StartKind,
        /// Drawn by the master that opens it: how far the versions of its line move on, see [`crate::version`]. Zero in logs of
        /// version 2.
        spread: u32,
    },
    /// Replaces the membership.
    Config(Membership),
    /// The master's sweep: removes those of `keys` that have expired by the entry's `at`.
    Sweep {
        /// Keys that had expired when the master looked.
        keys: Vec<Bytes>,
    },
}

/// What applying a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a set.
    Set {
        /// False when `nx` or `xx` said no.
        written: bool,
        /// The key's version afterwards.
        version: Version,
        /// What the key held before.
        old: Option<Item>,
    },
    /// `if_version` named another version than the key's, which is this; or the key is not as a [`Command::If`] asks.
    VersionMismatch {
        /// The key's version.
        actual: Version,
    },
    /// Of a delete.
    Deleted {
        /// Whether the key was there.
        existed: bool,
    },
    /// Of an incr: the sum.
    Number(i64),
    /// An incr met a value that is no integer, or its sum leaves `i64`.
    NotAnInteger,
    /// Of an expire or persist: whether it changed anything.
    Touched(bool),
    /// Of a batch: how many pairs were written.
    Batch {
        /// All of them.
        written: u64,
    },
    /// Of a retry: what the first command under its key gave. Nothing was done this time.
    Replayed {
        /// The entry of the first.
        first: Index,
        /// What it gave.
        outcome: Box<Outcome>,
        /// Whether the outcome lacks the old value that the first answer told, because it was too long to be kept.
        old_dropped: bool,
    },
    /// The ticket's key stands for another request. Nothing was done.
    KeyReused {
        /// The entry of that request.
        first: Index,
    },
    /// Of the log's own commands.
    Internal,
}

impl Command {
    /// Whether a client asked for it, rather than the log itself.
    pub const fn is_client(&self) -> bool {
        match self {
            Self::Set { .. }
            | Self::Delete { .. }
            | Self::Incr { .. }
            | Self::Expire { .. }
            | Self::Persist { .. }
            | Self::Batch { .. } => true,
            Self::If { condition, command } => {
                !matches!(condition, Condition::Always) && command.takes_condition()
            }
            Self::Once { command, .. } => command.is_plain_client(),
            Self::EpochStart { .. } | Self::Config(_) | Self::Sweep { .. } => false,
        }
    }

    /// Whether a [`Command::If`] may hold it.
    pub const fn takes_condition(&self) -> bool {
        self.single_key().is_some()
    }

    /// The key of a command on one key that has no condition of its own.
    pub const fn single_key(&self) -> Option<&Bytes> {
        match self {
            Self::Delete { key } | Self::Incr { key, .. } | Self::Expire { key, .. } | Self::Persist { key } => {
                Some(key)
            }
            Self::Set { .. }
            | Self::Batch { .. }
            | Self::If { .. }
            | Self::Once { .. }
            | Self::EpochStart { .. }
            | Self::Config(_)
            | Self::Sweep { .. } => None,
        }
    }

    /// Whether a client asked for it, and without a ticket: what a [`Command::Once`] may hold.
    pub const fn is_plain_client(&self) -> bool {
        match self {
            Self::Once { .. } => false,
            _ => self.is_client(),
        }
    }

    /// What it does, with or without a ticket.
    pub fn untied(&self) -> &Self {
        match self {
            Self::Once { command, .. } => command,
            _ => self,
        }
    }

    /// What it does, with or without a ticket, where its condition holds.
    pub fn plain(&self) -> &Self {
        match self.untied() {
            Self::If { command, .. } => command,
            untied => untied,
        }
    }

    /// The keys and values that it brings, where its condition holds.
    pub fn pairs(&self) -> &[Pair] {
        match self.plain() {
            Self::Set { pair, .. } => core::slice::from_ref(pair),
            Self::Batch { pairs } => pairs,
            Self::If { .. }
            | Self::Once { .. }
            | Self::Incr { .. }
            | Self::Delete { .. }
            | Self::Expire { .. }
            | Self::Persist { .. }
            | Self::EpochStart { .. }
            | Self::Config(_)
            | Self::Sweep { .. } => &[],
        }
    }
}

impl Fingerprint {
    /// The fingerprint of a request in parts. Where one part ends and the next begins counts as well.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Xxh3Default::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest128())
    }
}

impl Membership {
    /// The member with this id.
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.members.binary_search_by_key(&id, |member| member.id).ok().and_then(|at| self.members.get(at))
    }

    /// The member with this id, to change it.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut Member> {
        let at = self.members.binary_search_by_key(&id, |member| member.id).ok()?;
        self.members.get_mut(at)
    }

    /// Those whose disks count, by id.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|member| member.voter).map(|member| member.id)
    }

    /// Whether this node's disk counts.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(|member| member.voter)
    }
}

impl Member {
    /// The priority that counts; 0 = never master.
    pub fn rank(&self) -> u32 {
        self.priority_set.unwrap_or(self.priority)
    }
}

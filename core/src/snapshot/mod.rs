//! Snapshots: a committed store at one position, as a stream of checksummed chunks. The same chunks stand in
//! the file and go over the wire. The layout is in `docs/formats/snapshot.md`.
//!
//! It owns the format, the cutting and the putting together; when snapshots are taken, sent and thrown away
//! is the node's affair.

mod chunk;
mod cuts;
mod meta;
mod reader;
pub mod restore;
mod writer;

use crate::command::Membership;
use crate::history::History;
use crate::ids::ClusterId;
use crate::position::{Index, Position};
use crate::store::StateHash;
use crate::time::WallMs;
use crate::version::VersionBase;

pub use chunk::{CHUNK_BYTES_MAX, FORMAT_VERSION};
pub use reader::{SnapshotProgress, SnapshotReader};
pub use writer::SnapshotWriter;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The last entry that it holds.
    pub position: Position,
    /// That entry's `at`.
    pub log_time: WallMs,
    /// The epochs up to there.
    pub history: History,
    /// The membership as of there.
    pub membership: Membership,
    /// From where the open term counts versions.
    pub version_base: VersionBase,
    /// How many items follow.
    pub keys: u64,
    /// How many results for retries follow those.
    pub results: u64,
    /// The hash that all must give.
    pub hash: StateHash,
}

/// What a store consists of, in the order in which a snapshot holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Items,
    Results,
}

/// Why a snapshot is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A chunk's checksum differs or it is cut short.
    #[error("snapshot chunk {0} is damaged")]
    Damaged(u32),
    /// Another format version.
    #[error("snapshot format version {0} is not known")]
    Version(u16),
    /// The store that it gives has another hash or another number of keys than it says.
    #[error("snapshot does not give the state that it promises")]
    Mismatch,
}

/// The index that a snapshot file of this name holds; none if it is no snapshot's name.
pub fn index_of_file_name(name: &str) -> Option<Index> {
    let hex = name.strip_prefix("snapshot-")?.strip_suffix(".snap")?;
    (hex.len() == 16).then(|| u64::from_str_radix(hex, 16).ok().map(Index)).flatten()
}

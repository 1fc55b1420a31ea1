//! Operations of a disk as people read them in a trace.

use bytes::Bytes;
use synap_core::wal::FileOp;

/// Whether it makes durable what was written before.
pub fn is_sync(op: &FileOp) -> bool {
    match op {
        FileOp::Sync { .. } | FileOp::SyncDir { .. } => true,
        FileOp::Create { .. }
        | FileOp::Write { .. }
        | FileOp::Rename { .. }
        | FileOp::Link { .. }
        | FileOp::Remove { .. }
        | FileOp::CreateDir { .. } => false,
    }
}

/// What an operation does.
pub fn op_line(op: &FileOp) -> String {
    match op {
        FileOp::Create { file } => format!("create {file}"),
        FileOp::Write { file, at, parts } => {
            format!("write {file} at {at}, {} bytes", parts.iter().map(Bytes::len).sum::<usize>())
        }
        FileOp::Sync { file } => format!("sync {file}"),
        FileOp::SyncDir { dir } => format!("sync directory '{dir}'"),
        FileOp::Rename { from, to } => format!("rename {from} to {to}"),
        FileOp::Link { from, to } => format!("link {from} to {to}"),
        FileOp::Remove { file } => format!("remove {file}"),
        FileOp::CreateDir { dir } => format!("make directory {dir}"),
    }
}

//! The files of a restored node, in a directory that was empty: a snapshot, and the hard state in a file of its own. Owns the
//! order in which they are written, and which directories are fit for that.
//!
//! A mark is durable before the first of them is begun and goes after all of them are durable. While it stands, a start is refused
//! ([`super::RecoveryError::UnfinishedRestore`]) and a restore may be begun again. So a restore that breaks off anywhere leaves an empty
//! directory, a marked one or a whole node.

use alloc::string::String;
use alloc::vec::Vec;
use core::iter::from_fn;

use bytes::Bytes;

use crate::snapshot::restore::Restored;
use crate::snapshot::{SnapshotWriter, index_of_file_name};
use crate::wal::ops::FileOp;
use crate::wal::record::Record;
use crate::wal::side_files::{is_unfinished_snapshot, snapshot_name, snapshot_temporary_name, sync_data_dir};
use crate::wal::statefile;

/// The name of the mark.
pub const MARK: &str = "restoring";

/// What that file says to people who open it.
const MARK_TEXT: &[u8] =
    b"A restore into this directory was begun and is not finished: run `synap restore` again, or remove the files here.\n";

/// What removes all that a restore that broke off has left among these files, in order; or the name of a file that is not from
/// one, and for which the directory must be left alone.
pub fn clear(names: &[String]) -> Result<Vec<FileOp>, &String> {
    let marked = names.iter().any(|name| name == MARK);
    if let Some(other) = names.iter().find(|name| !marked || !is_of_restore(name)) {
        return Err(other);
    }
    let remove = |file: &String| FileOp::Remove { file: file.clone() };
    let mut ops: Vec<FileOp> = names.iter().filter(|name| *name != MARK).map(remove).collect();
    if marked {
        ops.extend([sync_data_dir(), FileOp::Remove { file: MARK.into() }, sync_data_dir()]);
    }
    Ok(ops)
}

/// What makes an empty directory this node's, in order. The snapshot's chunks are of about `chunk_bytes`.
pub fn files(restored: Restored, chunk_bytes: usize) -> impl Iterator<Item = FileOp> {
    let Restored { hard_state, meta, store } = restored;
    let (file, name) = (snapshot_temporary_name(meta.position.index), snapshot_name(meta.position.index));
    let mut writer = SnapshotWriter::new(meta, store.view());
    let chunks = from_fn(move || writer.chunk(chunk_bytes));
    let temporary = file.clone();
    let write = move |end: &mut u64, chunk: Bytes| {
        let at = *end;
        *end += chunk.len() as u64;
        Some(FileOp::Write { file: temporary.clone(), at, parts: Vec::from([chunk]) })
    };
    let begin = [
        FileOp::Create { file: MARK.into() },
        FileOp::Write { file: MARK.into(), at: 0, parts: Vec::from([Bytes::from_static(MARK_TEXT)]) },
        FileOp::Sync { file: MARK.into() },
        sync_data_dir(),
        FileOp::Create { file: file.clone() },
    ];
    let whole = [FileOp::Sync { file: file.clone() }, FileOp::Rename { from: file, to: name }, sync_data_dir()];
    let end = [FileOp::Remove { file: MARK.into() }, sync_data_dir()];
    let state = statefile::write(&Record::HardState(hard_state).encode());
    begin.into_iter().chain(chunks.scan(0, write)).chain(whole).chain(state).chain(end)
}

fn is_of_restore(name: &str) -> bool {
    [MARK, statefile::FILE, statefile::TEMPORARY].contains(&name)
        || index_of_file_name(name).is_some()
        || is_unfinished_snapshot(name)
}

//! The hard state of a node without a log, in a file of its own (`docs/formats/wal.md`). Owns that file's layout and how it is
//! replaced; when that happens is the journal's.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use crate::codec::Reader;
use crate::wal::ops::FileOp;
use crate::wal::record::{HardState, Record};
use crate::wal::side_files::sync_data_dir;

/// Its name.
pub(super) const FILE: &str = "hard-state";

/// The name under which it is made.
pub(super) const TEMPORARY: &str = "hard-state.tmp";

const MAGIC: [u8; 8] = *b"SYNAPHST";
const VERSION: u16 = 1;

/// Why its content makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateFault {
    Broken,
    Version(u16),
}

/// Puts this hard state, as a record, in the place of what the file holds: whole or not at all.
pub(super) fn write(record: &Bytes) -> [FileOp; 5] {
    let mut front = Vec::with_capacity(12);
    front.put_slice(&MAGIC);
    front.put_u16_le(VERSION);
    front.put_u16_le(0);
    let file = String::from(TEMPORARY);
    [
        FileOp::Create { file: file.clone() },
        FileOp::Write { file: file.clone(), at: 0, parts: Vec::from([Bytes::from(front), record.clone()]) },
        FileOp::Sync { file: file.clone() },
        FileOp::Rename { from: file, to: String::from(FILE) },
        sync_data_dir(),
    ]
}

/// What the file says.
pub(super) fn read(bytes: &Bytes) -> Result<HardState, StateFault> {
    let mut reader = Reader::new(bytes.strip_prefix(&MAGIC).ok_or(StateFault::Broken)?);
    match reader.u32() {
        Ok(version) if version == u32::from(VERSION) => {}
        Ok(version) => return Err(StateFault::Version(u16::try_from(version & 0xffff).unwrap_or_default())),
        Err(_) => return Err(StateFault::Broken),
    }
    let mut rest = bytes.slice_ref(reader.rest());
    match Record::decode(&mut rest) {
        Ok(Record::HardState(state)) if rest.is_empty() => Ok(state),
        Ok(_) | Err(_) => Err(StateFault::Broken),
    }
}

//! The state hash, from its definition in `docs/formats/snapshot.md` alone: the wrapping sum of XXH3-64 over the bytes of
//! all items, and with seeds of their own over those of the remembered results and over the base of versions.

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Cell;
use super::retries::Known;
use super::told::Told;

const RESULT_SEED: u64 = 0x5245_5355_4c54;
const BASE_SEED: u64 = 0x4241_5345;
const JSON: u32 = 1 << 30;
const EXPIRES: u32 = 1 << 31;

/// Of the base of versions, unless it is zero.
pub(super) fn of_base(base: u64) -> u64 {
    if base == 0 { 0 } else { xxh3_64_with_seed(&base.to_le_bytes(), BASE_SEED) }
}

pub(super) fn of_cell(key: &Bytes, held: &Cell) -> u64 {
    xxh3_64(&cell(key, held))
}

/// `version u64 | head u32 | expires_at u64, if head says so | key | value`.
pub(super) fn cell(key: &Bytes, cell: &Cell) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + key.len() + cell.bytes.len());
    let json = if cell.json { JSON } else { 0 };
    let expires = if cell.expires_at.is_some() { EXPIRES } else { 0 };
    out.put_u64_le(cell.version);
    out.put_u32_le(key.len() as u32 | json | expires);
    if let Some(at) = cell.expires_at {
        out.put_u64_le(at);
    }
    out.put_slice(key);
    out.put_slice(&cell.bytes);
    out
}

/// A result is framed as a cell: its value is `fingerprint u128, at u64, old dropped u8, outcome`.
pub(super) fn of_known(key: &Bytes, known: &Known) -> u64 {
    let mut value = Vec::with_capacity(64);
    value.put_u128_le(known.fingerprint.0);
    value.put_u64_le(known.at);
    value.put_u8(known.old_dropped.into());
    put_told(&mut value, known);
    let framed = Cell { bytes: value.into(), json: false, version: known.first, expires_at: None };
    xxh3_64_with_seed(&cell(key, &framed), RESULT_SEED)
}

fn put_told(out: &mut Vec<u8>, known: &Known) {
    match &known.told {
        Told::Set { written, version, old } => {
            out.put_u8(1);
            out.put_u8((*written).into());
            out.put_u64_le(*version);
            out.put_u8(old.is_some().into());
            if let Some(old) = old {
                let framed = cell(&known.subject, old);
                out.put_u32_le(framed.len() as u32);
                out.put_slice(&framed);
            }
        }
        Told::VersionMismatch(actual) => {
            out.put_u8(2);
            out.put_u64_le(*actual);
        }
        Told::Deleted(existed) => {
            out.put_u8(3);
            out.put_u8((*existed).into());
        }
        Told::Number(sum) => {
            out.put_u8(4);
            out.put_i64_le(*sum);
        }
        Told::NotAnInteger => out.put_u8(5),
        Told::Touched(changed) => {
            out.put_u8(6);
            out.put_u8((*changed).into());
        }
        Told::Batch(written) => {
            out.put_u8(7);
            out.put_u64_le(*written);
        }
        Told::Again { .. } | Told::Reused { .. } | Told::Internal => {}
    }
}

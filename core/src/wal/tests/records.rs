//! The record codec: round trips and broken bytes.

extern crate std;

use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::arbitrary;
use crate::position::Position;
use crate::time::WallMs;
use crate::wal::record::{RECORD_BYTES_MAX, RecordError};
use crate::wal::{Entry, Record};

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(record in arbitrary::record(), follows in any::<Vec<u8>>()) {
        let encoded = record.encode();
        let mut bytes = Bytes::from([&encoded[..], &follows].concat());
        prop_assert_eq!(Record::decode(&mut bytes), Ok(record));
        prop_assert_eq!(&bytes[..], &follows[..]);
    }

    #[test]
    fn a_command_comes_back_and_its_length_was_known(
        command in arbitrary::command(),
        concern in arbitrary::concern(),
    ) {
        let entry = Entry::encode(Position::ZERO, WallMs(1), concern, &command);
        prop_assert_eq!(entry.record.len(), Entry::encoded_len(concern, &command));
        prop_assert_eq!(entry.command(), Ok(command));
        prop_assert_eq!(Entry::decode(entry.record.clone()), Ok(entry));
    }

    #[test]
    fn a_record_cut_short_is_refused(record in arbitrary::record(), cut in any::<prop::sample::Index>()) {
        let encoded = record.encode();
        let mut bytes = encoded.slice(..cut.index(encoded.len()));
        prop_assert_eq!(Record::decode(&mut bytes), Err(RecordError::Short));
    }

    #[test]
    fn one_changed_byte_is_noticed(
        record in arbitrary::record(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut bytes = record.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut bytes = Bytes::from(bytes);
        let before = bytes.clone();
        prop_assert!(Record::decode(&mut bytes).is_err());
        prop_assert_eq!(bytes, before);
    }

    #[test]
    fn damage_under_a_right_checksum_has_one_meaning_or_none(
        record in arbitrary::record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = record.encode().to_vec();
        let at = 8 + at.index(bytes.len() - 8);
        bytes[at] = byte;
        let checksum = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        let bytes = Bytes::from(bytes);
        if let Ok(record) = Record::decode(&mut bytes.clone()) {
            prop_assert_eq!(record.encode(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = Record::decode_unchecked(&mut Bytes::from(bytes));
    }
}

#[test]
fn a_long_record_is_refused_by_its_head_alone() {
    let len = u32::try_from(RECORD_BYTES_MAX).unwrap() - 7;
    let bytes = [len.to_le_bytes(), [0; 4]].concat();
    assert_eq!(Record::decode(&mut Bytes::from(bytes)), Err(RecordError::TooLong(u64::from(len) + 8)));
}

#[test]
fn keys_and_values_share_the_records_bytes() {
    let entry = arbitrary::set_of(1000);
    let crate::command::Command::Set { pair, .. } = entry.command().unwrap() else { panic!("another command") };
    let within = entry.record.as_ptr_range();
    assert!(within.contains(&pair.value.bytes.as_ptr()));
}

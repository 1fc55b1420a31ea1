//! What the record codec and the wire codec share: a reader that checks every length before it believes it, and
//! the layouts of the small types that both write. All numbers are little-endian. Owns no format of its own.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::BufMut;

use crate::ids::NodeId;
use crate::position::{Epoch, Index, Position};

/// Longest name or address, in bytes. The configuration refuses longer ones.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Encoded length of a position.
pub(crate) const POSITION_BYTES: usize = 32;

/// Why a reader gave up: what does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads a slice from its front. Nothing that it does can panic or allocate more than the slice is long.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed("cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("cut short"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        self.array().map(u128::from_le_bytes)
    }

    /// A byte that says no or yes; nothing else will do, so that there is one encoding of everything.
    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither no nor yes")),
        }
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn index(&mut self) -> Result<Index, Malformed> {
        self.u64().map(Index)
    }

    pub(crate) fn epoch(&mut self) -> Result<Epoch, Malformed> {
        Ok(Epoch { number: self.u64()?, leader: NodeId(self.u128()?) })
    }

    pub(crate) fn position(&mut self) -> Result<Position, Malformed> {
        Ok(Position { epoch: self.epoch()?, index: self.index()? })
    }

    /// A length in two bytes, then as many bytes.
    pub(crate) fn short_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    /// A length in four bytes, then as many bytes.
    pub(crate) fn long_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed("cut short"))?;
        self.take(count)
    }

    /// A name or address.
    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.short_bytes()?;
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(Malformed("text too long"));
        }
        core::str::from_utf8(bytes).map(ToString::to_string).map_err(|_| Malformed("text is not UTF-8"))
    }

    /// That everything has been read.
    pub(crate) const fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("bytes left over")) }
    }
}

/// The other direction. Callers keep the maxima, so a length that does not fit is our own bug.
pub(crate) trait Writer: BufMut {
    fn bool(&mut self, yes: bool) {
        self.put_u8(u8::from(yes));
    }

    fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn index(&mut self, index: Index) {
        self.put_u64_le(index.0);
    }

    fn epoch(&mut self, epoch: Epoch) {
        self.put_u64_le(epoch.number);
        self.put_u128_le(epoch.leader.0);
    }

    fn position(&mut self, position: Position) {
        self.epoch(position.epoch);
        self.index(position.index);
    }

    fn short_bytes(&mut self, bytes: &[u8]) {
        let Ok(count) = u16::try_from(bytes.len()) else {
            panic!("{} bytes where 65,535 is the most", bytes.len());
        };
        self.put_u16_le(count);
        self.put_slice(bytes);
    }

    fn long_bytes(&mut self, bytes: &[u8]) {
        self.put_u32_le(count_u32(bytes.len()));
        self.put_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        assert!(
            text.len() <= TEXT_BYTES_MAX,
            "a name or address of {} bytes passed the configuration",
            text.len()
        );
        self.short_bytes(text.as_bytes());
    }
}

impl Writer for Vec<u8> {}

/// A count as four bytes hold it.
pub(crate) fn count_u32(count: usize) -> u32 {
    match u32::try_from(count) {
        Ok(count) => count,
        Err(_) => panic!("{count} does not fit in four bytes"),
    }
}

/// Overwrites the eight bytes that `out` begins with.
pub(crate) fn patch_front(out: &mut [u8], front: u64) {
    if let Some(slot) = out.first_chunk_mut::<8>() {
        *slot = front.to_le_bytes();
    }
}

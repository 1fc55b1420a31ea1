//! Puts a store together from chunks, and believes none of them before it has looked.

use alloc::boxed::Box;

use bytes::{Buf, Bytes};

use super::chunk::{self, Kind};
use super::meta::{take_meta, take_totals};
use super::{Part, SnapshotError, SnapshotMeta};
use crate::codec::Reader;
use crate::store::{Item, Store};
use crate::version::Version;

/// Builds a store from chunks, beside the one that serves. A clone shares what both hold.
#[derive(Clone, Debug, Default)]
pub struct SnapshotReader {
    next_chunk: u32,
    open: Option<Box<Open>>,
}

/// What a reader has once it knows what comes.
#[derive(Clone, Debug)]
struct Open {
    meta: SnapshotMeta,
    store: Store,
    /// The last item or result, and which of them it is.
    last: Option<(Part, Item)>,
}

/// Where a reader stands after a chunk.
#[derive(Clone, Debug)]
pub enum SnapshotProgress {
    /// More chunks follow.
    More(SnapshotReader),
    /// That was the last, and the hash agrees.
    Done(SnapshotMeta, Store),
}

impl SnapshotReader {
    /// Awaits the first chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the chunk that it awaits, counted from 0.
    pub fn next_chunk(&self) -> u32 {
        self.next_chunk
    }

    /// What the first chunk said, once it is there.
    pub fn meta(&self) -> Option<&SnapshotMeta> {
        self.open.as_ref().map(|open| &open.meta)
    }

    /// Takes the next chunk.
    pub fn push(mut self, chunk: Bytes) -> Result<SnapshotProgress, SnapshotError> {
        match self.take(chunk)? {
            None => Ok(SnapshotProgress::More(self)),
            Some((meta, store)) => Ok(SnapshotProgress::Done(meta, store)),
        }
    }

    /// The same in place: what a chunk that is refused leaves is of no use, but can be freed in pieces
    /// ([`Self::into_store`]).
    pub(crate) fn take(&mut self, chunk: Bytes) -> Result<Option<(SnapshotMeta, Store)>, SnapshotError> {
        let number = self.next_chunk;
        let damaged = SnapshotError::Damaged(number);
        let (kind, content) = chunk::open(&chunk, number)?;
        match (kind, &mut self.open) {
            (Kind::Meta, open @ None) => *open = Some(Box::new(Open::new(take_meta(content)?))),
            (Kind::Items, Some(open)) => open.take(Part::Items, content, damaged)?,
            (Kind::Results, Some(open)) => open.take(Part::Results, content, damaged)?,
            (Kind::End, Some(open)) => {
                let totals = take_totals(content).map_err(|_| damaged)?;
                let agrees = totals == (open.meta.keys, open.meta.results, open.meta.hash);
                return if agrees && open.agrees() { Ok(self.finish()) } else { Err(SnapshotError::Mismatch) };
            }
            (Kind::Meta, Some(_)) | (Kind::Items | Kind::Results | Kind::End, None) => return Err(damaged),
        }
        self.next_chunk = number.checked_add(1).ok_or(damaged)?;
        Ok(None)
    }

    /// What it has so far, to be freed.
    pub(crate) fn into_store(self) -> Option<Store> {
        self.open.map(|open| open.store)
    }

    fn finish(&mut self) -> Option<(SnapshotMeta, Store)> {
        self.open.take().map(|open| (open.meta, open.store))
    }

    /// Takes the next chunk off the front of a whole file's bytes: chunks tell their own length. Nothing may follow
    /// the last.
    pub fn push_front(self, file: &mut Bytes) -> Result<SnapshotProgress, SnapshotError> {
        let number = self.next_chunk;
        let len = chunk::len_of_first(file).ok_or(SnapshotError::Damaged(number))?;
        let chunk = file.slice(..len);
        file.advance(len);
        match self.push(chunk)? {
            SnapshotProgress::Done(..) if !file.is_empty() => Err(SnapshotError::Damaged(number)),
            progress => Ok(progress),
        }
    }

    /// Reads a whole file.
    pub fn read(mut file: Bytes) -> Result<(SnapshotMeta, Store), SnapshotError> {
        let mut reader = Self::new();
        loop {
            match reader.push_front(&mut file)? {
                SnapshotProgress::More(more) => reader = more,
                SnapshotProgress::Done(meta, store) => return Ok((meta, store)),
            }
        }
    }
}

impl Open {
    fn new(meta: SnapshotMeta) -> Self {
        Self { store: Store::at(meta.log_time, meta.version_base), meta, last: None }
    }

    fn take(&mut self, part: Part, content: &[u8], damaged: SnapshotError) -> Result<(), SnapshotError> {
        let mut reader = Reader::new(content);
        while !reader.rest().is_empty() {
            let bytes = reader.long_bytes().map_err(|_| damaged)?;
            let item = Item::from_bytes(bytes).ok_or(damaged)?;
            if !self.admits(part, &item) {
                return Err(damaged);
            }
            self.last = Some((part, item.clone()));
            let good = match part {
                Part::Items => {
                    self.store.put(item);
                    true
                }
                Part::Results => self.store.put_result(item),
            };
            if !good {
                return Err(damaged);
            }
        }
        let more = self.store.keys() > self.meta.keys || self.store.results() > self.meta.results;
        if more { Err(SnapshotError::Mismatch) } else { Ok(()) }
    }

    /// Items come before results, keys ascend in each, and no version lies beyond the snapshot.
    fn admits(&self, part: Part, item: &Item) -> bool {
        let ascends =
            self.last.as_ref().is_none_or(|(last_part, last)| (*last_part, last.key()) < (part, item.key()));
        let last = match part {
            Part::Items => self.meta.version_base.at(self.meta.position.index),
            // A result has the index of its entry there.
            Part::Results => Version(self.meta.position.index.0),
        };
        let written = item.version() > Version::ABSENT && item.version() <= last;
        ascends && written
    }

    /// Whether the store is the one that was promised.
    fn agrees(&self) -> bool {
        let totals = (self.store.keys(), self.store.results(), self.store.hash());
        totals == (self.meta.keys, self.meta.results, self.meta.hash)
    }
}

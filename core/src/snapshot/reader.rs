//! Puts a store together from chunks, and believes none of them before it has looked.

use alloc::boxed::Box;

use bytes::{Buf, Bytes};

use super::chunk::{self, Kind};
use super::meta::{take_meta, take_totals};
use super::{SnapshotError, SnapshotMeta};
use crate::codec::Reader;
use crate::position::Index;
use crate::store::{Item, Store};

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
    last: Option<Item>,
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
    pub fn push(self, chunk: Bytes) -> Result<SnapshotProgress, SnapshotError> {
        let number = self.next_chunk;
        let damaged = SnapshotError::Damaged(number);
        let (kind, content) = chunk::open(&chunk, number)?;
        let open = match (kind, self.open) {
            (Kind::Meta, None) => Box::new(Open::new(take_meta(content)?)),
            (Kind::Items, Some(mut open)) => {
                open.take_items(content, damaged)?;
                open
            }
            (Kind::End, Some(open)) => {
                let (keys, hash) = take_totals(content).map_err(|_| damaged)?;
                let agrees = keys == open.meta.keys && hash == open.meta.hash;
                return if agrees { open.finish() } else { Err(SnapshotError::Mismatch) };
            }
            (Kind::Meta, Some(_)) | (Kind::Items | Kind::End, None) => return Err(damaged),
        };
        Ok(SnapshotProgress::More(Self { next_chunk: number.checked_add(1).ok_or(damaged)?, open: Some(open) }))
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
        Self { store: Store::at(meta.log_time), meta, last: None }
    }

    fn take_items(&mut self, content: &[u8], damaged: SnapshotError) -> Result<(), SnapshotError> {
        let mut reader = Reader::new(content);
        while !reader.rest().is_empty() {
            let bytes = reader.long_bytes().map_err(|_| damaged)?;
            let item = Item::from_bytes(bytes).ok_or(damaged)?;
            if !self.admits(&item) {
                return Err(damaged);
            }
            self.last = Some(item.clone());
            self.store.put(item);
        }
        if self.store.keys() > self.meta.keys { Err(SnapshotError::Mismatch) } else { Ok(()) }
    }

    /// Keys ascend, and no version lies beyond the snapshot.
    fn admits(&self, item: &Item) -> bool {
        let ascends = self.last.as_ref().is_none_or(|last| last.key() < item.key());
        let written = item.version() > Index::ZERO && item.version() <= self.meta.position.index;
        ascends && written
    }

    fn finish(self) -> Result<SnapshotProgress, SnapshotError> {
        let agrees = self.store.keys() == self.meta.keys && self.store.hash() == self.meta.hash;
        if agrees { Ok(SnapshotProgress::Done(self.meta, self.store)) } else { Err(SnapshotError::Mismatch) }
    }
}

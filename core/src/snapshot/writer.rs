//! Cuts a view into chunks, a bounded piece of work each, with memory of where it cut.

use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;

use bytes::{BufMut, Bytes};

use super::chunk::{Draft, Kind};
use super::cuts::{Cut, Cuts};
use super::meta::{put_meta, put_totals};
use super::{Part, SnapshotMeta};
use crate::codec::count_u32;
use crate::position::Position;
use crate::store::{Items, Scrap, StoreView};

/// Cuts a view into chunks, some per turn. The same meta, view and sizes give the same chunks.
#[derive(Clone)]
pub struct SnapshotWriter {
    meta: Arc<SnapshotMeta>,
    view: StoreView,
    next_chunk: u32,
    /// Where each chunk of items or results ends that was cut, the first of which has the number 1. A chunk that is cut again
    /// ends where it ended before.
    cuts: Cuts,
}

/// What the next chunk is.
enum Next {
    Meta,
    /// Items or results after the end of this one, if it is of the same part.
    Some(Part, Option<Cut>),
    /// Everything has been cut.
    End,
    Nothing,
}

/// The length before each item.
const ITEM_LEN_BYTES: usize = 4;

impl SnapshotWriter {
    /// Begins at the first chunk. `meta` must be that of `view`.
    pub fn new(meta: SnapshotMeta, view: StoreView) -> Self {
        assert_eq!(meta.keys, view.keys(), "INV-9: a snapshot promises other keys than its view holds");
        assert_eq!(meta.results, view.results(), "INV-14: a snapshot promises other results than its view holds");
        Self { meta: Arc::new(meta), view, next_chunk: 0, cuts: Cuts::default() }
    }

    /// Position of the snapshot.
    pub fn position(&self) -> Position {
        self.meta.position
    }

    /// The number of the next chunk, counted from 0.
    pub fn next_chunk(&self) -> u32 {
        self.next_chunk
    }

    /// The next chunk, of about `bytes_max`, or of one item if that is longer; none after the last. Its work is
    /// bounded by `bytes_max`.
    pub fn chunk(&mut self, bytes_max: usize) -> Option<Bytes> {
        let chunk = match self.next() {
            Next::Meta => self.meta_chunk(),
            Next::Some(part, after) => self.part_chunk(part, after.as_ref(), bytes_max),
            Next::End => self.end_chunk(),
            Next::Nothing => return None,
        };
        self.next_chunk += 1;
        Some(chunk)
    }

    /// Whether [`Self::seek`] to `chunk` would do.
    pub fn can_seek(&self, chunk: u32) -> bool {
        place(chunk).is_none_or(|place| place <= self.cuts.len())
    }

    /// Goes to `chunk`, so that it comes next. Refused (false) for a chunk before which this writer has not cut all
    /// others yet; see [`Self::remember`].
    pub fn seek(&mut self, chunk: u32) -> bool {
        let can = self.can_seek(chunk);
        if can {
            self.next_chunk = chunk;
        }
        can
    }

    /// Learns where `other`, a clone of the same writer, has cut beyond what this one knows. Work grows with what
    /// is new.
    pub fn remember(&mut self, other: &Self) {
        assert_eq!(self.meta.position, other.meta.position, "only writers of one snapshot share their cuts");
        for cut in (self.cuts.len()..other.cuts.len()).filter_map(|place| other.cuts.get(place)) {
            self.cuts.push(&cut);
        }
    }

    /// All that it holds is to be freed.
    pub(crate) fn discard(self, scrap: &mut Scrap) {
        scrap.add_view(self.view);
        scrap.add_tree(self.cuts.into_tree());
    }

    fn next(&self) -> Next {
        let Some(place) = place(self.next_chunk) else { return Next::Meta };
        let before = place.checked_sub(1).and_then(|last| self.cuts.get(last));
        match place.cmp(&self.cuts.len()) {
            Ordering::Less => {
                let part = self.cuts.get(place).map_or(Part::Items, |cut| cut.part);
                Next::Some(part, before.filter(|cut| cut.part == part))
            }
            Ordering::Equal => self.first_cut_after(before.as_ref()),
            Ordering::Greater => Next::Nothing,
        }
    }

    fn first_cut_after(&self, before: Option<&Cut>) -> Next {
        let from = before.map_or(Part::Items, |cut| cut.part);
        for part in [Part::Items, Part::Results] {
            let after = before.filter(|cut| cut.part == part);
            if part >= from && self.after(part, after).next().is_some() {
                return Next::Some(part, after.cloned());
            }
        }
        Next::End
    }

    fn after(&self, part: Part, after: Option<&Cut>) -> Items<'_> {
        let after = after.map(|cut| &cut.key[..]);
        match part {
            Part::Items => self.view.items_after(after),
            Part::Results => self.view.results_after(after),
        }
    }

    fn meta_chunk(&self) -> Bytes {
        let mut draft = Draft::new(self.next_chunk, Kind::Meta, 0);
        put_meta(draft.content(), &self.meta);
        draft.finish()
    }

    fn part_chunk(&mut self, part: Part, after: Option<&Cut>, bytes_max: usize) -> Bytes {
        let until = place(self.next_chunk).and_then(|place| self.cuts.get(place));
        let all = usize::try_from(self.view.memory_bytes()).unwrap_or(usize::MAX);
        let kind = match part {
            Part::Items => Kind::Items,
            Part::Results => Kind::Results,
        };
        let mut draft = Draft::new(self.next_chunk, kind, bytes_max.min(all));
        let mut last = None;
        for item in self.after(part, after) {
            let len = item.as_bytes().len();
            let fits = draft.len() + ITEM_LEN_BYTES + len <= bytes_max;
            let ended = match &until {
                Some(until) => *item.key() > until.key[..],
                None => !fits && last.is_some(),
            };
            if ended {
                break;
            }
            draft.content().put_u32_le(count_u32(len));
            draft.content().put_slice(item.as_bytes());
            last = Some(item);
        }
        if let (None, Some(last)) = (until, last) {
            let cut = Cut { part, key: last.key().to_vec() };
            self.cuts.push(&cut);
        }
        draft.finish()
    }

    fn end_chunk(&self) -> Bytes {
        let mut draft = Draft::new(self.next_chunk, Kind::End, 0);
        put_totals(draft.content(), &self.meta);
        draft.finish()
    }
}

/// Where a chunk stands among those after the first; none for the first.
fn place(chunk: u32) -> Option<usize> {
    chunk.checked_sub(1).map(|place| usize::try_from(place).unwrap_or(usize::MAX))
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("meta", &self.meta)
            .field("next_chunk", &self.next_chunk)
            .finish_non_exhaustive()
    }
}

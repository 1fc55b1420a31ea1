//! Ways that are slow: data stays on them until they are free again. What is short overtakes it, or waits behind it while
//! bytes of it come in.

use std::collections::{BTreeSet, VecDeque};

use synap_core::ids::LinkId;
use synap_core::input::{Input, LinkChange};
use synap_core::message::Message;

use super::Cluster;

/// How often a node hears that bytes come in, in microseconds.
const PROGRESS_EVERY_US: u64 = 200_000;

/// One slow way.
#[derive(Default)]
pub(super) struct SlowWay {
    /// Whether what is short waits too.
    stuck: bool,
    waiting: VecDeque<(LinkId, Message)>,
}

impl Cluster {
    pub(crate) fn slow_way(&mut self, from: u32, to: u32, stuck: bool) {
        self.slow.entry((from, to)).or_default().stuck = stuck;
    }

    pub(crate) fn free_way(&mut self, from: u32, to: u32) {
        let Some(way) = self.slow.remove(&(from, to)) else { return };
        if let Some(server) = self.servers.get_mut(&to) {
            server.inbox.extend(way.waiting);
        }
    }

    /// Whether the message stays on its way.
    pub(super) fn keeps(&mut self, from: u32, to: u32, there: LinkId, message: &Message) -> bool {
        let Some(way) = self.slow.get_mut(&(from, to)) else { return false };
        let kept = message.is_bulk() || way.stuck && !way.waiting.is_empty();
        if kept {
            way.waiting.push_back((there, message.clone()));
        }
        kept
    }

    /// When something of a long message comes in next, at the latest.
    pub(super) fn next_progress(&self) -> Option<u64> {
        let any = self.slow.values().any(|way| !way.waiting.is_empty());
        any.then_some(self.micros + PROGRESS_EVERY_US)
    }

    pub(super) fn make_progress(&mut self) {
        let waiting = self.slow.iter().flat_map(|((_, to), way)| way.waiting.iter().map(|(link, _)| (*to, *link)));
        let come: BTreeSet<(u32, LinkId)> = waiting.collect();
        for (to, link) in come {
            self.turn(to, [Input::Link { link, change: LinkChange::Progress }]);
        }
    }
}

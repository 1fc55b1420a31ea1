//! INV-9: equal applied index, equal state hash. A replica whose state differs from its master's is told so, and from then on
//! proves nothing, is not fit for reads and leads nobody, until it has taken the master's state. Owns the comparison and the
//! verdict on both sides; the state comes as any snapshot does ([`crate::node::follower::snapshot_install`]).

use crate::coverage::Mark;
use crate::event::Event;
use crate::ids::{LinkId, NodeId};
use crate::message::{Message, Reason};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::position::Index;
use crate::store::StateHash;

impl Node {
    /// On the master: a replica says what its state is at this index.
    pub(in crate::node) fn compare_state(
        &mut self,
        link: LinkId,
        node: NodeId,
        at: Index,
        theirs: StateHash,
        out: &mut Output,
    ) {
        let ours = if at == self.applied.index { Some(self.store.hash()) } else { self.log.hash_at(at) };
        if ours.is_none_or(|ours| ours == theirs) {
            return;
        }
        self.counters.state_hash_mismatches += 1;
        self.flags.state_mismatch = true;
        out.events.push(Event::HashMismatch { node, at });
        out.sends.push((link, Message::Bye(Reason::Quarantined)));
        self.lose_stream(link, "its state differs at the same index", out);
        self.close(link, out);
    }

    /// From now on only a snapshot helps. That outlives the process: a state that must not lead does not become fit by a restart.
    pub(in crate::node) fn need_snapshot(&mut self) {
        self.needs_snapshot = true;
        self.record_hard_state();
    }

    /// On the replica: its log agrees with the master's and its state does not, so that only a snapshot helps. It goes on
    /// serving reads that demand nothing, as while any state is replaced.
    pub(in crate::node) fn on_quarantined(&mut self, link: LinkId) {
        let Role::Replica(replica) = &mut self.role else { return };
        if replica.source(link).is_some() {
            replica.refused = Some(Reason::Quarantined);
            self.need_snapshot();
            self.freshness.forget();
            self.coverage.mark(Mark::Quarantined);
        }
    }
}

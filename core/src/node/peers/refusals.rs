//! Refusals between this node and others. Each comes again with every attempt, for as long as its cause lasts: it is told when it is new,
//! and what an operator must end is an alarm.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::command::MEMBERS_MAX;
use crate::event::Event;
use crate::ids::NodeId;
use crate::message::Reason;
use crate::node::{Node, Role};
use crate::output::Output;
use crate::time::Time;

/// A refusal that has not come again for so long is over, and a new one when it does.
const LASTS: Duration = Duration::from_secs(600);

/// How long a refusal counts as one that is there: attempts are rarer while a node campaigns in vain.
const BEHIND_FOR: Duration = Duration::from_secs(60);

/// INV-12: so many are remembered, the newest; one that is forgotten is told once more.
const REFUSALS_MAX: usize = 2 * MEMBERS_MAX;

/// Who refuses whom, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::node) struct Refusals(BTreeMap<Refusal, Time>);

/// One node, whether it is the one that refuses, and why.
type Refusal = (NodeId, bool, u8);

impl Refusals {
    /// Notes one that has come; gives whether it is new.
    fn note(&mut self, refusal: Refusal, now: Time) -> bool {
        self.0.retain(|_, at| now < *at + LASTS);
        if self.0.len() >= REFUSALS_MAX && !self.0.contains_key(&refusal) {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at).map(|(known, _)| *known);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(refusal, now).is_none()
    }

    /// That node and this one go together.
    pub(in crate::node) fn end(&mut self, node: NodeId) {
        self.0.retain(|(known, _, _), _| *known != node);
    }

    /// Whether this node refuses us.
    pub(in crate::node) fn refuses(&self, node: NodeId) -> bool {
        self.0.keys().any(|(known, by_peer, _)| *known == node && *by_peer)
    }
}

impl Node {
    /// Tells that a node refused another, once for as long as it lasts.
    pub(in crate::node) fn tell_refused(
        &mut self,
        node: Option<NodeId>,
        by_peer: bool,
        reason: Reason,
        out: &mut Output,
    ) {
        // Those that nobody knows are one.
        let refusal = (node.unwrap_or(NodeId(0)), by_peer, code(reason));
        let news = self.refusals.note(refusal, self.now.mono);
        if news || self.config.planted.refusals_told_again() {
            out.events.push(Event::Refused { node, by_peer, reason });
        }
    }

    /// Whether a node of another cluster has called or been called lately: one of the two was founded by mistake, or an address is wrong.
    pub(in crate::node) fn meets_another_cluster(&self) -> bool {
        let lasts = BEHIND_FOR.max(self.election_timeout() * 16);
        let foreign = code(Reason::ForeignCluster);
        self.refusals.0.iter().any(|((_, _, why), at)| *why == foreign && self.now.mono < *at + lasts)
    }

    /// Whether a replica refused this master lately, since it knows more to be committed; on a replica, whether it refused such a
    /// master and has none.
    pub(in crate::node) fn knows_a_line_behind(&self) -> bool {
        let by_peer = match &self.role {
            Role::Master(_) => true,
            Role::Replica(replica) if replica.is_following() => return false,
            Role::Candidate(_) | Role::Replica(_) => false,
            Role::Founding(_) | Role::Asking(_) => return false,
        };
        let lasts = BEHIND_FOR.max(self.election_timeout() * 16);
        let behind = |((_, refuses, why), at): (&Refusal, &Time)| {
            *refuses == by_peer && *why == code(Reason::SourceBehind) && self.now.mono < *at + lasts
        };
        self.refusals.0.iter().any(behind)
    }
}

/// Reasons have no order.
const fn code(reason: Reason) -> u8 {
    reason as u8
}

//! What must hold after every step, by the invariants' numbers. Looks at disks, not at what nodes say of them.

use std::collections::BTreeMap;

use synap_core::config::Concern;
use synap_core::ids::NodeId;
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::output::Written;
use synap_core::position::{Epoch, Index, Position};
use synap_core::status::{Role, State as NodeState, Status};

use super::disk::Holds;

/// What was promised to the world so far.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Observations {
    /// Writes that were answered as more than ordered.
    answered: Vec<Position>,
    /// Which epoch each committed entry is of.
    committed: BTreeMap<Index, Epoch>,
    /// Who was seen to serve under each number of an epoch, armed.
    served: BTreeMap<u64, NodeId>,
    /// The highest epoch in which anybody served.
    pub(super) term: u64,
    /// An operator changed the master: then what the old one answered may be left behind, and is reported.
    pub(super) promoted: bool,
}

/// A broken invariant: its oracle, and one line of cause.
pub(super) type Broken = (&'static str, String);

const ONE_MASTER: &str = "INV-1 at most one master per epoch";
const ACKED: &str = "INV-2 an acked position is on the acker's disk";
const QUORUM: &str = "INV-3 an answered write is on the disks that its rule names";
const NEVER_CHANGES: &str = "INV-5 committed entries never change";
const SPEAKS: &str = "INV-6 a master speaks only after its epoch is durable";
const PROMISED: &str = "INV-7 the promised epoch never goes back";
const NOT_LOST: &str = "INV-8 an answered write is never lost beyond its concern";
const SAME_STATE: &str = "INV-9 equal applied index, equal state";
const REPORTED: &str = "INV-10 nothing is cut without a rollback file";
pub(super) const REPLAY: &str = "INV-9 replay of what is on disk gives the state";

/// What leaves a node rests on what its disk holds.
pub(super) fn may_say(host: usize, message: &Message, disk: &Holds) -> Result<(), Broken> {
    match message {
        Message::Ack(ack) if ack.durable() > disk.last.index => {
            let cause = format!("n{host} acks {} as durable, its disk ends at {}", ack.durable(), disk.last);
            Err((ACKED, cause))
        }
        Message::Ack(ack) if ack.epoch() > disk.promised => {
            Err((PROMISED, format!("n{host} acks in epoch {}, its disk promised {}", ack.epoch(), disk.promised)))
        }
        Message::SnapshotAck(stored) if stored.durable() && !disk.has_snapshot(stored.position()) => {
            Err((ACKED, format!("n{host} says that the snapshot at {} is on its disk", stored.position())))
        }
        Message::Append(append) if append.epoch > disk.promised => {
            Err((SPEAKS, format!("n{host} speaks in epoch {}, its disk promised {}", append.epoch, disk.promised)))
        }
        Message::Vote(vote) if vote.granted() && !vote.pre() && vote.epoch() > disk.promised => Err((
            PROMISED,
            format!("n{host} votes in epoch {}, its disk promised {}", vote.epoch(), disk.promised),
        )),
        Message::Hello(_)
        | Message::Welcome(_)
        | Message::Append(_)
        | Message::Ack(_)
        | Message::Alive(_)
        | Message::Chunk(_)
        | Message::SnapshotAck(_)
        | Message::FetchTail(_)
        | Message::FetchedTail(_)
        | Message::RequestVote(_)
        | Message::Vote(_)
        | Message::Handover(_)
        | Message::ReadIndex(_)
        | Message::ReadIndexed(_)
        | Message::Bye(_) => Ok(()),
    }
}

/// Nothing is cut off a disk in silence.
pub(super) fn is_reported(host: usize, disk: &Holds) -> Result<(), Broken> {
    match disk.lost_unreported {
        Some(position) => Err((REPORTED, format!("n{host} cuts its log from {position} on, and no file tells"))),
        None => Ok(()),
    }
}

impl Observations {
    /// A write was answered well by `host`.
    pub(super) fn answered(
        &mut self,
        host: usize,
        written: &Written,
        armed: bool,
        disks: &[&Holds],
    ) -> Result<(), Broken> {
        let Written { position, concern, .. } = written;
        let on = disks.iter().filter(|disk| disk.has(*position)).count();
        let own = disks[host].has(*position);
        let holds = match concern {
            Concern::Async => return Ok(()),
            Concern::Local => own,
            Concern::Quorum if armed => on * 2 > disks.len(),
            Concern::Quorum => own,
            Concern::Replicas(count) => own && on > *count as usize,
        };
        self.answered.push(*position);
        if holds {
            return Ok(());
        }
        Err((QUORUM, format!("n{host} answers {position} as {concern:?}, {on} disks hold it")))
    }

    /// How a node stands after its turn.
    pub(super) fn stands(&mut self, host: usize, node: &Node, status: &Status) -> Result<(), Broken> {
        let armed = status.failover.armed;
        let serves = status.role == Role::Master && status.state == NodeState::Serving;
        if serves {
            self.term = self.term.max(status.epoch.number);
        }
        if serves && armed {
            let first = *self.served.entry(status.epoch.number).or_insert(status.node);
            if first != status.node {
                return Err((ONE_MASTER, format!("n{host} serves in epoch {}, and so did another", status.epoch)));
            }
        }
        if self.promoted && !armed {
            return Ok(());
        }
        let view = node.outline();
        let at =
            |index: Index| if index > status.positions.last.index { None } else { view.history.epoch_at(index) };
        // The view's history is that of its last change; it knows what is applied, and may not know what came in since.
        for index in (1..=view.applied.index.0).map(Index) {
            let Some(epoch) = at(index) else { continue };
            let first = *self.committed.entry(index).or_insert(epoch);
            if first != epoch {
                let cause =
                    format!("n{host} holds {index} as committed in epoch {epoch}, it was committed in {first}");
                return Err((NEVER_CHANGES, cause));
            }
        }
        let lost = |position: &&Position| {
            serves && status.epoch >= position.epoch && at(position.index) != Some(position.epoch)
        };
        match self.answered.iter().find(lost) {
            Some(position) => Err((NOT_LOST, format!("n{host} serves without {position}, which was answered"))),
            None => Ok(()),
        }
    }
}

/// Two nodes that have applied the same have the same state.
pub(super) fn agree(statuses: &[Option<Status>]) -> Result<(), Broken> {
    for (one, first) in statuses.iter().enumerate() {
        for (other, second) in statuses.iter().enumerate().skip(one + 1) {
            let (Some(first), Some(second)) = (first, second) else { continue };
            let same = first.positions.applied == second.positions.applied;
            if same && first.hash != second.hash {
                let at = first.positions.applied;
                return Err((SAME_STATE, format!("n{one} and n{other} differ at {at}")));
            }
        }
    }
    Ok(())
}

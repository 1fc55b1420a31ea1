//! Status against the truth, member by member. What a master says of its members is what they have told it, and nothing
//! else: the last ack that it has heard of each in its mastership, and when anything of it came. What may differ is said
//! where it is compared, and is never more than what is under way. Of itself a node tells what it is; a replica tells nothing
//! of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use synap_core::event::Event;
use synap_core::ids::NodeId;
use synap_core::message::Message;
use synap_core::position::{Epoch, Index, Position};
use synap_core::status::{DiskState, MemberStatus, Role, State, Status};

use crate::oracle::{Fact, Ground, Oracle, Truth};
use crate::plan::{Fault, What};

/// What each node has heard of each other.
#[derive(Debug)]
pub(super) struct MembersTell {
    heard: Vec<BTreeMap<usize, Heard>>,
    /// Which machine a node was last seen on.
    places: BTreeMap<NodeId, usize>,
    /// When somebody last joined or left each: what came in that turn may have been for a link that was none any more, and a hello may
    /// have waited for that turn.
    changed_at: Vec<u64>,
    compared: u64,
}

/// What was heard of one.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// When anything came of it.
    at: u64,
    /// The mastership that it acks, and the last of it: what is in its store, and when it came.
    epoch: Epoch,
    applied: Index,
    acked_at: u64,
    /// The most that it has said to hold.
    durable: Index,
    disk: DiskState,
}

impl MembersTell {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            heard: vec![BTreeMap::new(); nodes],
            places: BTreeMap::new(),
            changed_at: vec![0; nodes],
            compared: 0,
        }
    }

    fn hears(&mut self, at: u64, node: usize, from: usize, message: &Message) {
        let heard = self.heard[node].entry(from).or_default();
        heard.at = at;
        let (epoch, durable, applied) = match message {
            Message::Ack(ack) => {
                heard.disk = ack.disk();
                (ack.epoch(), ack.durable(), ack.applied())
            }
            Message::SnapshotAck(stored) if stored.durable() => {
                (stored.epoch(), stored.position().index, stored.position().index)
            }
            _ => return,
        };
        let most = if heard.epoch == epoch { heard.durable } else { Index::ZERO };
        (heard.epoch, heard.applied, heard.acked_at, heard.durable) = (epoch, applied, at, durable.max(most));
    }

    /// Another node is on this machine from now on.
    fn moves(&mut self, machine: usize) {
        self.places.retain(|_, place| *place != machine);
        for heard in &mut self.heard {
            heard.remove(&machine);
        }
    }

    fn check(&mut self, ground: &Ground<'_>, node: usize, status: &Status, truth: &Truth) -> Result<(), String> {
        // Who opens its mastership knows of the others what it will tell as a master; one that ends says of neither what it is.
        let leads = status.role == Role::Master || status.state == State::Opening;
        let ends = status.state == State::ShuttingDown;
        for member in &status.members {
            self.compared += 1;
            let told = if member.node == status.node {
                of_itself(member, status)
            } else if leads {
                self.of_another(ground, node, status, member, truth)
            } else if ends {
                Ok(())
            } else {
                of_a_stranger(member, status)
            };
            told.map_err(|why| format!("n{node} of {} {}: {why}", member.name, member.node))?;
        }
        Ok(())
    }

    fn of_another(
        &self,
        ground: &Ground<'_>,
        node: usize,
        status: &Status,
        member: &MemberStatus,
        truth: &Truth,
    ) -> Result<(), String> {
        let last = status.positions.last;
        let applied = member.applied.unwrap_or(Index::ZERO);
        same("lag_operations", member.lag_operations, Some(last.index.ahead_of(applied)))?;
        eligible(ground.plan.knobs_of(node).max_lag_ms, status, member)?;
        if status.role == Role::Master && last.epoch == status.epoch {
            lag(ground, member, last, applied)?;
            bytes_behind(ground, member, status)?;
        }
        // Two machines with one node's disk: which of them is meant only the master knows.
        let copied = |fault: &Fault| matches!(fault.what, What::CopyDisk(..));
        if ground.plan.faults.iter().any(copied) {
            return Ok(());
        }
        let Some(place) = self.places.get(&member.node) else { return Ok(()) };
        // A link to where a node was until its disk was put elsewhere breaks when somebody notices.
        let moves = ground.plan.faults.iter().any(|fault| matches!(fault.what, What::SwapDisks(..)));
        if let Some(linked) = truth.linked.as_ref().filter(|_| !moves)
            && member.connected == Some(true)
            && !linked.contains(place)
        {
            return Err("connected, and no connection stands".to_owned());
        }
        // And what the machine said last may be of the node that was there before.
        if moves {
            return Ok(());
        }
        let leads = status.role == Role::Master;
        let heard = self.heard[node].get(place).filter(|heard| leads && heard.epoch == status.epoch);
        let Some(heard) = heard.filter(|heard| heard.acked_at > self.changed_at[node]) else { return Ok(()) };
        same("applied", member.applied, Some(heard.applied))?;
        if member.durable.is_none_or(|told| told > heard.durable) {
            return Err(format!("durable {:?}, it has said {} at most", member.durable, heard.durable));
        }
        if member.eligible == Some(true) && heard.disk != DiskState::Works {
            return Err(format!("eligible, and it says that its disk is {:?}", heard.disk));
        }
        // A hello or a question is a sign of life as well as an ack, but need not count for one.
        let Some(told) = member.last_contact.map(whole_us) else {
            return Err("last_contact is none, and it has acked".to_owned());
        };
        within(ground, "last_contact", told, ground.at - heard.at, ground.at - heard.acked_at)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(name: &str, told: T, is: T) -> Result<(), String> {
    if told == is { Ok(()) } else { Err(format!("{name} {told:?}, it is {is:?}")) }
}

/// No run is as long.
const LONG_US: u64 = 1 << 40;

/// A length of time on a node's own clock, in microseconds, against true ones.
pub(super) fn within(ground: &Ground<'_>, name: &str, told: u64, least: u64, most: u64) -> Result<(), String> {
    let drift = |us: u64| us.min(LONG_US) * u64::from(ground.plan.knobs.drift_ppm_max) / 1_000_000 + 2;
    if told.saturating_add(drift(least)) < least || told > most.saturating_add(drift(most)) {
        return Err(format!("{name} {told} us, it is from {least} to {most}"));
    }
    Ok(())
}

pub(super) fn whole_us(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn of_itself(member: &MemberStatus, status: &Status) -> Result<(), String> {
    same("connected", member.connected, Some(true))?;
    same("durable", member.durable, Some(status.positions.durable))?;
    same("applied", member.applied, Some(status.positions.applied.index))?;
    same("lag_operations", member.lag_operations, Some(status.lag_operations))?;
    same("lag", member.lag, Some(status.lag))?;
    same("last_contact", member.last_contact, Some(Duration::ZERO))?;
    same("eligible", member.eligible, Some(member.why_not.is_none()))?;
    let fit = member.priority > 0 && (member.voter || !status.failover.armed);
    if member.eligible == Some(true) && !fit && status.failover.why_not.is_some() {
        return Err(format!("eligible, with priority {}, voter: {}", member.priority, member.voter));
    }
    Ok(())
}

/// What only the master knows is not told.
fn of_a_stranger(member: &MemberStatus, status: &Status) -> Result<(), String> {
    same("connected", member.connected, None)?;
    same("durable", member.durable, None)?;
    same("applied", member.applied, None)?;
    same("lag_operations", member.lag_operations, None)?;
    same("lag", member.lag, None)?;
    same("bytes_behind", member.bytes_behind, None)?;
    same("wall_ahead_ms", member.wall_ahead_ms, None)?;
    // Who never leads, or does not vote, stands in the log.
    let by_the_log = member.priority == 0 || status.failover.armed && !member.voter;
    same("eligible", member.eligible, by_the_log.then_some(false))
}

/// Whether a master says rightly who could take over, as far as it can be told from what else it says.
fn eligible(max_lag_ms: u64, status: &Status, member: &MemberStatus) -> Result<(), String> {
    let armed = status.failover.armed;
    let lags = member.lag.is_some_and(|lag| lag > Duration::from_millis(max_lag_ms));
    let reasons = [
        ("its failover.priority is 0", member.priority == 0),
        ("it is not a voter", armed && !member.voter),
        ("it lags by more than max_lag_ms", lags),
        ("it is not connected to this node", member.connected != Some(true)),
        ("its state is being synced", true),
        ("its disk is full", true),
        ("its disk hangs", true),
        ("its failover.mode is manual, or it does not sync its promises", armed),
    ];
    let Some(why) = member.why_not else {
        let holds = reasons[..4].iter().find(|(_, holds)| *holds);
        let against = holds.filter(|_| member.eligible == Some(true)).map(|(why, _)| *why);
        return against.map_or(Ok(()), |why| Err(format!("eligible, although {why}")));
    };
    match reasons.iter().find(|(known, _)| *known == why) {
        Some((_, true)) if member.eligible == Some(false) => Ok(()),
        Some(_) => Err(format!("why_not '{why}' does not hold")),
        None => Err(format!("why_not '{why}' is no reason of a master")),
    }
}

/// It lags at least since this master wrote the first entry that it has not applied.
fn lag(ground: &Ground<'_>, member: &MemberStatus, last: Position, applied: Index) -> Result<(), String> {
    let told = member.lag.map_or(0, whole_us);
    if applied >= last.index {
        return same("lag", told, 0);
    }
    let first = Position { epoch: last.epoch, index: applied.next() };
    match ground.log.written_at(first) {
        Some(since) => within(ground, "lag", told, ground.at - since, u64::MAX),
        None => Ok(()),
    }
}

/// The records of this mastership that it has not said to hold. Of those that have left memory before it said so more may be told.
fn bytes_behind(ground: &Ground<'_>, member: &MemberStatus, status: &Status) -> Result<(), String> {
    let (durable, last) = (member.durable.unwrap_or(Index::ZERO), status.positions.last);
    let behind = last.index.ahead_of(durable);
    if durable == Index::ZERO || behind > FEW {
        return Ok(());
    }
    let record = |index| ground.log.get(Position { epoch: last.epoch, index: Index(index) });
    let records: Option<Vec<u64>> =
        (durable.0 + 1..=last.index.0).map(|index| record(index).map(|entry| entry.record.len() as u64)).collect();
    let (Some(sum), told) = (records.map(|records| records.iter().sum::<u64>()), member.bytes_behind) else {
        return Ok(());
    };
    if told.is_none_or(|told| told < sum) {
        return Err(format!("bytes_behind {told:?}, it is {sum}"));
    }
    if durable.next() >= status.positions.first { same("bytes_behind", told, Some(sum)) } else { Ok(()) }
}

/// So many records are counted.
const FEW: u64 = 64;

impl Oracle for MembersTell {
    fn name(&self) -> &'static str {
        "INV-11 what is told of members is what they have told"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Started { node, .. } => self.heard[*node].clear(),
            Fact::Heard { node, from: Some(from), message, .. } => {
                self.hears(ground.at, *node, *from, message);
            }
            Fact::Sent { node, message: Message::Welcome(_), .. }
            | Fact::Happened { node, event: Event::ReplicaLeft { .. } | Event::ReplicaJoined { .. } }
            | Fact::GaveUp { node, .. } => self.changed_at[*node] = ground.at,
            Fact::DiskLost { node } => self.moves(*node),
            Fact::DisksSwapped { one, other } => {
                self.moves(*one);
                self.moves(*other);
            }
            Fact::Status { node, status, truth, .. } => {
                self.places.insert(status.node, *node);
                if !truth.after_turn {
                    return Ok(());
                }
                return self.check(ground, *node, status, truth);
            }
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

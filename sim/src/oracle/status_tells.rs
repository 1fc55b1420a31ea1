//! Status against the truth of that instant: each number that a node tells of itself, compared with what the run knows of
//! its links, its clocks and its log, and the alarms with what they are alarms of. What a node says of its members is in
//! `members_tell.rs`, of its disk in `disk_tells.rs`, of its lag behind a master in `lag_tells.rs`, of its store in
//! `by_the_model.rs`; what its front shows of it all in `status_truth.rs`.

use synap_core::event::Event;
use synap_core::ids::LinkId;
use synap_core::message::Message;
use synap_core::position::Index;
use synap_core::status::{Alarm, Role, State, Status};
use synap_core::wal::Entry;

use super::members_tell::{whole_us, within};
use crate::oracle::{Fact, Ground, Oracle, Truth};
use crate::plan::What;

/// An alarm of clocks goes on beyond this, and off below half of it.
const SKEW_MS: u64 = 1_000;

/// Stamps are whole milliseconds.
const MS_SLACK: u64 = 2;

/// A node has a turn at least as often as its master speaks.
const ALARM_ENDS_US: u64 = 3_000_000;

/// No run is as long.
const ENDLESS_US: u64 = 1 << 50;

/// So many records are counted.
const FEW: u64 = 64;

/// What is known of each node's present life.
#[derive(Debug)]
pub(super) struct StatusTells {
    nodes: Vec<Known>,
    compared: u64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// When anything came in, and on which link a master's word did last.
    heard_at: Option<u64>,
    master_heard: Option<(LinkId, u64)>,
    /// Entries that went into rollback files.
    rolled_back: bool,
    /// Snapshots made here.
    snapshots: u64,
    /// Since when the alarm of clocks is on, with no clock off that it tells of.
    skewed_since: Option<u64>,
    /// Until when it leads by its lease, as it said in its last turn, and when that was.
    leads: Option<(u64, u64)>,
}

impl StatusTells {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: vec![Known::default(); nodes], compared: 0 }
    }
}

impl Known {
    fn check(&self, ground: &Ground<'_>, status: &Status, truth: &Truth) -> Result<(), String> {
        self.roles(status)?;
        self.alarms(status)?;
        self.link(ground, status, truth)?;
        self.lease(ground, status)?;
        self.counters(ground, status)?;
        clocks(status, truth)?;
        lags(status)
    }

    fn roles(&self, status: &Status) -> Result<(), String> {
        let positions = &status.positions;
        let is_mine = status.leader.as_ref().is_some_and(|leader| leader.node == status.node);
        let serves = status.role == Role::Master && status.state == State::Serving;
        if serves && !is_mine {
            return Err(format!("it serves, and its leader is {:?}", status.leader));
        }
        if status.role == Role::Master && status.epoch.leader != status.node {
            return Err(format!("it is master, and in epoch {}", status.epoch));
        }
        if status.epoch < positions.applied.epoch {
            return Err(format!("its epoch is {}, and it has applied {}", status.epoch, positions.applied));
        }
        if positions.first > positions.last.index.next() {
            return Err(format!("its log is from {} to {}", positions.first, positions.last));
        }
        if status.role == Role::Master && status.link.is_some() {
            return Err("it is master, and has a link to its master".to_owned());
        }
        Ok(())
    }

    fn alarms(&self, status: &Status) -> Result<(), String> {
        let on = |alarm| status.alarms.contains(&alarm);
        let follows = status.link.is_some_and(|link| link.connected);
        let due = [
            (Alarm::RollbackWritten, self.rolled_back && status.counters.rollback_operations > 0),
            (Alarm::StateMismatch, status.counters.state_hash_mismatches > 0 || on(Alarm::StateMismatch)),
            (Alarm::MasterDown, on(Alarm::MasterDown) && status.role == Role::Replica && !follows),
            (Alarm::AddressUnknown, on(Alarm::AddressUnknown)),
            (Alarm::AddressUnresolved, false),
            (Alarm::NoQuorum, status.state == State::NoQuorum || on(Alarm::NoQuorum) && is_pending(status)),
            (Alarm::OutOfMemory, false),
            (Alarm::UnsafeFsync, false),
        ];
        for (alarm, due) in due {
            if on(alarm) != due {
                return Err(format!("the alarm {alarm} is {}, and should not be", if due { "off" } else { "on" }));
            }
        }
        let nameless = status.members.iter().any(|it| it.node != status.node && it.replication.is_empty());
        if nameless && !on(Alarm::AddressUnknown) && status.role == Role::Master {
            return Err("a member has no address, and no alarm is on".to_owned());
        }
        let fails = matches!(status.state, State::MasterDown | State::Campaigning);
        if fails && !status.failover.history.is_empty() && !on(Alarm::MasterDown) {
            return Err(format!("it is {}, and no alarm is on", status.state));
        }
        Ok(())
    }

    /// A replica's link: it stands, and the last word came when it says.
    fn link(&self, ground: &Ground<'_>, status: &Status, truth: &Truth) -> Result<(), String> {
        let Some(link) = status.link else { return Ok(()) };
        if link.connected && truth.linked.as_ref().is_some_and(Vec::is_empty) {
            return Err("it follows a master, and no connection stands".to_owned());
        }
        let (Some(told), Some(heard_at)) = (link.last_contact, self.heard_at) else { return Ok(()) };
        let latest = self.master_heard.map_or(u64::MAX, |(_, at)| ground.at - at);
        let latest = if link.connected { latest } else { u64::MAX };
        within(ground, "last_contact", whole_us(told), ground.at - heard_at, latest)
    }

    fn lease(&self, ground: &Ground<'_>, status: &Status) -> Result<(), String> {
        let wants = status.role == Role::Master && status.failover.armed;
        if status.lease_remaining.is_some() && !status.failover.armed {
            return Err("it has a lease, and is not armed".to_owned());
        }
        if wants && status.lease_remaining.is_none() {
            return Err("it is an armed master, and tells of no lease".to_owned());
        }
        let Some((until, _)) = self.leads.filter(|(_, at)| *at == ground.at) else { return Ok(()) };
        // An only voter's lease has no end.
        let left = until.saturating_sub(ground.at);
        if left >= ENDLESS_US {
            return Ok(());
        }
        let told = status.lease_remaining.map_or(0, whole_us);
        if left == 0 {
            return if told == 0 { Ok(()) } else { Err(format!("its lease has {told} us left, and is over")) };
        }
        within(ground, "lease_remaining", told, left, left)
    }

    fn counters(&self, ground: &Ground<'_>, status: &Status) -> Result<(), String> {
        if status.counters.snapshots != self.snapshots {
            return Err(format!("it counts {} snapshots of {}", status.counters.snapshots, self.snapshots));
        }
        // Whoever speaks the truth on a sound link is never taken for one who does not.
        let unsound = |what: &What| matches!(what, What::Garble(_) | What::Skew(..) | What::Strangers(_));
        let sound = !ground.plan.faults.iter().any(|fault| unsound(&fault.what));
        if sound && status.counters.garbage_links > 0 {
            return Err(format!(
                "{} links were dropped for garbage that nobody sent",
                status.counters.garbage_links
            ));
        }
        Ok(())
    }
}

impl Known {
    /// The alarm of clocks is looked at before what a turn brings, and again in the next: it goes off soon after.
    fn alarm_ends(&mut self, at: u64, status: &Status) -> Result<(), String> {
        let off = |ahead_ms: i64| ahead_ms.unsigned_abs() > SKEW_MS / 2;
        let members = || status.members.iter().filter_map(|member| member.wall_ahead_ms);
        let wrong = status.alarms.contains(&Alarm::ClockSkew)
            && status.role == Role::Replica
            // It leads already, and does not tell its members' clocks yet.
            && status.state != State::Opening
            && status.wall_ahead_ms.is_some_and(|ahead_ms| !off(ahead_ms))
            && !members().any(off);
        if !wrong {
            self.skewed_since = None;
        }
        let since = *self.skewed_since.get_or_insert(at);
        if wrong && since + ALARM_ENDS_US < at {
            return Err("no wall clock is off, and the alarm is on".to_owned());
        }
        self.skewed_since = self.skewed_since.filter(|_| wrong);
        Ok(())
    }
}

/// A master that holds writes back, or has just lost its lease or got it back, tells of no other state.
fn is_pending(status: &Status) -> bool {
    matches!(status.state, State::HandingOver | State::ShuttingDown)
}

/// A wall clock is as far ahead as it is, less what nobody can know: how long a word was on its way.
fn clocks(status: &Status, truth: &Truth) -> Result<(), String> {
    let on = status.alarms.contains(&Alarm::ClockSkew);
    let walls = || {
        let member = status
            .members
            .iter()
            .filter(|member| member.connected == Some(true))
            .filter_map(|it| it.wall_ahead_ms);
        status.wall_ahead_ms.into_iter().chain(member).map(i64::unsigned_abs)
    };
    if !on && walls().any(|ahead_ms| ahead_ms > SKEW_MS) {
        return Err("a wall clock is off, and no alarm is on".to_owned());
    }
    let (Some(told), Some(wall_ms)) = (status.wall_ahead_ms, truth.wall_ms) else { return Ok(()) };
    let is = i128::from(wall_ms) - i128::from(status.log_time.0);
    let told = i128::from(told);
    // Only a master knows log time to the millisecond. Others show readers a time that never goes back, though the next
    // master's may have, by the way of a word.
    if status.role == Role::Master && (told - is).abs() > i128::from(MS_SLACK) {
        return Err(format!("its wall clock is {told} ms ahead of log time, it is {is}"));
    }
    Ok(())
}

fn lags(status: &Status) -> Result<(), String> {
    if status.lag_operations == 0 && whole_us(status.lag) > 0 {
        return Err(format!("it lags nothing, and by {:?}", status.lag));
    }
    Ok(())
}

/// The bytes of the log that are not settled, counted record by record.
fn uncommitted(ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
    let Fact::Applied { node, view, status } = fact else { return Ok(()) };
    let (last, applied) = (status.positions.last.index, status.positions.applied.index);
    let behind = last.ahead_of(applied);
    if behind > FEW || applied.next() < status.positions.first {
        return Ok(());
    }
    let terms = view.history.terms();
    let entries: Vec<&Entry> = ground.log.chain(terms, applied.next(), last).collect();
    let sum: u64 = entries.iter().map(|entry| entry.record.len() as u64).sum();
    // The view's epochs may be those from before a tail was cut.
    let whole = entries.last().map_or(applied, |entry| entry.position.index) == last
        && entries.last().is_none_or(|entry| entry.position == status.positions.last);
    if entries.len() as u64 == behind && whole && status.uncommitted_bytes != sum {
        let told = status.uncommitted_bytes;
        return Err(format!(
            "n{node} says that {told} bytes from {applied} to {last} are not settled, it is {sum}"
        ));
    }
    Ok(())
}

impl Oracle for StatusTells {
    fn name(&self) -> &'static str {
        "what a node tells of itself is so"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let at = ground.at;
        match fact {
            Fact::Started { node, .. } => self.nodes[*node] = Known::default(),
            Fact::Heard { node, link, message, .. } => {
                let known = &mut self.nodes[*node];
                known.heard_at = Some(at);
                if matches!(message, Message::Append(_)) {
                    known.master_heard = Some((*link, at));
                }
            }
            Fact::GaveUp { node, link } => {
                self.nodes[*node].master_heard.take_if(|(heard, _)| heard == link);
            }
            Fact::Happened { node, event: Event::RolledBack { from, upto, .. } } => {
                self.nodes[*node].rolled_back |= from <= upto && *upto > Index::ZERO;
            }
            Fact::Happened { node, event: Event::SnapshotTaken { .. } } => self.nodes[*node].snapshots += 1,
            Fact::Leads { node, until, .. } => self.nodes[*node].leads = until.map(|until| (until, at)),
            Fact::Status { node, status, truth, .. } if truth.after_turn => {
                self.compared += 1;
                let known = &mut self.nodes[*node];
                let told = known.check(ground, status, truth).and_then(|()| known.alarm_ends(at, status));
                return told.map_err(|why| format!("n{node}: {why}"));
            }
            Fact::Applied { .. } => return uncommitted(ground, fact),
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

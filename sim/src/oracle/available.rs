//! INV-15: whenever a majority of the voters has been up, connected both ways and with working disks for [`Available::patience`],
//! some master takes writes. Judged at every look of an armed run, not only after the last fault.
//!
//! A master takes writes when it answers one that a majority holds: its word that it serves is not enough. What the machines and
//! ways are is known from the faults, who votes and who may lead from the voters themselves: each of the majority must say that
//! it is one.

use std::collections::{BTreeSet, VecDeque};

use synap_core::event::Event;
use synap_core::ids::NodeId;
use synap_core::position::Index;
use synap_core::status::Status;

use crate::oracle::{Fact, Ground, Oracle};
use crate::plan::{Plan, What};

/// How the machines are, as whoever runs them knows.
#[derive(Debug)]
pub struct Look<'a> {
    /// Which nothing is wrong with, and nothing has been since the last look.
    pub well: &'a [bool],
    /// Which ways are open, by sender and receiver.
    pub open: &'a [Vec<bool>],
    /// Whom each node finds where it looks for others.
    pub finds: &'a [Vec<bool>],
    /// What each node says of itself; none if it is down.
    pub statuses: &'a [Option<Status>],
    /// When a write was last answered that a majority holds.
    pub served_at: u64,
}

/// Since when each node has done its part.
#[derive(Debug)]
pub(super) struct Available {
    nodes: Vec<Member>,
    /// When a process died that held its lease. Whoever elected it owes another one from then on, be it a node outside of the majority
    /// that is asked here: voters draw lots and prefer a high priority, and cannot know who is in a crash loop.
    fell_at: u64,
    /// When one of two was last one that the other would not find.
    apart_at: Vec<Vec<u64>>,
    /// How far anybody has committed, and since when.
    committed: (Index, u64),
    compared: u64,
}

/// A node, as far as it matters to who may lead.
#[derive(Debug, Default)]
struct Member {
    /// Since when nothing has been wrong with it, and it has been a voter of an armed cluster that nobody has paused.
    since: u64,
    /// Who votes by its log. A change makes other majorities, which owe nothing for the time before.
    voters: BTreeSet<NodeId>,
    /// Since when it would lead, by its own word.
    willing_since: u64,
    /// How many campaigns in a row it has lost for want of time: when, and how many.
    losses: VecDeque<(u64, u32)>,
    /// When it saw masters change.
    changes: VecDeque<u64>,
    /// Until when it leads, by its lease.
    leads_until: u64,
    /// How many it has counted in this life.
    counted: u64,
}

/// How a majority of voters is, that owes service.
struct Majority {
    nodes: Vec<usize>,
    /// Since when it has been one.
    since: u64,
}

/// Why a campaign ends that was too slow. The next takes twice as long, up to so many doublings.
const TOO_SLOW: &str = "no majority of voters answered in time";
const SLACK_DOUBLINGS_MAX: u32 = 4;

/// So many changes of master within a minute double what voters wait for, up to eight times.
const CHANGES_PER_DOUBLING: usize = 3;
const DAMPING_DOUBLINGS_MAX: u32 = 3;
const FLAPPING_US: u64 = 60_000_000;

/// Chunks of a snapshot on their way to one replica, and a record of the longest that a plan writes.
const UNDER_WAY_BYTES: u64 = 2 << 20;

/// What has nothing to do with the election timeout: members are asked for half a second, a disk that was full is tried again
/// after one.
const FIXED_US: u64 = 2_000_000;

impl Available {
    pub(super) fn new(nodes: usize) -> Self {
        let apart_at = vec![vec![0; nodes]; nodes];
        let nodes = (0..nodes).map(|_| Member::default()).collect();
        Self { nodes, fell_at: 0, apart_at, committed: (Index::ZERO, 0), compared: 0 }
    }

    fn look(&mut self, plan: &Plan, at: u64, look: &Look<'_>) -> Result<(), String> {
        for (node, member) in self.nodes.iter_mut().enumerate() {
            member.look(at, look.well[node], look.statuses[node].as_ref());
        }
        for (one, apart_at) in self.apart_at.iter_mut().enumerate() {
            let apart = apart_at.iter_mut().enumerate().filter(|(other, _)| !look.are_met(one, *other));
            apart.for_each(|(_, apart_at)| *apart_at = at);
        }
        let committed = look.statuses.iter().flatten().map(|status| status.positions.committed).max();
        if let Some(committed) = committed.filter(|committed| *committed > self.committed.0) {
            self.committed = (committed, at);
        }
        let Some(majority) = self.longest(look) else { return Ok(()) };
        self.compared += 1;
        // Where links have a bandwidth a write waits behind all that came before it. Each time some of that is committed is as
        // good as an answer: some master goes on taking what was written.
        let slow = plan.slowest_bytes_per_sec() > 0;
        let served_at = if slow { look.served_at.max(self.committed.1) } else { look.served_at };
        let since = majority.since.max(served_at);
        let patience_us = self.patience(plan, &majority, since) + one_write_us(plan);
        if at <= since + patience_us {
            return Ok(());
        }
        let names: Vec<String> = majority.nodes.iter().map(|node| format!("n{node}")).collect();
        Err(format!(
            "{} are a majority of the voters, up and connected for {} ms; no master has taken a write for {} ms, {} ms are allowed",
            names.join(", "),
            (at - majority.since) / 1000,
            (at - served_at) / 1000,
            patience_us / 1000
        ))
    }

    /// The majority of voters that has been one for longest, if there is any.
    fn longest(&self, look: &Look<'_>) -> Option<Majority> {
        let fit: Vec<usize> = (0..self.nodes.len()).filter(|node| is_voter(look, *node)).collect();
        let subsets = (1_u32..1 << fit.len()).map(|bits| {
            let chosen = fit.iter().enumerate().filter(|(nth, _)| bits & (1 << nth) != 0);
            chosen.map(|(_, node)| *node).collect::<Vec<usize>>()
        });
        let owing = subsets.filter(|nodes| is_majority(look, nodes)).filter_map(|nodes| {
            let whole_since = nodes.iter().map(|node| self.nodes[*node].since).max()?;
            let willing_since = nodes.iter().map(|node| self.nodes[*node].willing_since).min()?;
            let pairs = nodes.iter().flat_map(|one| nodes.iter().map(|other| self.apart_at[*one][*other]));
            let met_since = pairs.max()?;
            let since = whole_since.max(willing_since).max(met_since).max(self.fell_at);
            Some(Majority { nodes, since })
        });
        owing.min_by_key(|majority| majority.since)
    }

    /// How long a majority may take that was as it is since then: `E * (2 + damping + 2 * slack)`, and what has nothing to do with
    /// E. Damping is what voters multiply their patience by while masters change often, slack what they multiply the time for a
    /// campaign by that others before it were too short for; both as they were when the time began.
    fn patience(&self, plan: &Plan, majority: &Majority, since: u64) -> u64 {
        let members = || majority.nodes.iter().map(|node| &self.nodes[*node]);
        let slack = 1 << members().map(|member| member.doublings(since)).max().unwrap_or(0);
        let damping = 1 << members().map(|member| member.damped(since)).max().unwrap_or(0);
        let timeout_us = plan.election_timeout_us();
        (timeout_us + way_us(plan)) * (2 + damping + 2 * slack) + FIXED_US + handover_us(plan)
    }
}

impl Member {
    fn look(&mut self, at: u64, well: bool, status: Option<&Status>) {
        let Some(status) =
            status.filter(|status| well && status.failover.armed && status.failover.paused.is_none())
        else {
            (self.since, self.willing_since) = (at, at);
            return;
        };
        if status.failover.why_not.is_some() {
            self.willing_since = at;
        }
        let voters = votes(status);
        if voters != self.voters {
            (self.voters, self.since) = (voters, at);
        }
        let more = status.counters.leader_changes.saturating_sub(self.counted);
        self.counted = status.counters.leader_changes;
        (0..more).for_each(|_| self.changes.push_back(at));
        while self.changes.front().is_some_and(|change| *change + 2 * FLAPPING_US < at) {
            self.changes.pop_front();
        }
    }

    fn starts(&mut self, at: u64) {
        *self = Self { since: at, willing_since: at, ..Self::default() };
    }

    fn loses(&mut self, at: u64) {
        let losses = self.losses.back().map_or(0, |(_, losses)| *losses);
        self.losses.push_back((at, losses + 1));
    }

    /// How often the time for its campaigns was doubled then, and once more for one that had begun.
    fn doublings(&self, at: u64) -> u32 {
        let known = self.losses.iter().rev().find(|(when, _)| *when <= at);
        known.map_or(0, |(_, losses)| losses + 1).min(SLACK_DOUBLINGS_MAX)
    }

    /// How often its patience was doubled then, or will be by the master that is to come.
    fn damped(&self, at: u64) -> u32 {
        let recent = self.changes.iter().filter(|change| **change <= at && **change + FLAPPING_US > at).count();
        u32::try_from((recent + 1) / CHANGES_PER_DOUBLING).unwrap_or(0).min(DAMPING_DOUBLINGS_MAX)
    }
}

impl Oracle for Available {
    fn name(&self) -> &'static str {
        "INV-15 a connected majority has a master that takes writes"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Started { node, .. } => self.nodes[*node].starts(ground.at),
            Fact::Leads { node, until, .. } => self.nodes[*node].leads_until = until.unwrap_or(0),
            Fact::Ended { node, .. } if self.nodes[*node].leads_until > ground.at => self.fell_at = ground.at,
            Fact::Happened { node, event: Event::State { why, .. } } if why == TOO_SLOW => {
                self.nodes[*node].loses(ground.at);
            }
            Fact::Happened { node, event: Event::Following { .. } } => {
                self.nodes[*node].losses.push_back((ground.at, 0));
            }
            Fact::Looked(look) if owes(ground.plan) => return self.look(ground.plan, ground.at, look),
            _ => {}
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

/// Whether anybody owes service at any time in such a run. What is forced makes lines that go together no more.
fn owes(plan: &Plan) -> bool {
    plan.knobs.automatic && !plan.forces_promotion() && plan.is_enough(plan.network.bytes_per_sec)
}

/// How long the next commit may take on links with a bandwidth: the longest record, behind the chunks of a snapshot.
fn one_write_us(plan: &Plan) -> u64 {
    (UNDER_WAY_BYTES * 1_000_000).checked_div(plan.slowest_bytes_per_sec()).unwrap_or(0)
}

/// The longest time of a message's way and back, and of the disks at both ends.
fn way_us(plan: &Plan) -> u64 {
    let straggles = if plan.network.straggler_per_mille > 0 { 10 } else { 1 };
    2 * (plan.network.delay_us_max * straggles + plan.disk.sync_us_max + plan.disk.op_us_max)
}

/// How long an operator's handover may hold writes up.
fn handover_us(plan: &Plan) -> u64 {
    let hands_over = plan.faults.iter().any(|fault| matches!(fault.what, What::Switchover(_)));
    if hands_over { plan.workload.timeout_ms * 1000 } else { 0 }
}

fn is_voter(look: &Look<'_>, node: usize) -> bool {
    look.statuses[node]
        .as_ref()
        .is_some_and(|status| status.failover.armed && votes(status).contains(&status.node))
}

/// Who votes, by this node's log.
fn votes(status: &Status) -> BTreeSet<NodeId> {
    status.members.iter().filter(|member| member.voter).map(|member| member.node).collect()
}

impl Look<'_> {
    /// Whether two nodes find each other. One that can only be called by the other is asked for its vote when it calls, which it does
    /// when it likes: a majority that stands on such a call comes together in the end (INV-13), and within no time that is judged here.
    fn are_met(&self, one: usize, other: usize) -> bool {
        one == other
            || self.open[one][other] && self.open[other][one] && self.finds[one][other] && self.finds[other][one]
    }
}

/// Whether these reach each other, and are more than half of the voters by each one's log.
fn is_majority(look: &Look<'_>, nodes: &[usize]) -> bool {
    let connected = nodes.iter().all(|one| nodes.iter().all(|other| look.are_met(*one, *other)));
    let ids: BTreeSet<NodeId> =
        nodes.iter().filter_map(|node| Some(look.statuses[*node].as_ref()?.node)).collect();
    connected
        && nodes.iter().filter_map(|node| look.statuses[*node].as_ref()).all(|status| {
            let voters = votes(status);
            ids.is_subset(&voters) && ids.len() * 2 > voters.len()
        })
}

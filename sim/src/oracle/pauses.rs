//! A pause of elections never ends early: nobody campaigns by itself before as much time has passed since an operator asked
//! for it, whatever the wall clocks say. Time is the run's own; a node's clock may be as fast as the plan lets it drift.

use std::collections::BTreeMap;

use bytes::Bytes;
use synap_core::command::{Command, Pause};
use synap_core::event::Event;
use synap_core::position::Index;
use synap_core::status::State;
use synap_core::wal::Record;

use crate::oracle::{Fact, Ground, Oracle};
use crate::plan::{Plan, What};

/// How much earlier than by the run's clock a node may be, since some runs go in steps.
const SLACK_US: u64 = 2_000;

/// Why a campaign begins that somebody asked for.
const ASKED_FOR: [&str; 2] = ["an operator promotes this node", "the master hands over"];

/// Remembers when each pause began, and by which memberships each node goes.
#[derive(Debug)]
pub(super) struct Pauses {
    began: BTreeMap<(Index, u32), u64>,
    /// The memberships in each node's log, in order: where, and which pause they tell of.
    known: Vec<Vec<(Index, Option<Pause>)>>,
    compared: u64,
}

impl Pauses {
    pub(super) fn new(nodes: usize) -> Self {
        Self { began: BTreeMap::new(), known: vec![Vec::new(); nodes], compared: 0 }
    }

    fn recorded(&mut self, node: usize, record: &Bytes, at: u64) {
        let known = &mut self.known[node];
        match Record::decode(&mut record.clone()) {
            Ok(Record::Entry(entry)) => {
                let Ok(Command::Config(membership)) = entry.command() else { return };
                let index = entry.position.index;
                known.push((index, membership.pause));
                if let Some(pause) = membership.pause.filter(|pause| pause.since == index) {
                    self.began.entry((pause.since, pause.length_ms)).or_insert(at);
                }
            }
            Ok(Record::Truncate(to)) => known.retain(|(index, _)| *index <= to.index),
            // What a snapshot says of its membership is not looked at.
            Ok(Record::SnapshotMark(_)) => known.clear(),
            Ok(Record::HardState(_) | Record::Committed(_)) | Err(_) => {}
        }
    }

    fn campaigns(&mut self, plan: &Plan, node: usize, at: u64) -> Result<(), String> {
        let pause = self.known[node].last().and_then(|(_, pause)| *pause);
        let Some((pause, began)) =
            pause.and_then(|pause| Some((pause, *self.began.get(&(pause.since, pause.length_ms))?)))
        else {
            return Ok(());
        };
        self.compared += 1;
        let length_us = u64::from(pause.length_ms) * 1000;
        let least_us = length_us * 1_000_000 / (1_000_000 + u64::from(plan.knobs.drift_ppm_max));
        if at + SLACK_US >= began + least_us {
            return Ok(());
        }
        Err(format!(
            "n{node} campaigns {} us after a pause of {length_us} us was asked for at index {}",
            at - began,
            pause.since
        ))
    }
}

impl Oracle for Pauses {
    fn name(&self) -> &'static str {
        "a pause of elections never ends early"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        if !ground.plan.faults.iter().any(|fault| fault.what == What::PauseElections) {
            return Ok(());
        }
        match fact {
            Fact::Recorded { node, records } => {
                records.iter().for_each(|record| self.recorded(*node, record, ground.at));
                Ok(())
            }
            Fact::Started { node, .. } => {
                // What was on its way to the disk may be lost: only what it writes anew is looked at.
                self.known[*node].clear();
                let on_disk = ground.on_disk(*node);
                let entries = on_disk.node.iter().flat_map(|node| &node.entries);
                for entry in entries {
                    self.recorded(*node, &entry.record, ground.at);
                }
                Ok(())
            }
            Fact::Happened { node, event: Event::State { to: State::Campaigning, why } }
                if !ASKED_FOR.contains(&why.as_str()) =>
            {
                self.campaigns(ground.plan, *node, ground.at)
            }
            _ => Ok(()),
        }
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

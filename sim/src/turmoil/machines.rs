//! How the processes of machines start and end: by a fault, by the operator, or by their own word.

use super::world::{Exit, Machine, Runs, name_of};
use super::{CLIENTS, Due, Run};
use crate::operator::{Site, unrecoverable};
use crate::oracle::Fact;
use crate::run::Verdict;
use crate::trace::Step;

/// How long a supervisor takes to start a process that ended by itself.
const SUPERVISOR_US: u64 = 200_000;

/// When a process that found no room for its repairs is started again.
const ROOM_US: u64 = 1_000_000;

impl Run {
    /// Starts the process, if none runs and nothing holds it down.
    pub(super) fn start(&mut self, node: usize) {
        let (runs, held) = self.machine(node, |machine| (machine.runs, machine.setup.held));
        if held > 0 || runs == Runs::Server {
            return;
        }
        if runs == Runs::Nothing {
            self.all_ways(node, Self::open);
        }
        self.machine(node, |machine| {
            machine.runs = Runs::Server;
            machine.life += 1;
            machine.exit = None;
            machine.cut = tokio_util::sync::CancellationToken::new();
            machine.stop = tokio_util::sync::CancellationToken::new();
        });
        self.sim.bounce(name_of(node));
    }

    /// The process ends: killed, out of power, or by its own word.
    pub(super) fn end_process(&mut self, node: usize, power: bool, why: &str) {
        // Before anything is torn down: no destructor reaches the disk any more.
        if power {
            self.world.disk(node).power_cut();
        } else {
            self.world.disk(node).detach();
        }
        let had = self.machine(node, |machine| machine.runs);
        if power && had != Runs::Nothing {
            // Nor the network.
            self.all_ways(node, Self::shut);
            self.machine(node, |machine| machine.runs = Runs::Nothing);
            self.sim.crash(name_of(node));
        } else if had == Runs::Server {
            self.machine(node, |machine| {
                machine.runs = Runs::System;
                machine.is_killed = true;
            });
            self.sim.bounce(name_of(node));
        }
        if had == Runs::Server {
            self.note(&[2, node as u64, u64::from(power)], || Step::Ended { node, power, text: why.to_owned() });
            self.world.observations().ends(node);
            self.see(&Fact::Ended { node, power });
            if !self.world.plan.keeps_log(node) {
                self.see(&Fact::DiskLost { node });
            }
        }
    }

    fn all_ways(&self, node: usize, change: impl Fn(&Self, usize, usize)) {
        for other in (0..=self.world.plan.nodes()).filter(|other| *other != node) {
            change(self, node, other);
            change(self, other, node);
        }
    }

    /// Processes that ended by themselves, as a supervisor finds them.
    pub(super) fn supervise(&mut self) {
        for node in 0..self.world.plan.nodes() {
            let Some(exit) = self.machine(node, |machine| machine.exit.take()) else { continue };
            match exit {
                Exit::Stopped => {
                    self.end_process(node, false, "exit 0");
                    // The fault that stopped it may be over by now.
                    self.after(0, Due::Start(node));
                }
                Exit::DiskFailed(why) => {
                    self.end_process(node, false, &format!("exit 74, {why}"));
                    self.after(SUPERVISOR_US, Due::Start(node));
                }
                Exit::NoRoom => {
                    self.end_process(node, false, "exit 74, no room for repairs");
                    self.after(ROOM_US, Due::Start(node));
                }
                Exit::Refused(why) => {
                    self.end_process(node, false, &format!("exit 74, {why}"));
                    unrecoverable(self, node, &why);
                }
                Exit::NoPort(cause) => self.world.observations().end(Verdict::Panic { cause }),
            }
        }
    }

    pub(super) fn machine<T>(&self, node: usize, of: impl FnOnce(&mut Machine) -> T) -> T {
        of(&mut self.world.machines()[node])
    }

    pub(super) fn shut(&self, from: usize, to: usize) {
        if self.world.roads().block(from, to) {
            self.sim.partition_oneway(self.place(from), self.place(to));
        }
    }

    pub(super) fn open(&self, from: usize, to: usize) {
        if self.world.roads().unblock(from, to) {
            self.sim.repair_oneway(self.place(from), self.place(to));
        }
    }

    /// The name of a machine, the clients' included.
    fn place(&self, number: usize) -> String {
        if number == self.world.clients() { CLIENTS.to_owned() } else { name_of(number) }
    }
}

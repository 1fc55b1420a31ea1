//! The oracles: one file per invariant of the protocol, by its number. They see facts, whatever level they come
//! from, and the disks themselves; what nodes say of their disks they do not believe.
//!
//! [`Oracles`] hands every fact to every oracle and keeps the first violation.

mod applied_once;
mod available;
mod bounds;
mod by_the_model;
mod commits;
mod committed_never_changes;
mod deposed;
mod disk_tells;
mod durable_ack;
mod epochs;
mod fates;
mod healed_first;
mod history;
mod identity;
mod lag_tells;
mod lease_rests;
mod leases;
mod linearizable;
mod log_time;
mod members_tell;
mod on_disk;
mod one_name;
mod one_order;
mod one_value;
mod pauses;
mod positions;
mod promised;
mod quorum_durable;
mod refused_is_not_done;
mod rollback_reported;
mod same_state;
mod sent_on;
mod status_tells;
mod status_truth;
mod times;
mod votes;
mod words;
mod world_log;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use synap_core::command::Command;
use synap_core::config::Concern;
use synap_core::event::Event;
use synap_core::history::History;
use synap_core::ids::{LinkId, NodeId};
use synap_core::message::Message;
use synap_core::output::{Fate, Written};
use synap_core::position::{Epoch, Named, Position};
use synap_core::status::Status;
use synap_core::view::View;

use crate::disk::ModelDisk;
use crate::model::Fronted;
use crate::plan::Plan;
pub use available::Look;
pub use on_disk::OnDisk;
pub(crate) use quorum_durable::counts_votes;
pub use status_truth::Shown;
pub use times::Times;
pub use world_log::WorldLog;

/// Something that happened in a run. `node` counts from 0; `life` counts the starts of its process.
#[derive(Debug)]
pub enum Fact<'a> {
    /// A process has started.
    Started {
        /// On which node.
        node: usize,
        /// Its number.
        life: u32,
    },
    /// A process has ended, or was ended.
    Ended {
        /// On which node.
        node: usize,
        /// Whether the machine's power went with it.
        power: bool,
    },
    /// A disk lost what was durable on it, by damage or replacement.
    DiskLost {
        /// Whose.
        node: usize,
    },
    /// Two machines have each other's disk from now on.
    DisksSwapped {
        /// One of them.
        one: usize,
        /// The other.
        other: usize,
    },
    /// A machine starts on a copy of another one's disk, which goes on.
    Copied {
        /// Whose disk.
        from: usize,
        /// Which machine.
        to: usize,
    },
    /// The copy on this machine is thrown away.
    CopyEnds {
        /// Which.
        node: usize,
        /// Its last word.
        status: Option<&'a Status>,
    },
    /// Recovery refused the disk of a node.
    Unrecoverable {
        /// Whose.
        node: usize,
        /// What it said.
        why: String,
    },
    /// A node handed records to its disk; they are not durable yet.
    Recorded {
        /// Which.
        node: usize,
        /// Whole records.
        records: &'a [Bytes],
    },
    /// A message left a node.
    Sent {
        /// From where.
        node: usize,
        /// In which of its lives.
        life: u32,
        /// What.
        message: &'a Message,
    },
    /// A message reached a node.
    Heard {
        /// Which.
        node: usize,
        /// On which of its links.
        link: LinkId,
        /// From whom, where that is known.
        from: Option<usize>,
        /// What.
        message: &'a Message,
    },
    /// A node ended a link in a turn: what else that turn was to take from it, it has not looked at.
    GaveUp {
        /// Which.
        node: usize,
        /// Which of its links.
        link: LinkId,
    },
    /// What a queue of a node keeps now, by the count of who runs it.
    Keeps {
        /// Which node.
        node: usize,
        /// Which queue.
        kept: Kept,
        /// How much is in it.
        bytes: u64,
    },
    /// A node's word about itself.
    Status {
        /// Which.
        node: usize,
        /// In which of its lives.
        life: u32,
        /// Its word.
        status: &'a Status,
        /// How it is.
        truth: &'a Truth,
    },
    /// How a node stands at this instant, all of it.
    Applied {
        /// Which.
        node: usize,
        /// What it would show to readers.
        view: &'a View,
        /// Its word about itself.
        status: &'a Status,
    },
    /// A node said what became of a write.
    Fate {
        /// Which.
        node: usize,
        /// Where the write stands that is meant.
        position: Position,
        /// What it said.
        fate: Fate,
    },
    /// A front answered a client.
    Fronted {
        /// Whose.
        node: usize,
        /// Which state it answered from, or where the write stands.
        at: Position,
        /// What it answered, and to what.
        answer: &'a Fronted,
        /// When it was asked.
        asked_at: u64,
        /// Whether everything was demanded that was answered before.
        linearizable: bool,
    },
    /// A node told what happened.
    Happened {
        /// Which.
        node: usize,
        /// What.
        event: &'a Event,
    },
    /// A client asks for a write.
    Asked {
        /// What.
        command: &'a Command,
    },
    /// A client's write was answered well.
    Written {
        /// Who answered.
        node: usize,
        /// In which of its lives.
        life: u32,
        /// What was asked.
        command: &'a Command,
        /// When it was asked, in microseconds of the run.
        asked_at: u64,
        /// The answer.
        written: &'a Written,
        /// Who votes, if this master committed it by a majority of them.
        voters: Option<Vec<NodeId>>,
    },
    /// A node's word about its mastership, whenever it may have changed.
    Leads {
        /// Which.
        node: usize,
        /// The epoch that it speaks in.
        epoch: Epoch,
        /// Until when it alone leads, in microseconds of the run; none if it does not, or needs no lease.
        until: Option<u64>,
    },
    /// A client was told that its write was not done and never will be.
    Refused {
        /// What was asked.
        command: &'a Command,
    },
    /// A client that wants to write is sent on.
    SentOn {
        /// By whom.
        node: usize,
        /// To whom.
        to: usize,
        /// Whether that one is opening the very mastership that the other follows, so that it serves nobody yet.
        opens: bool,
    },
    /// A front showed how its node stands.
    Shown {
        /// Whose.
        node: usize,
        /// What it showed.
        shown: Shown<'a>,
        /// What the node said of itself since it was asked; one of these was to be shown.
        said: &'a [Status],
    },
    /// A client's read was answered.
    Read {
        /// Who answered.
        node: usize,
        /// The key.
        key: &'a Bytes,
        /// Its value, and its version.
        value: Option<(Bytes, u64)>,
        /// How far the answering state had come.
        applied: Position,
        /// The position that it asked for at least.
        min: Option<Named>,
        /// The state was looked at between then and now.
        asked_at: u64,
        /// How old it is at most, as it was told.
        staleness: Option<Duration>,
        /// When it was asked, if it demanded everything that was answered before.
        linearizable_since: Option<u64>,
    },
    /// Whoever runs the machines has looked at them.
    Looked(Look<'a>),
    /// The run is over and the cluster has converged on this master.
    Converged {
        /// The master.
        node: usize,
        /// In which of its lives.
        life: u32,
        /// The epochs of its log.
        history: &'a History,
        /// Each node's last word, by node; none if it is given up.
        statuses: &'a [Option<Status>],
    },
}

/// A queue that nodes do not count themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// What waits to be sent on one link.
    Outgoing,
    /// What came in on one link and waits for the node.
    Incoming,
    /// What came in on one link of a message that is not whole yet (level B).
    Half,
    /// Chunks of a snapshot that were sent to one replica, which has not said to have stored them.
    Chunks,
    /// What one hand has been given to write.
    Unwritten,
}

/// What a node cannot know better than whoever runs its machine.
#[derive(Debug, Default)]
pub struct Truth {
    /// Whether its turn was over when it said so, and everything that had come in was taken.
    pub after_turn: bool,
    /// To whom it has connections that stand; none where that is not known.
    pub linked: Option<Vec<usize>>,
    /// What its wall clock shows; likewise.
    pub wall_ms: Option<u64>,
}

/// What an oracle may look at besides facts.
pub struct Ground<'a> {
    /// Microseconds since the run began.
    pub at: u64,
    /// What the run follows.
    pub plan: &'a Plan,
    /// Every entry that any node ever wrote.
    pub log: &'a WorldLog,
    /// What log time can be.
    pub times: &'a Times,
    platters: &'a Platters,
    looks: &'a Cell<u64>,
}

/// So many looks are taken before they become rarer; after twice as many every third fact is looked at, and so on.
const LOOKS_AT_ALL: u64 = 32;

/// A disk as it was read, with the version of the disk that it was read at.
type ReadAt = (u64, Arc<OnDisk>);

/// The disks, with what was last read from their disks.
#[derive(Debug)]
pub struct Platters {
    disks: Vec<Arc<Mutex<ModelDisk>>>,
    read: RefCell<Vec<Option<ReadAt>>>,
}

/// An oracle's verdict on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which oracle, by its invariant.
    pub oracle: &'static str,
    /// Microseconds since the run began.
    pub at: u64,
    /// One line of cause.
    pub cause: String,
}

/// One oracle.
pub trait Oracle: Send {
    /// Its invariant.
    fn name(&self) -> &'static str;

    /// Looks at a fact. The error is one line of cause.
    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String>;

    /// How much it has compared so far; a run in which an oracle that should have work compares nothing is vacuous.
    fn compared(&self) -> u64;
}

/// All oracles.
pub struct Oracles {
    oracles: Vec<Box<dyn Oracle>>,
    log: WorldLog,
    times: Times,
    platters: Platters,
    violation: Option<Violation>,
    looks: Cell<u64>,
}

impl Ground<'_> {
    /// What the disk of `node` holds at this instant.
    pub fn on_disk(&self, node: usize) -> Arc<OnDisk> {
        self.platters.read(node)
    }

    /// Whether something of the log stands on the disk of `node` and does not end.
    pub fn disk_is_stuck(&self, node: usize) -> bool {
        let disk = &self.platters.disks[node];
        disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_stuck()
    }

    /// Whether a fact like this is to be looked at closely: reading a disk costs. Each of the first, then fewer and
    /// fewer, so that a long run looks about as often as a short one.
    pub fn sampled(&self, salt: u64) -> bool {
        let every = 1 + self.looks.get() / LOOKS_AT_ALL;
        let looks = crate::dice::mix(&[self.plan.seed, self.at, salt]).is_multiple_of(every);
        self.looks.set(self.looks.get() + u64::from(looks));
        looks
    }
}

impl Platters {
    fn read(&self, node: usize) -> Arc<OnDisk> {
        let disk = self.disks[node].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut read = self.read.borrow_mut();
        match &read[node] {
            Some((version, on_disk)) if *version == disk.on_disk_version() => on_disk.clone(),
            Some(_) | None => {
                let on_disk = Arc::new(OnDisk::read(&disk.on_disk()));
                read[node] = Some((disk.on_disk_version(), on_disk.clone()));
                on_disk
            }
        }
    }
}

impl Oracles {
    /// All of them, over these disks.
    pub fn new(disks: Vec<Arc<Mutex<ModelDisk>>>) -> Self {
        let nodes = disks.len();
        let read = RefCell::new(vec![None; nodes]);
        let oracles: Vec<Box<dyn Oracle>> = vec![
            Box::new(durable_ack::DurableAck::default()),
            Box::new(quorum_durable::QuorumDurable::default()),
            Box::new(positions::Positions::new(nodes)),
            Box::new(committed_never_changes::CommittedNeverChanges::new(nodes)),
            Box::new(commits::Commits::default()),
            Box::new(epochs::Epochs::new(nodes)),
            Box::new(promised::Promised::new(nodes)),
            Box::new(votes::Votes::default()),
            Box::new(history::ClientHistory::new(nodes)),
            Box::new(status_truth::StatusTruth::default()),
            Box::new(fates::Fates::default()),
            Box::new(refused_is_not_done::RefusedIsNotDone::default()),
            Box::new(same_state::SameState::default()),
            Box::new(by_the_model::ByTheModel::default()),
            Box::new(rollback_reported::RollbackReported::new(nodes)),
            Box::new(lag_tells::LagTells::new(nodes)),
            Box::new(disk_tells::DiskTells::new(nodes)),
            Box::new(status_tells::StatusTells::new(nodes)),
            Box::new(members_tell::MembersTell::new(nodes)),
            Box::new(leases::Leases::default()),
            Box::new(lease_rests::LeaseRests::new(nodes)),
            Box::new(words::Words::new(nodes)),
            Box::new(linearizable::Linearizable::default()),
            Box::new(one_order::OneOrder::default()),
            Box::new(one_name::OneName::default()),
            Box::new(one_value::OneValue::default()),
            Box::new(applied_once::AppliedOnce::default()),
            Box::new(pauses::Pauses::new(nodes)),
            Box::new(sent_on::SentOn::default()),
            Box::new(bounds::Bounds),
            Box::new(available::Available::new(nodes)),
            Box::new(deposed::Deposed::default()),
            Box::new(identity::Identity::default()),
            Box::new(log_time::LogTime::new(nodes)),
            Box::new(healed_first::HealedFirst::new(nodes)),
        ];
        Self {
            oracles,
            log: WorldLog::default(),
            times: Times::new(nodes),
            platters: Platters { disks, read },
            violation: None,
            looks: Cell::new(0),
        }
    }

    /// Shows a fact to all of them. After the first violation they rest.
    pub fn see(&mut self, plan: &Plan, at: u64, fact: &Fact<'_>) {
        if self.violation.is_some() {
            return;
        }
        if let Err(cause) = self.log.see(at, fact) {
            self.violation = Some(Violation { oracle: WorldLog::NAME, at, cause });
            return;
        }
        self.times.see(plan, at, fact);
        let (log, times, platters, looks) = (&self.log, &self.times, &self.platters, &self.looks);
        let ground = Ground { at, plan, log, times, platters, looks };
        for oracle in &mut self.oracles {
            if let Err(cause) = oracle.see(&ground, fact) {
                self.violation = Some(Violation { oracle: oracle.name(), at, cause });
                return;
            }
        }
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What the disk of `node` holds at this instant.
    pub fn on_disk(&self, node: usize) -> Arc<OnDisk> {
        self.platters.read(node)
    }

    /// How much each has compared.
    pub fn compared(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.oracles.iter().map(|oracle| (oracle.name(), oracle.compared()))
    }

    /// Every entry that was written anywhere.
    pub fn log(&self) -> &WorldLog {
        &self.log
    }
}

impl fmt::Debug for Oracles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oracles").field("violation", &self.violation).finish_non_exhaustive()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:06}s: {}", self.oracle, self.at / 1_000_000, self.at % 1_000_000, self.cause)
    }
}

/// Whether an answer of this concern says that the master's disk holds the write.
pub(crate) fn says_durable(concern: Concern) -> bool {
    match concern {
        Concern::Async => false,
        Concern::Local | Concern::Quorum | Concern::Replicas(_) => true,
    }
}

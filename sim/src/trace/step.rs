//! What can happen in a run, as data. Owns how a step reads on a terminal: who, what, and the rest, in columns.

use std::fmt;

use serde::Serialize;
use synap_core::status::{State, Status};

/// What happened. Nodes and clients count from 0; operations and messages count over the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A process started.
    Started {
        /// On which node.
        node: usize,
        /// Which of its lives.
        life: u32,
        /// What recovery found.
        text: String,
    },
    /// A process ended.
    Ended {
        /// On which node.
        node: usize,
        /// Whether the machine's power went with it.
        power: bool,
        /// Why.
        text: String,
    },
    /// A node told what happened to it.
    Told {
        /// Which.
        node: usize,
        /// Whether somebody should look.
        loud: bool,
        /// What.
        text: String,
    },
    /// How a node stands.
    Stands {
        /// Which.
        node: usize,
        /// How.
        standing: PeerState,
    },
    /// A node handed a batch to its disk; nothing of it is durable yet.
    Batch {
        /// Which.
        node: usize,
        /// The queue of its disk.
        lane: &'static str,
        /// The batch's number within the queue.
        batch: u64,
        /// What is in it.
        text: String,
    },
    /// An operation of a disk ended.
    Disk {
        /// Whose.
        node: usize,
        /// The queue of its disk.
        lane: &'static str,
        /// How long it took, in microseconds.
        us: u64,
        /// Whether it makes durable what was written before.
        sync: bool,
        /// Whether it succeeded.
        good: bool,
        /// What it was, and what failed.
        text: String,
    },
    /// A message left.
    Sent {
        /// Its number.
        message: u64,
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
        /// The kind of message.
        kind: &'static str,
        /// What it says.
        text: String,
    },
    /// A message arrived. One that was sent and never arrives was lost.
    Heard {
        /// Its number.
        message: u64,
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
        /// The kind of message.
        kind: &'static str,
    },
    /// A link of a node changed.
    Link {
        /// Which node.
        node: usize,
        /// Which of its links, and how.
        text: String,
    },
    /// A client or the operator asked.
    Asked {
        /// The operation's number.
        op: usize,
        /// Which client; none: the operator.
        client: Option<usize>,
        /// Which node was asked.
        node: usize,
        /// For what.
        text: String,
    },
    /// An operation is over for who asked.
    Answered {
        /// Its number.
        op: usize,
        /// Which client; none: the operator.
        client: Option<usize>,
        /// Which node was asked.
        node: usize,
        /// What it means.
        answer: Answer,
        /// What was said.
        text: String,
    },
    /// A fault began.
    FaultBegan {
        /// Its number in the plan.
        fault: usize,
        /// The nodes that it hits.
        nodes: Vec<usize>,
        /// What it is.
        text: String,
    },
    /// A fault ended.
    FaultEnded {
        /// Its number in the plan.
        fault: usize,
    },
}

/// What an answer means for who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Done,
    /// Not done, and never will be.
    Refused,
    /// Done or not: nobody knows yet.
    Unknown,
}

/// How a node stands, as far as a viewer shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerState {
    /// Master, replica or standalone.
    pub role: String,
    /// What it is doing.
    pub state: String,
    /// Whether it takes writes.
    pub serves: bool,
    /// The highest epoch that it has promised.
    pub epoch: u64,
    /// Who opened that epoch, in a few characters: by force, two nodes can mint the same number.
    pub opened_by: String,
    /// Whether replicas elect.
    pub armed: bool,
    /// Where clients of the master that it knows are sent.
    pub leader: Option<String>,
    /// Its last entry, `EPOCH:INDEX`.
    pub last: String,
    /// The last index on its disk.
    pub durable: u64,
    /// The last index that it knows to be committed.
    pub committed: u64,
    /// The last index in its store.
    pub applied: u64,
    /// Entries that it lags behind.
    pub lag: u64,
    /// Keys in its store.
    pub keys: u64,
    /// The state hash at `applied`.
    pub hash: String,
}

impl PeerState {
    /// What of a status is shown.
    pub fn of(status: &Status) -> Self {
        let positions = &status.positions;
        Self {
            role: status.role.to_string(),
            state: status.state.to_string(),
            serves: status.state == State::Serving,
            epoch: status.epoch.number,
            opened_by: format!("{:04x}", status.epoch.leader.0 & 0xffff),
            armed: status.failover.armed,
            leader: status.leader.as_ref().map(|leader| leader.http.clone()),
            last: positions.last.to_string(),
            durable: positions.durable.0,
            committed: positions.committed.0,
            applied: positions.applied.index.0,
            lag: status.lag_operations,
            keys: status.keys,
            hash: format!("{:016x}", status.hash.0),
        }
    }
}

impl Step {
    /// Who, in a few characters: a node, a way between two, a client, a fault.
    fn who(&self) -> String {
        let client = |client: &Option<usize>| client.map_or("oper".to_owned(), |client| format!("c{client}"));
        match self {
            Self::Started { node, .. }
            | Self::Ended { node, .. }
            | Self::Told { node, .. }
            | Self::Stands { node, .. }
            | Self::Batch { node, .. }
            | Self::Disk { node, .. }
            | Self::Link { node, .. } => format!("n{node}"),
            Self::Sent { from, to, .. } => format!("n{from} > n{to}"),
            Self::Heard { from, to, .. } => format!("n{to} < n{from}"),
            Self::Asked { client: who, node, .. } => format!("{} > n{node}", client(who)),
            Self::Answered { client: who, node, .. } => format!("{} < n{node}", client(who)),
            Self::FaultBegan { fault, .. } | Self::FaultEnded { fault } => format!("fault {fault}"),
        }
    }

    /// What, in one word.
    fn what(&self) -> &'static str {
        match self {
            Self::Started { .. } => "starts",
            Self::Ended { .. } => "ends",
            Self::Told { loud: false, .. } => "tells",
            Self::Told { loud: true, .. } => "warns",
            Self::Stands { .. } => "stands",
            Self::Batch { .. } => "batch",
            Self::Disk { good: true, .. } => "disk",
            Self::Disk { good: false, .. } => "disk!",
            Self::Sent { kind, .. } | Self::Heard { kind, .. } => kind,
            Self::Link { .. } => "link",
            Self::Asked { .. } => "asks",
            Self::Answered { answer: Answer::Done, .. } => "done",
            Self::Answered { answer: Answer::Refused, .. } => "refused",
            Self::Answered { answer: Answer::Unknown, .. } => "unknown",
            Self::FaultBegan { .. } => "begins",
            Self::FaultEnded { .. } => "ends",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<8}", self.who(), self.what())?;
        match self {
            Self::Started { life, text, .. } => write!(f, " life {life}; {text}"),
            Self::Stands { standing, .. } => write!(f, " {standing}"),
            Self::Batch { lane, batch, text, .. } => write!(f, " {lane} #{batch} {text}"),
            Self::Disk { lane, us, text, .. } => write!(f, " {lane}: {text} ({us} us)"),
            Self::Sent { message, text, .. } => write!(f, " m{message} {text}"),
            Self::Heard { message, .. } => write!(f, " m{message}"),
            Self::Asked { op, text, .. } | Self::Answered { op, text, .. } => write!(f, " o{op} {text}"),
            Self::Ended { text, .. }
            | Self::Told { text, .. }
            | Self::Link { text, .. }
            | Self::FaultBegan { text, .. } => write!(f, " {text}"),
            Self::FaultEnded { .. } => Ok(()),
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, state, epoch, opened_by, last, durable, committed, applied, lag, .. } = self;
        let armed = if self.armed { " armed" } else { "" };
        write!(f, "{role} {state} epoch={epoch}/{opened_by}{armed} last={last} durable={durable} ")?;
        write!(f, "committed={committed} applied={applied} lag={lag}")
    }
}

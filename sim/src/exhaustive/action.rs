//! The steps of level C, as they stand in a script: one line each.

use std::fmt;
use std::str::FromStr;

use synap_core::config::Concern;

use crate::plan::concern_of;

/// One step. Nodes and connections count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client's next write reaches a node.
    Write {
        /// Which.
        node: usize,
        /// What its answer shall mean.
        concern: Concern,
    },
    /// The oldest message of a connection's direction arrives.
    Deliver {
        /// Which connection.
        conn: u32,
        /// The side that it goes to: 0 dialled, 1 was dialled.
        side: usize,
    },
    /// The oldest dial of a node reaches its end.
    Connect {
        /// Whose.
        node: usize,
    },
    /// The oldest batch of a node's log is durable, and its receipt is back.
    Sync {
        /// Whose.
        node: usize,
    },
    /// The oldest batch of a node's snapshots is durable, and its receipt is back.
    SyncSnapshot {
        /// Whose.
        node: usize,
    },
    /// A machine loses its power. So many batches without a receipt are found on its disk all the same.
    Crash {
        /// Which.
        node: usize,
        /// How many, the oldest first.
        kept: usize,
    },
    /// It comes back.
    Start {
        /// Which.
        node: usize,
    },
    /// A connection breaks, with all that is on its way.
    Break {
        /// Which.
        conn: u32,
    },
    /// The operator promotes a node.
    Promote {
        /// Which.
        node: usize,
        /// Whether by force, accepting loss.
        force: bool,
    },
    /// The operator asks for a snapshot.
    Snapshot {
        /// Where.
        node: usize,
    },
    /// Time goes on to the next deadline of any node.
    Tick,
}

/// Why a line is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no step: write N CONCERN, deliver C SIDE, connect N, sync N, sync_snapshot N, crash N KEPT, start N, break C, promote N, force N, snapshot N, tick"
)]
pub struct ActionError(String);

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(line: &str) -> Result<Self, ActionError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        parse(&words).ok_or_else(|| ActionError(line.to_owned()))
    }
}

fn parse(words: &[&str]) -> Option<Action> {
    let node = || words.get(1)?.parse().ok();
    let third = || words.get(2).copied();
    let (action, length) = match *words.first()? {
        "write" => (Action::Write { node: node()?, concern: concern_of(third()?)? }, 3),
        "deliver" => {
            let side = third()?.parse().ok().filter(|side| *side < 2)?;
            (Action::Deliver { conn: words.get(1)?.parse().ok()?, side }, 3)
        }
        "connect" => (Action::Connect { node: node()? }, 2),
        "sync" => (Action::Sync { node: node()? }, 2),
        "sync_snapshot" => (Action::SyncSnapshot { node: node()? }, 2),
        "crash" => (Action::Crash { node: node()?, kept: third()?.parse().ok()? }, 3),
        "start" => (Action::Start { node: node()? }, 2),
        "break" => (Action::Break { conn: words.get(1)?.parse().ok()? }, 2),
        "promote" => (Action::Promote { node: node()?, force: false }, 2),
        "force" => (Action::Promote { node: node()?, force: true }, 2),
        "snapshot" => (Action::Snapshot { node: node()? }, 2),
        "tick" => (Action::Tick, 1),
        _ => return None,
    };
    (words.len() == length).then_some(action)
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { node, concern } => match concern {
                Concern::Async => write!(f, "write {node} async"),
                Concern::Local => write!(f, "write {node} local"),
                Concern::Quorum => write!(f, "write {node} quorum"),
                Concern::Replicas(count) => write!(f, "write {node} {count}"),
            },
            Self::Deliver { conn, side } => write!(f, "deliver {conn} {side}"),
            Self::Connect { node } => write!(f, "connect {node}"),
            Self::Sync { node } => write!(f, "sync {node}"),
            Self::SyncSnapshot { node } => write!(f, "sync_snapshot {node}"),
            Self::Crash { node, kept } => write!(f, "crash {node} {kept}"),
            Self::Start { node } => write!(f, "start {node}"),
            Self::Break { conn } => write!(f, "break {conn}"),
            Self::Promote { node, force: false } => write!(f, "promote {node}"),
            Self::Promote { node, force: true } => write!(f, "force {node}"),
            Self::Snapshot { node } => write!(f, "snapshot {node}"),
            Self::Tick => f.write_str("tick"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_comes_back_as_it_was_written() {
        for line in [
            "write 0 quorum",
            "write 1 2",
            "deliver 3 1",
            "connect 2",
            "sync 0",
            "sync_snapshot 1",
            "crash 0 2",
            "start 0",
            "break 4",
            "promote 1",
            "force 2",
            "snapshot 0",
            "tick",
        ] {
            assert_eq!(line.parse::<Action>().map(|action| action.to_string()), Ok(line.to_owned()));
        }
    }

    #[test]
    fn a_bad_line_is_refused() {
        for line in ["", "jump 1", "sync", "sync x", "tick 3", "deliver 1 2", "write 0 most", "crash 0"] {
            assert!(line.parse::<Action>().is_err(), "{line}");
        }
    }
}

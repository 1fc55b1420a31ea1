//! What the world tells the core.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::Command;
use crate::config::Concern;
use crate::ids::{LinkId, RequestId};
use crate::message::Message;
use crate::position::Named;
use crate::wal::{Durable, GivenUp};

/// One thing that happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// The deadline has come. Every turn looks at the clock, so this is merely a turn with nothing else.
    Alarm,
    /// A client or operator asks.
    Request {
        /// The reply will name it.
        id: RequestId,
        /// What it asks.
        request: Request,
    },
    /// Who asked has gone: no reply is wanted. What is in the log stays there.
    Cancel(RequestId),
    /// A message arrived.
    Message {
        /// On which link.
        link: LinkId,
        /// What it says.
        message: Message,
    },
    /// A batch is on disk.
    Durable(Durable),
    /// A link's state changed.
    Link {
        /// Which.
        link: LinkId,
        /// How.
        change: LinkChange,
    },
    /// Whether the disk has room for another log segment.
    DiskRoom(bool),
    /// So many bytes are free on the disk. Told about once a second, and whenever something large was written.
    DiskFree(u64),
    /// A batch of the snapshot lane was given up: there is no room for it.
    GivenUp(GivenUp),
    /// Hosts that stand for no address on this machine, of those at which this node and the members of its cluster are said to be.
    Unresolved(Vec<String>),
    /// The process is asked to end: refuse new work, answer what is in flight.
    Shutdown,
}

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// It stands.
    Up {
        /// A name or an address, without port: the host dialled, or the one of several behind that name that was reached;
        /// of a link that was accepted, the address that the peer is seen at.
        peer_host: String,
        /// The exact address that was reached, as this machine names it: dialled again, it leads to the same place and to
        /// no other. Of a link that was accepted: the address here at which it came in.
        reached: String,
    },
    /// Bytes of a message came in that is not whole yet: a sign of life of the link, and of nothing else. Told now and then.
    Progress,
    /// It is gone, or a dial failed.
    Down(LinkLoss),
}

/// Why a link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkLoss {
    /// The peer's port refused the connection: no process listens there.
    ConnectRefused,
    /// No connection within its deadline.
    ConnectFailed,
    /// The name cannot be resolved.
    Unresolved,
    /// The peer closed it, or it broke.
    Closed,
    /// The peer sent something that is no message.
    Garbage,
    /// Its first word was an answer of an HTTP server.
    Http,
    /// The peer did not take what was sent within its deadline.
    Stalled,
}

/// What a client or operator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A write.
    Write {
        /// What to do; a client's command.
        command: Command,
        /// What the answer shall mean; the configured default if none.
        concern: Option<Concern>,
        /// How long to wait for that.
        timeout: Duration,
    },
    /// A read that [`crate::view::Outline::admits`] put off: wait until it is admitted.
    Read {
        /// What it demands of the state.
        demand: ReadDemand,
        /// How long to wait for that.
        timeout: Duration,
    },
    /// Make this replica the master.
    Promote(Promotion),
    /// Hand this mastership over.
    Switchover {
        /// To whom, by node id or name; none: to whoever holds most.
        to: Option<String>,
        /// How long writes may be held before it is given up.
        timeout: Duration,
    },
    /// Change who belongs to the cluster.
    Members(MemberChange),
    /// No replica campaigns by itself for so long; zero ends that.
    Pause(Duration),
    /// Take a snapshot now.
    Snapshot,
    /// [`crate::status::Status`].
    Status,
    /// What became of the write at this position.
    Outcome(Named),
}

/// What a read demands of the state that it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadDemand {
    /// Proof of holding everything, no older than this.
    pub max_staleness: Option<Duration>,
    /// At least this far applied, as replies tell positions.
    pub min_position: Option<Named>,
    /// Everything that was answered before the read began.
    pub linearizable: bool,
}

/// A change of who belongs to the cluster. Nodes are named by id or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MemberChange {
    /// A member that replicates becomes a voter.
    Add {
        /// Which.
        node: String,
    },
    /// A member that is gone belongs to the cluster no longer; its disk no longer counts.
    Remove {
        /// Which.
        node: String,
    },
    /// A voter that is gone leaves the cluster, and a member that replicates votes in its place.
    Replace {
        /// Which goes.
        node: String,
        /// Which takes its place.
        by: String,
    },
    /// How much a member is wanted as master, whatever its configuration says.
    Priority {
        /// Which.
        node: String,
        /// 0 = never master; none: as its configuration says.
        priority: Option<u32>,
    },
}

/// How a promotion is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promotion {
    /// Even if a better candidate is known or a master is in sight. Needs `accept_data_loss`.
    pub force: bool,
    /// The operator knows that writes may be lost.
    pub accept_data_loss: bool,
    /// Only if this is the last position.
    pub expect_last: Option<Named>,
}

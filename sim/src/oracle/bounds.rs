//! INV-12: what a node keeps has the bound that it states.

use synap_core::status::State;

use crate::oracle::{Fact, Ground, Kept, Oracle};
use crate::plan::{Plan, What};

/// Requests that may wait in one node. Clients of a simulation are few: more waiters than this are forgotten ones.
const WAITING_MAX: u64 = 64;

/// What a master writes of its own while it serves: where its epoch starts, memberships, a sweep.
const OWN_BYTES_MAX: u64 = 16 << 10;

/// Entries on their way to one replica that it has not said to hold; one record that is longer goes alone.
const WINDOW_BYTES_MAX: u64 = 4 << 20;

/// Chunks of a snapshot on their way to one replica, and how long one is about; one item that is longer is a chunk.
const CHUNKS_MAX: u64 = 4;
const CHUNK_BYTES: u64 = 256 << 10;

/// What stands around the data of a message, and messages that carry none, of one link.
const AROUND_BYTES_MAX: u64 = 256 << 10;

/// Writes that wait for room, or for the end of a switchover.
const HELD_BYTES_MAX: u64 = 64 << 20;

/// Writes of floods, which wait for nobody's answer: one each millisecond.
fn rushing(plan: &Plan) -> u64 {
    let floods = plan.faults.iter().filter(|fault| matches!(fault.what, What::Flood(_)));
    floods.map(|fault| fault.for_ms).sum()
}

/// What clients send to a process that stands still: each gives up in time and asks again, and all is there when it goes on.
fn piled_up(plan: &Plan) -> u64 {
    let stands = plan.faults.iter().filter(|fault| matches!(fault.what, What::Pause(_)));
    let longest_ms = stands.map(|fault| fault.for_ms).max().unwrap_or(0);
    u64::from(plan.workload.clients) * longest_ms.div_ceil(plan.workload.timeout_ms.max(1))
}

/// Looks at what a node says that it keeps.
#[derive(Debug)]
pub(super) struct Bounds;

impl Oracle for Bounds {
    fn name(&self) -> &'static str {
        "INV-12 every queue keeps its bound"
    }

    fn see(&mut self, ground: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let (node, status) = match fact {
            Fact::Status { node, status, .. } => (node, status),
            Fact::Keeps { node, kept, bytes } => return keeps(ground, *node, *kept, *bytes),
            _ => return Ok(()),
        };
        // What is not applied and durable stays, whatever the bound says; a word in the middle of a turn may come before the
        // rest has gone.
        let positions = &status.positions;
        let unsettled = positions.last.index.ahead_of(positions.applied.index.min(positions.durable));
        let tail_bytes_max =
            ground.plan.knobs_of(*node).tail_bytes_max + unsettled * ground.log.record_bytes_max();
        // What goes into a rollback file stays until it is in it. Meanwhile nothing is added.
        if status.tail_bytes > tail_bytes_max && status.state != State::RollingBack {
            return Err(format!("n{node} keeps {} bytes of log in memory", status.tail_bytes));
        }
        // A single write that is longer goes alone; what a mastership writes of its own is short, and asks nobody.
        // What it took over from the one before is there already, and the one before may have let more in.
        let own = ground.log.begins(positions.last).is_none_or(|begins| begins <= positions.applied.index.next());
        if status.state == State::Serving && own && status.uncommitted_bytes > uncommitted_bytes_max(ground) {
            return Err(format!("n{node} has {} bytes of log that are not settled", status.uncommitted_bytes));
        }
        if status.held_bytes > HELD_BYTES_MAX.max(ground.log.record_bytes_max()) {
            return Err(format!("writes of {} bytes wait on n{node}", status.held_bytes));
        }
        if status.waiting > WAITING_MAX + rushing(ground.plan) + piled_up(ground.plan) {
            return Err(format!("{} requests wait on n{node}", status.waiting));
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        1
    }
}

/// A single record that is longer goes alone.
fn uncommitted_bytes_max(ground: &Ground<'_>) -> u64 {
    ground.plan.knobs.uncommitted_bytes_max.max(ground.log.record_bytes_max()) + OWN_BYTES_MAX
}

/// What is on its way to a replica bounds what waits at both ends: entries, and chunks from before or after them.
fn keeps(ground: &Ground<'_>, node: usize, kept: Kept, bytes: u64) -> Result<(), String> {
    let record_bytes_max = ground.log.record_bytes_max();
    let chunks = CHUNKS_MAX * (CHUNK_BYTES + record_bytes_max) + AROUND_BYTES_MAX;
    let window = WINDOW_BYTES_MAX + record_bytes_max;
    let (bytes_max, what) = match kept {
        Kept::Chunks => (chunks, "chunks on their way to one replica"),
        Kept::Outgoing => (window + chunks, "a queue of messages for one peer"),
        // A message is at most one record or one chunk, or appends that go together; the next has begun to come, perhaps.
        Kept::Half => (CHUNK_BYTES + 2 * record_bytes_max + AROUND_BYTES_MAX, "a message that is not whole"),
        Kept::Incoming => (window + chunks, "messages of one peer that wait"),
        // As much as a master lets wait for a commit, or as two of them send to a replica one after the other; and a piece of a file.
        Kept::Unwritten => (uncommitted_bytes_max(ground) + 2 * window + chunks, "batches of one hand"),
    };
    if bytes > bytes_max {
        return Err(format!("n{node} has {what} of {bytes} bytes, {bytes_max} are the bound"));
    }
    Ok(())
}

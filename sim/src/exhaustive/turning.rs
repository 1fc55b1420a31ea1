//! How a node takes its turn within a step, and where what it wants goes: batches, messages, dials and answers.

use synap_core::event::Level;
use synap_core::ids::{LinkId, RequestId};
use synap_core::input::Input;
use synap_core::message::Message;
use synap_core::output::{LinkAction, Output, Refusal, Reply};
use synap_core::time::{Now, Time, WallMs};
use synap_core::wal::Lane;

use super::disk::Holds;
use super::promises::{self, Broken};
use super::wire::Item;
use crate::trace::{Answer, PeerState, Step, Trace, kind_of, line_of};

use super::state::State;

/// Turns that one step may take.
const TURNS_PER_STEP_MAX: u32 = 100;

impl State {
    pub(super) fn clock(&self) -> Now {
        Now { mono: Time(self.now), wall: WallMs(1_700_000_000_000 + self.now / 1000) }
    }

    /// The node's turn, and those that it asks for at once.
    pub(super) fn turn(&mut self, node: usize, inputs: Vec<Input>, trace: &mut Trace) -> Result<(), Broken> {
        let now = self.clock();
        let mut inputs = inputs;
        for _ in 0..TURNS_PER_STEP_MAX {
            let host = self.host(node);
            let Some(core) = &mut host.node else { return Ok(()) };
            let mut out = Output::default();
            let deadline = core.turn(now, std::mem::take(&mut inputs), &mut out);
            core.check();
            host.deadline = deadline;
            self.route(node, out, trace)?;
            if deadline.is_none_or(|deadline| deadline > now.mono) {
                return self.stands(node, trace);
            }
        }
        panic!("n{node} asks for turn after turn without end")
    }

    pub(super) fn stands(&mut self, node: usize, trace: &mut Trace) -> Result<(), Broken> {
        let now = Time(self.now);
        let at = self.at();
        let host = self.host(node);
        host.digest = host.told();
        let Some(core) = &host.node else { return Ok(()) };
        let status = core.status(now);
        let observations = &mut self.observations;
        if let Some(core) = &self.hosts[node].node {
            observations.stands(node, core, &status)?;
        }
        trace.show(at, || Step::Stands { node, standing: PeerState::of(&status) });
        Ok(())
    }

    pub(super) fn route(&mut self, node: usize, out: Output, trace: &mut Trace) -> Result<(), Broken> {
        let at = self.at();
        for event in &out.events {
            let loud = event.level() != Level::Info;
            trace.show(at, || Step::Told { node, loud, text: event.to_string() });
        }
        let host = self.host(node);
        for batch in out.write.into_iter().chain(out.snapshot) {
            let (queue, lane) = match batch.lane() {
                Lane::Log => (&mut host.log, "log"),
                Lane::Snapshot => (&mut host.snapshots, "snapshot"),
            };
            let text = format!("{} records up to {}", batch.records.len(), batch.last);
            trace.show(at, || Step::Batch { node, lane, batch: batch.id(), text });
            queue.push_back(batch);
        }
        // What is sent on a link that ends goes out before its end.
        for (link, message) in out.sends {
            self.send(node, link, message, trace)?;
        }
        for action in out.links {
            self.link(node, action);
        }
        for (id, reply) in out.replies {
            self.reply(node, id, &reply, trace)?;
        }
        Ok(())
    }

    pub(super) fn link(&mut self, node: usize, action: LinkAction) {
        let host = self.host(node);
        match action {
            LinkAction::Dial { link, address } => {
                let to = address.strip_prefix('n').and_then(|rest| rest.split(':').next()?.parse().ok());
                host.dials.push_back((link, to));
            }
            LinkAction::Close { link } => {
                host.dials.retain(|(dialled, _)| *dialled != link);
                if let Some((conn, side)) = host.links.remove(&link) {
                    self.let_go(conn, side);
                }
            }
        }
    }

    pub(super) fn send(
        &mut self,
        from: usize,
        link: LinkId,
        message: Message,
        trace: &mut Trace,
    ) -> Result<(), Broken> {
        let Some((conn, side)) = self.hosts[from].links.get(&link).copied() else { return Ok(()) };
        self.sent += 1;
        let (number, at) = (self.sent, self.at());
        let Some(connection) = self.conns.get_mut(&conn) else { return Ok(()) };
        let to = connection.ends[1 - side].host;
        let (kind, text) = (kind_of(&message), || line_of(&message));
        trace.show(at, || Step::Sent { message: number, from, to, kind, text: text() });
        let may = promises::may_say(from, &message, &self.hosts[from].disk.holds);
        if connection.ends[1 - side].open {
            connection.to[1 - side].push_back(Item::message(number, message));
        }
        may
    }

    pub(super) fn reply(
        &mut self,
        node: usize,
        id: RequestId,
        reply: &Result<Reply, Refusal>,
        trace: &mut Trace,
    ) -> Result<(), Broken> {
        let client = id.0.is_multiple_of(2).then_some(0);
        trace.show(self.at(), || {
            let (answer, text) = match reply {
                Ok(Reply::Written(written)) => {
                    (Answer::Done, format!("{} on {} disks", written.position, written.durable_on))
                }
                Ok(reply) => (Answer::Done, format!("{reply:?}")),
                Err(refusal @ (Refusal::Pending { .. } | Refusal::Undecided { .. })) => {
                    (Answer::Unknown, refusal.to_string())
                }
                Err(refusal) => (Answer::Refused, refusal.to_string()),
            };
            Step::Answered { op: id.0 as usize, client, node, answer, text }
        });
        let Ok(Reply::Written(written)) = reply else { return Ok(()) };
        let armed = self.hosts[node].node.as_ref().is_some_and(|core| core.status(Time(self.now)).failover.armed);
        let disks: Vec<&Holds> = self.hosts.iter().map(|host| &host.disk.holds).collect();
        self.observations.answered(node, written, armed, &disks)
    }
}

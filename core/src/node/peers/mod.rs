//! The table of links: which connections there are, when each was last heard, and which have been silent for too
//! long. Owns no meaning of a link; that is the role's.

pub(in crate::node) mod dials;
pub(in crate::node) mod hello;
pub(in crate::node) mod identity;
pub(in crate::node) mod own_address;
pub(in crate::node) mod refusals;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::event::Event;
use crate::ids::{LinkId, NodeId};
use crate::input::LinkLoss;
use crate::message::{Message, Reason};
use crate::node::peers::hello::join;
use crate::node::peers::own_address::is_dialable;
use crate::node::{Node, Role};
use crate::output::{LinkAction, Output};
use crate::time::Time;

/// Most links at once, those that are being dialled included (INV-12).
pub(in crate::node) const LINKS_MAX: usize = 256;

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Link {
    /// Where the peer is seen; none while it is being dialled.
    pub(in crate::node) peer_host: Option<String>,
    /// Where this node dialled the peer; none if the peer dialled.
    pub(in crate::node) dialled: Option<String>,
    /// The exact address of the end that was dialled, as this machine names it; none while it is being dialled.
    pub(in crate::node) reached: Option<String>,
    /// Who the peer has said to be.
    peer: Option<NodeId>,
    /// Silence after which it is dead, where the handshake has agreed on one.
    silence_max: Option<Duration>,
    /// When it was dialled or accepted, or last heard.
    pub(in crate::node) heard: Time,
}

impl Link {
    fn dead_at(&self, timeout: Duration) -> Time {
        self.heard + self.silence_max.unwrap_or(timeout)
    }
}

/// All connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Links {
    links: BTreeMap<LinkId, Link>,
    dialled: u64,
}

impl Links {
    /// Notes that something valid came in; false if the link is gone already.
    pub(in crate::node) fn heard(&mut self, link: LinkId, now: Time) -> bool {
        self.links.get_mut(&link).map(|known| known.heard = now).is_some()
    }

    /// The host at which the peer is seen.
    pub(in crate::node) fn peer_host(&self, link: LinkId) -> Option<&str> {
        self.links.get(&link)?.peer_host.as_deref()
    }

    /// What this node dialled, as it was configured or told.
    pub(in crate::node) fn asked_for(&self, link: LinkId) -> Option<String> {
        self.links.get(&link)?.dialled.clone()
    }

    /// The same of the link that has reached this address.
    pub(in crate::node) fn asked_at(&self, address: &str) -> Option<String> {
        let link = self.links.keys().find(|link| self.dialled(**link).as_deref() == Some(address))?;
        self.asked_for(*link)
    }

    /// Where this node dialled the peer: its address as this node knows it. Where a name stands for several nodes, the
    /// one that was reached.
    pub(in crate::node) fn dialled(&self, link: LinkId) -> Option<String> {
        let Link { peer_host, dialled, .. } = self.links.get(&link)?;
        let (_, port) = dialled.as_ref()?.rsplit_once(':')?;
        peer_host.as_deref().map(|host| join(host, port))
    }

    /// The master at the other end sends heartbeats this often; three of them without a word end the link.
    pub(in crate::node) fn agree(&mut self, link: LinkId, heartbeat: Duration) {
        if let Some(known) = self.links.get_mut(&link) {
            known.silence_max = Some(heartbeat * 3);
        }
    }

    /// The peer of a link has said who it is.
    pub(in crate::node) fn identify(&mut self, link: LinkId, peer: NodeId) {
        if let Some(known) = self.links.get_mut(&link) {
            known.peer = Some(peer);
        }
    }

    /// Links that stand to nodes that have said who they are.
    pub(in crate::node) fn peers(&self) -> Vec<(LinkId, NodeId)> {
        self.links.iter().filter_map(|(link, known)| Some((*link, known.peer?))).collect()
    }

    /// The exact address of the end that was dialled.
    pub(in crate::node) fn reached(&self, link: LinkId) -> Option<&str> {
        self.links.get(&link)?.reached.as_deref()
    }

    pub(in crate::node) fn is_up(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(in crate::node) fn all(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// When the first link will have been silent for too long.
    pub(in crate::node) fn deadline(&self, timeout: Duration) -> Option<Time> {
        self.links.values().map(|link| link.dead_at(timeout)).min()
    }

    fn silent(&self, now: Time, timeout: Duration) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.dead_at(timeout) <= now).map(|(id, _)| *id).collect()
    }
}

impl Node {
    /// Dials `address` and gives the link's name; none if there are too many links.
    pub(in crate::node) fn dial(&mut self, address: String, out: &mut Output) -> Option<LinkId> {
        assert!(is_dialable(&address), "{address:?} is dialled, which is no address");
        if self.links.links.len() >= LINKS_MAX {
            return None;
        }
        self.links.dialled += 1;
        let link = LinkId::dialled(self.links.dialled);
        let dialled = Some(address.clone());
        self.links.links.insert(
            link,
            Link { peer_host: None, dialled, reached: None, peer: None, silence_max: None, heard: self.now.mono },
        );
        out.links.push(LinkAction::Dial { link, address });
        Some(link)
    }

    /// Ends a link; nothing more is heard of it.
    pub(in crate::node) fn close(&mut self, link: LinkId, out: &mut Output) {
        if self.links.links.remove(&link).is_some() {
            out.links.push(LinkAction::Close { link });
        }
        self.forget_words(link);
    }

    /// A dial that came to nothing: no connection, or nobody's word on it.
    fn note_vain(&mut self, gone: Link) {
        let silent = gone.peer_host.is_some();
        if let Link { peer: None, dialled: Some(address), .. } = gone
            && !(silent && self.config.planted.silence_taken_for_an_answer())
        {
            self.dialled_in_vain(address);
        }
    }

    /// Ends a link if this node made it; who made another ends it itself.
    pub(in crate::node) fn close_own(&mut self, link: LinkId, out: &mut Output) {
        if link.is_dialled() {
            self.close(link, out);
        }
    }

    /// Nothing more is heard on a link.
    fn forget_words(&mut self, link: LinkId) {
        self.held.remove(&link);
        self.contests.remove(&link);
        self.linearizing.lose_link(link);
        self.own_address.lose_link(link);
    }

    /// Ends a link with a last word; both sides say why.
    pub(in crate::node) fn refuse(
        &mut self,
        link: LinkId,
        node: Option<NodeId>,
        reason: Reason,
        out: &mut Output,
    ) {
        if let Role::Replica(replica) = &mut self.role {
            replica.refused = Some(reason);
        }
        self.note_answered(link, Err(reason), out);
        self.tell_refused(node, false, reason, out);
        out.sends.push((link, Message::Bye(reason)));
        self.forget_link(link, "refused", out);
        self.close(link, out);
    }

    pub(in crate::node) fn on_link_up(
        &mut self,
        link: LinkId,
        peer_host: String,
        reached: String,
        out: &mut Output,
    ) {
        let heard = self.now.mono;
        let (peer_host, reached) = (Some(peer_host), Some(reached));
        if link.is_dialled() {
            let Some(known) = self.links.links.get_mut(&link) else {
                out.links.push(LinkAction::Close { link });
                return;
            };
            *known =
                Link { peer_host, reached, heard, peer: None, silence_max: None, dialled: known.dialled.take() };
            self.greet(link, out);
        } else if self.links.links.len() < LINKS_MAX && (!self.flags.stopping || self.holds_writes()) {
            self.links
                .links
                .insert(link, Link { peer_host, reached, heard, peer: None, silence_max: None, dialled: None });
        } else {
            out.links.push(LinkAction::Close { link });
        }
    }

    /// A long message is coming in. That is contact: the link is not silent. It is no word of whoever leads: an election
    /// timer and a lease go by rounds alone, which overtake long messages, so a trickle keeps no dead master in office.
    pub(in crate::node) fn on_link_progress(&mut self, link: LinkId) {
        if !self.config.planted.progress_ignored() {
            self.links.heard(link, self.now.mono);
            self.go_on_waiting(link);
        }
    }

    pub(in crate::node) fn on_link_down(&mut self, link: LinkId, loss: LinkLoss, out: &mut Output) {
        let Some(gone) = self.links.links.remove(&link) else { return };
        let unanswered = gone.dialled.clone().filter(|_| gone.peer.is_none());
        self.note_vain(gone);
        self.forget_words(link);
        if matches!(loss, LinkLoss::Garbage | LinkLoss::Http) {
            self.counters.garbage_links += 1;
            if unanswered.is_none() {
                out.events.push(Event::LinkLost { link, why: "invalid message from the peer" });
            }
        }
        if let Some(address) = unanswered {
            self.note_unanswered(&address, loss, out);
        }
        self.suspect(link, loss);
        self.forget_link(link, loss_as_str(loss), out);
    }

    pub(in crate::node) fn on_bye(&mut self, link: LinkId, reason: Reason, out: &mut Output) {
        let why = match reason {
            Reason::Resigned => "its mastership is over",
            _ => {
                self.tell_refused(self.peer_of(link), true, reason, out);
                "the peer refused it"
            }
        };
        match reason {
            Reason::Resigned => self.on_resigned(link),
            Reason::Quarantined => self.on_quarantined(link),
            Reason::Protocol
            | Reason::ForeignCluster
            | Reason::NoMaster
            | Reason::SameNode
            | Reason::Itself
            | Reason::Full
            | Reason::SourceBehind
            | Reason::AtOdds
            | Reason::ShuttingDown => {}
        }
        self.forget_link(link, why, out);
        self.close(link, out);
    }

    /// Drops a link whose peer breaks the protocol.
    pub(in crate::node) fn drop_garbage(&mut self, link: LinkId, why: &'static str, out: &mut Output) {
        self.counters.garbage_links += 1;
        out.events.push(Event::LinkLost { link, why });
        self.forget_link(link, why, out);
        self.close(link, out);
    }

    /// Ends links that have been silent for three heartbeats.
    pub(in crate::node) fn watch_links(&mut self, out: &mut Output) {
        for link in self.links.silent(self.now.mono, self.config.link_timeout()) {
            if self.held.contains_key(&link) && !self.is_settled() {
                self.links.heard(link, self.now.mono);
                continue;
            }
            if let Some(silent) = self.links.links.get(&link).cloned() {
                let unanswered = silent.dialled.clone().filter(|_| silent.peer.is_none());
                let loss = if silent.peer_host.is_some() { LinkLoss::Stalled } else { LinkLoss::ConnectFailed };
                unanswered.into_iter().for_each(|address| self.note_unanswered(&address, loss, out));
                self.note_vain(silent);
            }
            self.forget_link(link, "silent for three heartbeats", out);
            self.close(link, out);
        }
    }

    /// Tells the role that a link is gone.
    pub(in crate::node) fn forget_link(&mut self, link: LinkId, why: &'static str, out: &mut Output) {
        match &mut self.role {
            Role::Founding(_) => {}
            Role::Asking(asking) => asking.lost(link),
            Role::Candidate(candidate) => candidate.lost(link),
            Role::Master(_) => self.lose_stream(link, why, out),
            Role::Replica(_) => self.lose_source(link, why, out),
        }
    }

    /// Whether it is clear what this node is, so that hellos are answered at once.
    pub(in crate::node) fn is_settled(&self) -> bool {
        match &self.role {
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) => false,
            // An armed master opens its epoch with the help of those that follow it.
            Role::Master(master) if self.armed().is_some() => master.start.is_some(),
            Role::Master(_) => self.is_open(),
            Role::Replica(_) => true,
        }
    }
}

fn loss_as_str(loss: LinkLoss) -> &'static str {
    match loss {
        LinkLoss::ConnectRefused => "its port refused the connection",
        LinkLoss::ConnectFailed => "no connection could be made",
        LinkLoss::Unresolved => "its name cannot be resolved",
        LinkLoss::Closed => "the connection was closed",
        LinkLoss::Garbage => "invalid message from the peer",
        LinkLoss::Http => "an HTTP server answers there",
        LinkLoss::Stalled => "write to the peer timed out",
    }
}

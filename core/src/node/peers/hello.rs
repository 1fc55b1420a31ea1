//! The handshake: who dials says hello, who is dialled answers welcome. Owns the checks that hold for every role
//! and the verdict on a replica's log.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;

use crate::command::Member;
use crate::config::{Address, Config};
use crate::event::Event;
use crate::ids::{LinkId, NodeId};
use crate::message::{
    FetchTail, FetchedTail, Hello, Intent, Leader, Message, PeerState, Reason, Resume, SyncPlan, Welcome,
};
use crate::node::peers::own_address::{Place, is_dialable};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::status::DialFailure;

/// Most bytes of records that one answer to a pull carries.
const PULLED_BYTES_MAX: usize = 256 << 10;

impl Node {
    /// Who this node is and how its log stands.
    pub(in crate::node) fn standing(&self) -> PeerState {
        let (log_time, log_time_known) = self.told_log_time();
        PeerState {
            node: self.id,
            cluster: self.cluster,
            name: self.config.node_name.clone(),
            http: self.config.http.clone(),
            replication: self.config.replication.clone(),
            priority: self.config.priority,
            process: self.process,
            votes: self.config.votes(),
            durability: self.config.durability(),
            promised: self.promised,
            leads: self.leads(),
            last: self.log.last(),
            committed: self.committed,
            log_time,
            log_time_known,
            history: self.log.history().clone(),
            heartbeat_ms: u32::try_from(self.config.heartbeat_interval.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// First word on a link that this node dialled.
    pub(in crate::node) fn greet(&mut self, link: LinkId, out: &mut Output) {
        let intent = match &self.role {
            _ if self.looks_for_first == Some(link) => Intent::Ask,
            Role::Replica(_) => Intent::Follow,
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => Intent::Ask,
        };
        self.say_hello(link, intent, out);
    }

    pub(in crate::node) fn say_hello(&mut self, link: LinkId, intent: Intent, out: &mut Output) {
        let hello = Hello {
            protocol: self.config.protocol,
            intent,
            standing: self.standing(),
            resume: self.resume(),
            needs_snapshot: self.needs_snapshot,
            dialled: self.links.dialled(link).filter(|address| is_dialable(address)),
        };
        out.sends.push((link, Message::Hello(hello)));
    }

    fn resume(&self) -> Option<Resume> {
        match &self.role {
            Role::Replica(replica) => replica.resume(),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Master(_) => None,
        }
    }

    /// Whether this node may be followed.
    fn leads(&self) -> bool {
        match &self.role {
            Role::Master(_) => self.is_settled(),
            Role::Founding(_) | Role::Asking(_) | Role::Candidate(_) | Role::Replica(_) => false,
        }
    }

    pub(in crate::node) fn on_hello(&mut self, link: LinkId, mut hello: Hello, out: &mut Output) {
        if (hello.standing.node, hello.standing.process) == (self.id, self.process) {
            // Its own call: it is where the membership has somebody else, or once was, or its file names it as its master.
            self.answered_at(hello.dialled.as_deref(), self.id);
            self.note_own_call(hello.dialled.as_deref(), out);
            self.close(link, out);
            return;
        }
        if self.flags.is_copy {
            self.close(link, out);
            return;
        }
        if self.is_another_process(&hello.standing) && hello.standing.leads && !self.leads() {
            self.fall_silent(out);
            return;
        }
        if let Err(reason) = self.vet(hello.protocol, &hello.standing) {
            self.decline(link, &hello.standing, reason, out);
            return;
        }
        self.place(link, &mut hello.standing);
        self.links.identify(link, hello.standing.node);
        self.learn_address(hello.standing.node, link, hello.dialled.as_deref(), None);
        self.note_contact(hello.standing.node);
        if self.contest(link, &hello, out) {
            return;
        }
        self.note_process(&hello.standing);
        match &mut self.role {
            Role::Founding(_) => self.hello_while_founding(link, hello, out),
            Role::Asking(asking) => {
                asking.heard(link, &hello.standing);
                self.hold_or_note(link, hello, out);
            }
            Role::Candidate(_) => self.hello_to_candidate(link, hello, out),
            Role::Master(_) => self.hello_to_master(link, hello, out),
            Role::Replica(_) => self.hello_to_replica(link, &hello, out),
        }
    }

    /// A replica whose file names it as its own master looks further; its status says so, and its log does once.
    fn note_own_call(&mut self, dialled: Option<&str>, out: &mut Output) {
        if let Some(address) = dialled {
            let asked = self.links.asked_at(address).unwrap_or_else(|| address.into());
            self.note_dial(&asked, DialFailure::Itself, out);
        }
        if dialled != self.config.master_address.as_deref() {
            return;
        }
        let (node, reason) = (Some(self.id), Reason::Itself);
        if let Role::Replica(replica) = &mut self.role
            && replica.refused != Some(reason)
        {
            replica.refused = Some(reason);
            out.events.push(Event::Refused { node, by_peer: false, reason });
        }
    }

    pub(in crate::node) fn on_welcome(&mut self, link: LinkId, mut welcome: Welcome, out: &mut Output) {
        if self.is_word_of_first(link, &welcome, out) {
            return;
        }
        if self.is_refused_as_copy(&welcome) {
            self.fall_silent(out);
            return;
        }
        if let Err(reason) = self.vet(welcome.protocol, &welcome.standing) {
            self.refuse(link, Some(welcome.standing.node), reason, out);
            return;
        }
        self.note_answered(link, Ok(&welcome.verdict), out);
        self.place(link, &mut welcome.standing);
        self.links.identify(link, welcome.standing.node);
        self.learn_address(welcome.standing.node, link, None, welcome.seen_at.as_deref());
        self.note_contact(welcome.standing.node);
        self.note_process(&welcome.standing);
        match &mut self.role {
            Role::Founding(_) => self.answered_while_founding(link, &welcome, out),
            Role::Asking(asking) => match &welcome.verdict {
                SyncPlan::Noted(Some(leader)) if leader.node == self.id => {
                    asking.wait_for(link, self.now.mono + self.config.election_timeout);
                }
                _ => asking.heard(link, &welcome.standing),
            },
            Role::Candidate(_) => self.on_voter(link, welcome, out),
            Role::Master(_) => self.on_probe_answer(link, &welcome, out),
            Role::Replica(_) => self.on_source(link, welcome, out),
        }
    }

    /// What must hold between any two nodes.
    fn vet(&self, protocol: u16, peer: &PeerState) -> Result<(), Reason> {
        if protocol != self.config.protocol {
            return Err(Reason::Protocol);
        }
        if peer.node == self.id {
            return Err(Reason::SameNode);
        }
        match (self.cluster, peer.cluster) {
            (Some(ours), Some(theirs)) if ours != theirs => Err(Reason::ForeignCluster),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Fills in the host that a peer leaves to us: the one that we see it at.
    fn place(&self, link: LinkId, standing: &mut PeerState) {
        let Some(host) = self.links.peer_host(link) else { return };
        for address in [Some(&mut standing.http), standing.replication.as_mut()].into_iter().flatten() {
            if address.host.is_none() {
                address.host = Some(String::from(host));
            }
        }
    }

    /// Answers a hello with a refusal; the dialler closes.
    pub(in crate::node) fn decline(&mut self, link: LinkId, peer: &PeerState, reason: Reason, out: &mut Output) {
        match reason {
            Reason::NoMaster => {}
            _ => self.tell_refused(Some(peer.node), false, reason, out),
        }
        self.welcome(link, SyncPlan::Refused(reason), out);
    }

    pub(in crate::node) fn welcome(&mut self, link: LinkId, verdict: SyncPlan, out: &mut Output) {
        let at = |text: Option<&str>| text.filter(|_| !link.is_dialled()).map(String::from);
        let welcome = Welcome {
            protocol: self.config.protocol,
            standing: self.standing(),
            seen_at: at(self.links.peer_host(link)),
            reached_at: at(self.links.reached(link)),
            verdict,
        };
        out.sends.push((link, Message::Welcome(welcome)));
    }

    /// While it is not clear what this node is: who only asks is told so, who wants to follow waits.
    pub(in crate::node) fn hold_or_note(&mut self, link: LinkId, hello: Hello, out: &mut Output) {
        match hello.intent {
            Intent::Ask => self.welcome(link, SyncPlan::Noted(None), out),
            Intent::Follow => {
                self.held.insert(link, hello);
            }
        }
    }

    /// Answers those that had to wait.
    pub(in crate::node) fn release_held(&mut self, out: &mut Output) {
        if !self.is_settled() {
            return;
        }
        for (link, hello) in core::mem::take(&mut self.held) {
            self.on_hello(link, hello, out);
        }
    }

    /// Somebody else may have won meanwhile.
    fn hello_to_candidate(&mut self, link: LinkId, hello: Hello, out: &mut Output) {
        if self.is_led_by(&hello.standing) {
            self.wait_for_master();
            self.end_campaign("another node leads", out);
            self.hello_to_replica(link, &hello, out);
        } else {
            let peer = hello.standing.node;
            self.hold_or_note(link, hello, out);
            if !self.config.planted.only_own_dials_asked() {
                self.ask_on(link, peer, out);
            }
        }
    }

    /// Whether a node leads that this one would follow.
    fn is_led_by(&self, peer: &PeerState) -> bool {
        peer.leads && peer.promised >= self.promised && self.may_follow(peer)
    }

    /// A master that calls will be followed, on its own call if need be: no campaign comes in between.
    fn expect_caller(&mut self) {
        let Role::Replica(replica) = &self.role else { return };
        if !replica.is_following() && !self.config.planted.rivals_raced() {
            self.wait_for_master();
        }
    }

    fn hello_to_replica(&mut self, link: LinkId, hello: &Hello, out: &mut Output) {
        if self.is_led_by(&hello.standing) {
            if self.called_by(link, &hello.standing, out) {
                return;
            }
            self.expect_caller();
        }
        let leader = self.leader().cloned();
        let verdict = match (hello.intent, leader) {
            (Intent::Ask, leader) => SyncPlan::Noted(leader),
            (Intent::Follow, Some(leader)) if leader.node != hello.standing.node => SyncPlan::Redirect(leader),
            (Intent::Follow, Some(_) | None) => SyncPlan::Refused(Reason::NoMaster),
        };
        self.welcome(link, verdict, out);
    }

    /// How far a peer's log agrees with ours, and so what is to become of it.
    pub(in crate::node) fn verdict(&mut self, hello: &Hello) -> SyncPlan {
        let theirs = &hello.standing;
        // Of what the history has forgotten the log may still tell.
        let holds = self.log.epoch_at(theirs.last.index) == Some(theirs.last.epoch);
        let common = if holds { theirs.last } else { self.common_with(theirs) };
        let shared = self.line_of(theirs).shared_with(&self.line()).max(common.index);
        if hello.needs_snapshot || shared > common.index {
            // What both hold has been acked and must stay: an older snapshot would take it off the replica's disk.
            self.forget_transfer_before(shared);
            return self.snapshot_verdict(hello.resume);
        }
        if theirs.last.index > common.index {
            return SyncPlan::Truncate { after: common };
        }
        if common.index >= self.log.base().index {
            return SyncPlan::Continue { after: common };
        }
        self.snapshot_verdict(hello.resume)
    }

    fn snapshot_verdict(&mut self, resume: Option<Resume>) -> SyncPlan {
        let position = self.transfer_position();
        let next_chunk = resume
            .filter(|resume| resume.position == position && self.snapshots.can_go_on(resume.next_chunk))
            .map_or(0, |resume| resume.next_chunk);
        SyncPlan::Snapshot { position, next_chunk }
    }

    /// Sends a starting master or a candidate what it has lost and we hold. Who has named its own epoch already gets
    /// nothing of later ones, or it would go on below them.
    pub(in crate::node) fn on_fetch_tail(&mut self, link: LinkId, pull: FetchTail, out: &mut Output) {
        let FetchTail { after, across } = pull;
        let upto = self.may_leave_upto();
        let end = if across { Some(upto) } else { self.log.history().end_of(after.epoch, upto) };
        let entries = match end {
            Some(end) if self.log.epoch_at(after.index) == Some(after.epoch) => {
                let mut records = self.log.records_from(after.index.next(), PULLED_BYTES_MAX);
                records.truncate(usize::try_from(end.ahead_of(after.index)).unwrap_or(usize::MAX));
                records
            }
            Some(_) | None => Vec::new(),
        };
        out.sends.push((link, Message::FetchedTail(FetchedTail { after, entries })));
    }

    /// The node at the other end, where the role knows it.
    pub(in crate::node) fn peer_of(&self, link: LinkId) -> Option<NodeId> {
        match &self.role {
            Role::Founding(_) => None,
            Role::Asking(asking) => asking.peer(link),
            Role::Candidate(candidate) => candidate.peer(link),
            Role::Master(master) => master.streams.get(&link).map(|stream| stream.node),
            Role::Replica(replica) => replica.source(link),
        }
    }
}

/// `host:port` as it is dialled; empty without a host.
pub(in crate::node) fn address_text(address: &Address) -> String {
    address.host.as_deref().map(|host| join(host, address.port)).unwrap_or_default()
}

/// `host:port`, with the brackets that an IPv6 literal needs.
pub(in crate::node) fn join(host: &str, port: impl Display) -> String {
    if host.contains(':') { alloc::format!("[{host}]:{port}") } else { alloc::format!("{host}:{port}") }
}

/// This node as a member, at the addresses that are configured, else where others say that it is.
pub(in crate::node) fn myself(config: &Config, id: NodeId, place: Option<&Place>) -> Member {
    let text = |configured: &Address, port: Option<u16>| match (&configured.host, place) {
        (None, Some(place)) => join(&place.host, port.unwrap_or(configured.port)),
        (Some(_), _) | (None, None) => address_text(configured),
    };
    let port = place.and_then(Place::port);
    Member {
        id,
        name: config.node_name.clone(),
        replication: config.replication.as_ref().map(|address| text(address, port)).unwrap_or_default(),
        http: text(&config.http, None),
        voter: false,
        priority: config.priority,
        priority_set: None,
    }
}

/// A member as the master that it may be.
pub(in crate::node) fn leader_of_member(member: &Member) -> Leader {
    Leader { node: member.id, http: member.http.clone(), replication: member.replication.clone() }
}

/// A node as the master that it says to be.
pub(in crate::node) fn leader_of(standing: &PeerState) -> Leader {
    Leader {
        node: standing.node,
        http: address_text(&standing.http),
        replication: standing.replication.as_ref().map(address_text).unwrap_or_default(),
    }
}

//! Where others reach this node. What is configured holds; otherwise peers say it: who has dialled this node tells where it
//! did, who was dialled tells at which host it sees this node. Owns these words and which of them is believed.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::TEXT_BYTES_MAX;
use crate::command::{MEMBERS_MAX, Member};
use crate::event::Event;
use crate::ids::{LinkId, NodeId};
use crate::node::peers::hello::{leader_of_member, myself};
use crate::node::{Node, Role};
use crate::output::Output;
use crate::status::Alarm;

/// What peers have said, and what is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct OwnAddress {
    /// The newest word of each peer.
    words: BTreeMap<NodeId, Word>,
    believed: Option<Place>,
    /// Hosts, of this node and of others, that stand for no address on this machine.
    unresolved: Vec<String>,
}

/// What a peer said on a link; the link is none once it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    place: Place,
    link: Option<LinkId>,
}

/// A place at which this node is reached. The greater one is the better one: beyond this machine before on it alone,
/// where somebody has reached this node before where it was merely seen, and a name before a number, which changes sooner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node) struct Place {
    beyond_machine: bool,
    /// Its port, if it was dialled there.
    dialled: Option<u16>,
    named: bool,
    pub(in crate::node) host: String,
}

impl Place {
    fn at(host: &str, dialled: Option<u16>) -> Self {
        let beyond_machine = !is_loopback(host);
        Self { beyond_machine, dialled, named: !is_number(host), host: String::from(host) }
    }

    /// Its port, which another machine may map to that of this node.
    pub(in crate::node) fn port(&self) -> Option<u16> {
        self.dialled
    }

    fn rank(&self) -> (bool, bool, bool) {
        (self.beyond_machine, self.dialled.is_some(), self.named)
    }
}

impl OwnAddress {
    pub(in crate::node) fn believed(&self) -> Option<&Place> {
        self.believed.as_ref()
    }

    fn hear(&mut self, peer: NodeId, link: LinkId, place: Place) {
        if self.words.len() < MEMBERS_MAX || self.words.contains_key(&peer) {
            self.words.insert(peer, Word { place, link: Some(link) });
        }
    }

    pub(in crate::node) fn lose_link(&mut self, link: LinkId) {
        for word in self.words.values_mut() {
            word.link = word.link.filter(|known| *known != link);
        }
    }

    /// What those say who are connected counts, and stays for as long as one of them says it and none knows a better
    /// place: a membership that changed with every word would be written over and over.
    fn choose(&mut self) {
        let standing = || self.words.values().filter(|word| word.link.is_some()).map(|word| &word.place);
        let Some(best) = standing().max() else { return };
        let keeps = |held: &Place| held.rank() >= best.rank() && standing().any(|place| place == held);
        if !self.believed.as_ref().is_some_and(keeps) {
            self.believed = Some(best.clone());
        }
    }
}

impl Node {
    /// A peer has dialled this node at `address`, or is dialled by it and sees it at a host.
    pub(in crate::node) fn learn_address(
        &mut self,
        peer: NodeId,
        link: LinkId,
        dialled: Option<&str>,
        seen_at: Option<&str>,
    ) {
        let dialled = dialled.and_then(split).map(|(host, port)| Place::at(host, Some(port)));
        let seen = seen_at.filter(|host| is_host(host)).map(|host| Place::at(host, None));
        let Some(place) = dialled.or(seen) else { return };
        let configured = [Some(&self.config.http), self.config.replication.as_ref()];
        let all_configured = configured.into_iter().flatten().all(|address| address.host.is_some());
        if all_configured || self.config.planted.learnt_address_ignored() {
            return;
        }
        self.own_address.hear(peer, link, place);
        self.own_address.choose();
        self.me = myself(&self.config, self.id, self.own_address.believed());
        self.as_leader = leader_of_member(&self.me);
    }

    /// What is written of a member's addresses. None is known of a master that nobody has told, and one on this machine
    /// alone helps nobody on another: neither takes the place of one that does.
    pub(in crate::node) fn keep_addresses(&self, known: &Member, new: &mut Member) {
        if self.config.planted.good_address_overwritten() {
            return;
        }
        for (known, new) in [(&known.replication, &mut new.replication), (&known.http, &mut new.http)] {
            let poorer = match (split(known), split(new)) {
                (Some((known, _)), Some((new, _))) => is_loopback(new) && !is_loopback(known),
                (Some(_), None) => true,
                (None, _) => false,
            };
            if poorer {
                new.clone_from(known);
            }
        }
    }

    /// Where the log has this node, if it knows itself to be elsewhere: the one who is there now may be another member, which
    /// the log has where this node is.
    pub(in crate::node) fn left_address(&self) -> Option<String> {
        let written = &self.log.membership().1.get(self.id)?.replication;
        (is_dialable(&self.me.replication) && self.me.replication != *written).then(|| written.clone())
    }

    /// Members of which the log has no address that anybody could dial.
    fn members_unknown(&self) -> impl Iterator<Item = &Member> {
        let members = &self.log.membership().1.members;
        let alone = self.is_standalone() || members.len() < 2;
        members
            .iter()
            .filter(move |member| !alone && (!is_dialable(&member.replication) || self.shares_address(member)))
    }

    /// Whether this member and another one are both connected and said to be at the same place. Only a master knows that, and
    /// of a member that is gone another may have taken the place.
    fn shares_address(&self, member: &Member) -> bool {
        let Role::Master(master) = &self.role else { return false };
        let is_here = |other: &Member| other.id == self.id || master.stream_of(other.id).is_some();
        let members = &self.log.membership().1.members;
        let mut same =
            members.iter().filter(|other| other.id != member.id && other.replication == member.replication);
        is_here(member) && same.any(is_here)
    }

    pub(in crate::node) fn lacks_addresses(&self) -> bool {
        self.members_unknown().next().is_some()
    }

    /// Which hosts stand for no address here. Nothing else follows from it: names may mean something else to others.
    pub(in crate::node) fn on_unresolved(&mut self, unresolved: Vec<String>, out: &mut Output) {
        let known = core::mem::replace(&mut self.own_address.unresolved, unresolved);
        let now = &self.own_address.unresolved;
        let new = now.iter().filter(|host| !known.contains(host));
        out.events.extend(new.filter_map(|host| {
            let member = self.who_is_at(host)?;
            Some(Event::AddressUnresolved { host: host.clone(), member })
        }));
        if now.is_empty() != known.is_empty() {
            out.events.push(Event::Alarm { alarm: Alarm::AddressUnresolved, on: !now.is_empty() });
        }
    }

    /// The name of the other member that is said to be at a host; none in it: this node itself.
    fn who_is_at(&self, host: &str) -> Option<Option<String>> {
        let own = [Some(&self.config.http), self.config.replication.as_ref()];
        if own.into_iter().flatten().any(|address| address.host.as_deref() == Some(host)) {
            return Some(None);
        }
        let members = &self.log.membership().1.members;
        let there = members.iter().find(|member| split(&member.replication).is_some_and(|(it, _)| it == host));
        there.map(|member| (member.id != self.id).then(|| member.name.clone()))
    }

    /// The other members of the cluster, by name.
    pub fn other_members(&self) -> impl Iterator<Item = &str> {
        let others = self.log.membership().1.members.iter().filter(|member| member.id != self.id);
        others.map(|member| member.name.as_str())
    }

    /// Where the members of the cluster are dialled, as the log has it.
    pub fn addresses(&self) -> impl Iterator<Item = &str> + Clone {
        self.log.membership().1.members.iter().map(|member| member.replication.as_str())
    }

    pub(in crate::node) fn has_unresolved_names(&self) -> bool {
        !self.own_address.unresolved.is_empty()
    }

    /// Says whose addresses are missing, when that begins and when it ends.
    pub(in crate::node) fn tell_addresses(&mut self, out: &mut Output) {
        let lacks = self.lacks_addresses();
        if lacks == self.flags.address_unknown {
            return;
        }
        out.events.extend(self.members_unknown().map(|member| Event::AddressUnknown {
            name: member.name.clone(),
            shared: Some(member.replication.clone()).filter(|address| is_dialable(address)),
        }));
        out.events.push(Event::Alarm { alarm: Alarm::AddressUnknown, on: lacks });
        self.flags.address_unknown = lacks;
    }
}

/// Whether this is `host:port` that can be dialled.
pub(in crate::node) fn is_dialable(address: &str) -> bool {
    split(address).is_some()
}

/// Host and port; an IPv6 literal without its brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':').filter(|_| address.len() <= TEXT_BYTES_MAX)?;
    let bracketed = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let well_formed = bracketed.is_some() || !host.contains(':');
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = bracketed.unwrap_or(host);
    (well_formed && is_host(host)).then_some((host, port))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.len() <= TEXT_BYTES_MAX / 2 && host.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "::1" || host.starts_with("127.")
}

fn is_number(host: &str) -> bool {
    host.contains(':') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(words: &[(u64, &str, Option<u16>)]) -> OwnAddress {
        let mut own = OwnAddress::default();
        for (peer, host, dialled) in words {
            own.hear(NodeId(u128::from(*peer)), LinkId(*peer), Place::at(host, *dialled));
            own.choose();
        }
        own
    }

    fn host(own: &OwnAddress) -> Option<&str> {
        own.believed().map(|place| place.host.as_str())
    }

    #[test]
    fn the_better_word_is_believed_and_kept() {
        assert_eq!(host(&heard(&[])), None);
        assert_eq!(host(&heard(&[(1, "127.0.0.1", Some(1)), (2, "10.0.0.1", None)])), Some("10.0.0.1"));
        assert_eq!(host(&heard(&[(1, "10.0.0.1", Some(1)), (2, "10.9.9.9", None)])), Some("10.0.0.1"));
        assert_eq!(host(&heard(&[(1, "10.0.0.9", Some(1)), (2, "10.0.0.1", Some(1))])), Some("10.0.0.9"));
        assert_eq!(host(&heard(&[(1, "10.0.0.1", Some(1)), (2, "db-1", Some(1))])), Some("db-1"));
    }

    #[test]
    fn a_newer_word_of_the_same_peer_counts_and_the_word_of_one_that_is_gone_stays_until_another_speaks() {
        let mut own = heard(&[(1, "10.0.0.1", Some(1)), (1, "10.0.0.2", Some(1))]);
        assert_eq!(host(&own), Some("10.0.0.2"));
        own.lose_link(LinkId(1));
        own.choose();
        assert_eq!(host(&own), Some("10.0.0.2"));
        own.hear(NodeId(2), LinkId(2), Place::at("10.0.0.3", None));
        own.choose();
        assert_eq!(host(&own), Some("10.0.0.3"));
    }

    #[test]
    fn what_cannot_be_dialled_is_no_address() {
        for address in ["", ":15501", "n1", "n1:", "n1:0", "n1:x", "[]:1", "::1:5", "a b:1"] {
            assert!(!is_dialable(address), "{address:?}");
        }
        for address in ["n1:15501", "[::1]:15501", "10.0.0.1:1"] {
            assert!(is_dialable(address), "{address:?}");
        }
    }
}

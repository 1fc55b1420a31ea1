//! Where servers are, and how they reach each other. By default each is at the name that its configuration tells. Without
//! configured addresses it is at a number, which changes when it moves; names follow it. `pN` is a proxy in front of `nN`.

use std::collections::VecDeque;

use synap_core::ids::LinkId;
use synap_core::input::{Input, LinkChange, LinkLoss};
use synap_core::status::MemberStatus;
use synap_core::time::Time;

use super::Cluster;

/// Where servers are configured to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// As `nN`, a name.
    #[default]
    All,
    /// Nowhere: they listen on every interface.
    None,
    /// `n1` says to be at a port where nobody listens; others find it through a proxy.
    Proxy,
}

pub(super) const PORT: u16 = 15501;

impl Cluster {
    /// Carries out the dials that a node has made.
    pub(super) fn connect(&mut self, from: u32) {
        let (ours, others): (VecDeque<_>, VecDeque<_>) =
            self.dials.drain(..).partition(|(number, _, _)| *number == from);
        self.dials = others;
        for (_, link, address) in ours {
            let change = match self.dialled(from, link, &address) {
                Ok(change) => change,
                Err(loss) => LinkChange::Down(loss),
            };
            self.turn(from, [Input::Link { link, change }]);
        }
    }

    fn dialled(&mut self, from: u32, link: LinkId, address: &str) -> Result<LinkChange, LinkLoss> {
        let (host, port) = address.rsplit_once(':').expect("only addresses are dialled");
        let to = self.server_at(host).ok_or(LinkLoss::ConnectFailed)?;
        if self.cut.contains(&(from, to)) || self.walled.contains(&(from, to)) {
            return Err(LinkLoss::ConnectFailed);
        }
        if port != PORT.to_string() || self.servers.get(&to).is_none_or(|server| server.node.is_none()) {
            return Err(LinkLoss::ConnectRefused);
        }
        self.accepted += 1;
        let there = LinkId::accepted(self.accepted);
        self.pipes.insert((from, link), (to, there));
        self.pipes.insert((to, there), (from, link));
        let proxied = host.starts_with('p');
        if proxied {
            self.proxied.insert((from, link));
        }
        let direct = format!("{}:{PORT}", self.place(to));
        let peer_host = if proxied { host.to_owned() } else { self.place(from) };
        self.turn(
            to,
            [Input::Link { link: there, change: LinkChange::Up { peer_host, reached: direct.clone() } }],
        );
        let reached = if proxied { address.to_owned() } else { direct };
        Ok(LinkChange::Up { peer_host: host.to_owned(), reached })
    }

    /// Where others see a server.
    fn place(&self, number: u32) -> String {
        match self.addresses {
            Addresses::All | Addresses::Proxy => format!("n{number}"),
            Addresses::None => format!("10.{}.0.{number}", self.moves.get(&number).unwrap_or(&0)),
        }
    }

    /// Who is at a host now.
    fn server_at(&self, host: &str) -> Option<u32> {
        let named = host.strip_prefix(['n', 'p']).and_then(|number| number.parse().ok());
        named.or_else(|| self.servers.keys().copied().find(|number| self.place(*number) == host))
    }

    /// It is elsewhere from now on; its name follows it.
    pub(crate) fn move_on(&mut self, number: u32) {
        *self.moves.entry(number).or_default() += 1;
    }

    /// One cannot dial the other; a connection that the other makes works both ways.
    pub(crate) fn wall(&mut self, from: u32, to: u32) {
        self.walled.insert((from, to));
    }

    /// The proxy in front of a node ends all its connections, and goes on accepting new ones.
    pub(crate) fn reset_proxy(&mut self, number: u32) {
        let lost: Vec<_> = std::mem::take(&mut self.proxied).into_iter().collect();
        for near in lost {
            let Some(far) = self.pipes.remove(&near).filter(|(to, _)| *to == number) else { continue };
            self.pipes.remove(&far);
            for (at, link) in [near, far] {
                self.turn(at, [Input::Link { link, change: LinkChange::Down(LinkLoss::Closed) }]);
            }
        }
    }
    /// Where this node knows the members to be.
    pub(crate) fn known_addresses(&mut self, number: u32) {
        let now = Time(self.micros);
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let told = |member: &MemberStatus| format!("{} at {:?}", member.name, member.replication);
        let line: Vec<String> = node.status(now).members.iter().map(told).collect();
        self.lines.push(format!("n{number} knows {}", line.join(", ")));
    }
}

//! Where nodes are, and what the texts mean that they dial. A node is at a place, whose number may change; its name `nN`
//! follows it. `pN` is a proxy in front of it, `all` a name that stands for every node.

use std::net::{IpAddr, Ipv4Addr};

use super::Plan;

/// What a dialled host means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The node of this number, by its name.
    Node(usize),
    /// The same, through the proxy in front of it.
    Proxy(usize),
    /// Whoever is at this place now.
    Place(u16),
    /// Each node in turn.
    All,
    /// Nobody.
    Nobody,
}

impl Named {
    /// What `HOST` means.
    pub(crate) fn read(host: &str) -> Self {
        let number = |prefix: char| host.strip_prefix(prefix).and_then(|number| number.parse().ok());
        if let Some(node) = number('n') {
            return Self::Node(node);
        }
        if let Some(node) = number('p') {
            return Self::Proxy(node);
        }
        match host.parse::<Ipv4Addr>().map(|ip| ip.octets()) {
            Ok([10, 0, high, low]) => Self::Place(u16::from_be_bytes([high, low])),
            _ if host == "all" => Self::All,
            Ok(_) | Err(_) => Self::Nobody,
        }
    }
}

/// A place as an address.
pub(crate) fn place_ip(place: u16) -> IpAddr {
    let [high, low] = place.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

impl Plan {
    /// Whether nodes are seen at their places, or by their names, as where every node tells its name.
    pub(crate) fn shows_places(&self) -> bool {
        !self.knobs.unaddressed.is_empty()
    }

    /// The host at which a node at `place` is seen.
    pub(crate) fn seen_at(&self, node: usize, place: u16) -> String {
        if self.shows_places() { place_ip(place).to_string() } else { format!("n{node}") }
    }
}

impl Plan {
    /// Whether what this node is known to say of itself leads to somebody else or to nobody: what it tells is wrong, or it is seen where a
    /// proxy is that it calls through. Those who look for it find it only when it calls.
    pub(crate) fn is_hidden(&self, node: usize) -> bool {
        let knobs = &self.knobs;
        let misplaced = u8::try_from(node).is_ok_and(|node| knobs.misplaced.contains_key(&node));
        let behind = node != 0 && !knobs.proxied.is_empty() && lists(&knobs.unaddressed, node);
        misplaced || behind || lists(&knobs.misaddressed, node)
    }
}

/// Whether a list of a plan names this node.
pub(super) fn lists(list: &[u8], node: usize) -> bool {
    list.iter().any(|listed| usize::from(*listed) == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_mean_what_they_say() {
        assert_eq!(Named::read("n3"), Named::Node(3));
        assert_eq!(Named::read("p0"), Named::Proxy(0));
        assert_eq!(Named::read(&place_ip(300).to_string()), Named::Place(300));
        assert_eq!(Named::read("all"), Named::All);
        assert_eq!(Named::read("stranger"), Named::Nobody);
        assert_eq!(Named::read("192.168.0.1"), Named::Nobody);
    }
}

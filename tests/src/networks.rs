//! A network namespace for each server of a test, and a switch between them that forwards their packets and those of the
//! test's own clients. So a server can be cut off from other servers, in one direction or in both, and keep its clients; it
//! can have a name, and move to another address. Owns the namespaces and the switch's rules; needs root, `ip`, and for cuts
//! `nft`, and says so where it cannot have them.

use std::fs;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Namespaces, gone with this value.
#[derive(Debug)]
pub struct Networks {
    /// What all its names begin with.
    name: String,
    /// The first three bytes of all its addresses.
    block: String,
    places: usize,
    /// How often all servers were moved.
    moves: AtomicUsize,
}

/// Where a server lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub host: String,
    /// Its network namespace; none for the test's own.
    pub namespace: Option<String>,
}

/// Blocks that are tried, since another test may have taken one.
const TRIES: u32 = 4;

impl Networks {
    /// Namespaces for `places` servers. The error says why this machine does not let the test have them.
    pub fn new(places: usize) -> Result<Self, String> {
        let networks = Self::without_cuts(places)?;
        networks.try_nft(
            "add table ip cuts
            add chain ip cuts forward { type filter hook forward priority 0; }",
        )?;
        Ok(networks)
    }

    /// The same, of which no way can be cut.
    pub fn without_cuts(places: usize) -> Result<Self, String> {
        let mut refused = String::new();
        for _ in 0..TRIES {
            let networks = Self::draw(places);
            match networks.build() {
                Ok(()) => return Ok(networks),
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// What names stand for, in every server's network from its next start on.
    pub fn name(&self, names: &[(&str, usize)]) {
        let lines = names.iter().map(|(name, server)| format!("{} {name}\n", self.address(*server, 2)));
        let text: String = std::iter::once("127.0.0.1 localhost\n".to_owned()).chain(lines).collect();
        for server in 0..self.places {
            let directory = self.files_of(server);
            fs::create_dir_all(&directory).expect("a namespace may have files of its own");
            fs::write(format!("{directory}/hosts"), &text).expect("names can be written");
        }
    }

    /// Moves every server to an address that none had before.
    pub fn readdress(&self) {
        let switch = format!("{}-switch", self.name);
        self.moves.fetch_add(1, Ordering::Relaxed);
        for server in 0..self.places {
            let (namespace, gate, host) =
                (self.namespace(server), self.address(server, 1), self.address(server, 2));
            sh(&format!(
                "ip -n {switch} addr flush dev server{server}
                ip -n {namespace} addr flush dev eth0
                ip -n {switch} addr add {gate}/30 dev server{server}
                ip -n {namespace} addr add {host}/30 dev eth0
                ip -n {namespace} route add default via {gate}"
            ))
            .expect("addresses can be changed");
        }
    }

    /// Files that a namespace sees in the place of those of the machine.
    fn files_of(&self, server: usize) -> String {
        format!("/etc/netns/{}", self.namespace(server))
    }

    /// The place of a server, counted from 0.
    pub fn place(&self, server: usize) -> Place {
        Place { host: self.address(server, 2), namespace: Some(self.namespace(server)) }
    }

    /// Drops every packet on the way from one server to another, until all is healed.
    pub fn cut(&self, from: usize, to: usize) {
        let (from, to) = (self.address(from, 2), self.address(to, 2));
        self.nft(&format!("add rule ip cuts forward ip saddr {from} ip daddr {to} drop"));
    }

    /// What a server sends goes no faster than this, to all others together. The error says why that cannot be had here.
    pub fn slow(&self, server: usize, megabits: u32) -> Result<(), String> {
        let namespace = self.namespace(server);
        sh(&format!(
            "tc -n {namespace} qdisc replace dev eth0 root tbf rate {megabits}mbit burst 32kb latency 50ms"
        ))
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.nft("flush chain ip cuts forward");
    }

    fn nft(&self, rule: &str) {
        self.try_nft(rule).expect("the switch takes a rule");
    }

    fn try_nft(&self, rule: &str) -> Result<(), String> {
        sh(&format!("ip netns exec {}-switch nft '{rule}'", self.name))
    }

    /// Names that no other test has, and addresses of the range that is set aside for tests of networks (RFC 2544).
    fn draw(places: usize) -> Self {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        let (process, drawn) = (process::id(), DRAWN.fetch_add(1, Ordering::Relaxed));
        let block = process.wrapping_mul(61).wrapping_add(drawn) % 512;
        Self {
            name: format!("synap{process}-{drawn}"),
            block: format!("198.{}.{}", 18 + block / 256, block % 256),
            places,
            moves: AtomicUsize::new(0),
        }
    }

    fn build(&self) -> Result<(), String> {
        let Self { name, block, places, moves: _ } = self;
        let switch = format!("{name}-switch");
        // The route comes first among those that can fail: whose block it is decides itself there.
        sh(&format!(
            "ip netns add {switch}
            ip link add {name} type veth peer name clients netns {switch}
            ip addr add {block}.2/30 dev {name}
            ip link set {name} up
            ip route add {block}.0/24 via {block}.1
            ip -n {switch} addr add {block}.1/30 dev clients
            ip -n {switch} link set clients up
            ip netns exec {switch} sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'"
        ))?;
        (0..*places).try_for_each(|server| {
            let (namespace, gate) = (self.namespace(server), self.address(server, 1));
            let host = self.address(server, 2);
            sh(&format!(
                "ip netns add {namespace}
                ip -n {switch} link add server{server} type veth peer name eth0 netns {namespace}
                ip -n {switch} addr add {gate}/30 dev server{server}
                ip -n {switch} link set server{server} up
                ip -n {namespace} link set lo up
                ip -n {namespace} addr add {host}/30 dev eth0
                ip -n {namespace} link set eth0 up
                ip -n {namespace} route add default via {gate}"
            ))
        })
    }

    fn namespace(&self, server: usize) -> String {
        format!("{}-{server}", self.name)
    }

    /// Each server has a subnet of four addresses: the switch is the first host of it, the server the second.
    fn address(&self, server: usize, host: usize) -> String {
        let subnet = server + 1 + self.places * self.moves.load(Ordering::Relaxed);
        format!("{}.{}", self.block, 4 * subnet + host)
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        let name = &self.name;
        let namespaces = (0..self.places).map(|server| self.namespace(server)).chain([format!("{name}-switch")]);
        let gone: String = namespaces.map(|namespace| format!("ip netns del {namespace}\n")).collect();
        for server in 0..self.places {
            // It has none where nothing was named.
            let _ = fs::remove_dir_all(self.files_of(server));
        }
        // The end of a pair of devices takes the other along, at once or a little later.
        let _ = sh(&format!("set +e\n{gone}ip link del {name}"));
    }
}

/// Runs commands up to the first that fails; the error is what that said.
fn sh(script: &str) -> Result<(), String> {
    let ran = Command::new("sh").args(["-ec", script]).output().map_err(|error| error.to_string())?;
    if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()) }
}

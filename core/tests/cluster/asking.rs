//! What clients and operators ask of a node.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use synap_core::command::{Command, Condition, Fingerprint, Pair, Ticket, Value, ValueKind};
use synap_core::config::Concern;
use synap_core::ids::RequestId;
use synap_core::input::{Input, MemberChange, Promotion, ReadDemand, Request};
use synap_core::position::Named;
use synap_core::time::Time;
use synap_core::version::Version;

use super::Cluster;

impl Cluster {
    pub(crate) fn set(&mut self, number: u32, key: &str, value: &str, ttl_ms: Option<u64>, concern: Option<&str>) {
        self.write(number, set(key, value, ttl_ms), concern);
    }

    /// Where the key has the version that an earlier request was told (`r3`), the one that stands there now at another node (`n2`),
    /// or this one.
    pub(crate) fn set_if(&mut self, number: u32, key: &str, value: &str, version: &str) {
        let version = match version.split_at(1) {
            ("r", request) => {
                let told = self.versions.get(&request.parse().expect("a request's number"));
                *told.unwrap_or_else(|| panic!("{version} was told no version"))
            }
            ("n", node) => self.version_at(node.parse().expect("a node's number"), key),
            _ => Version(version.parse().expect("a version")),
        };
        let Command::Set { pair, .. } = set(key, value, None) else { return };
        self.write(number, Command::Set { pair, condition: Condition::Version(version) }, None);
    }

    fn version_at(&self, number: u32, key: &str) -> Version {
        let node = self.servers.get(&number).and_then(|server| server.node.as_ref());
        let item = node.and_then(|node| node.view().store.get(key.as_bytes()));
        item.map_or(Version::ABSENT, |item| item.version())
    }

    /// So many pairs at once, with values of this length.
    pub(crate) fn batch(&mut self, number: u32, pairs: usize, bytes: usize) {
        let pair = |key: usize| match set(&format!("k{key}"), &".".repeat(bytes), None) {
            Command::Set { pair, .. } => pair,
            other => panic!("a set is {other:?}"),
        };
        self.write(number, Command::Batch { pairs: (0..pairs).map(pair).collect() }, None);
    }

    /// Many keys at once, with one time to live.
    pub(crate) fn fill(&mut self, number: u32, keys: Range<u32>, ttl_ms: Option<u64>) {
        let value = Value { kind: ValueKind::Bytes, bytes: Bytes::from_static(b"v") };
        let key = |at| Bytes::from(format!("key{at:06}"));
        let pairs = keys.map(|at| Pair { key: key(at), value: value.clone(), ttl_ms }).collect();
        self.write(number, Command::Batch { pairs }, None);
    }

    pub(crate) fn incr(&mut self, number: u32, key: &str, by: i64, once: Option<&str>, concern: Option<&str>) {
        let incr = Command::Incr { key: Bytes::copy_from_slice(key.as_bytes()), by };
        let command = match once {
            Some(once) => {
                let fingerprint = Fingerprint::of(&[key.as_bytes(), &by.to_le_bytes()]);
                let ticket =
                    Ticket { key: Bytes::copy_from_slice(once.as_bytes()), fingerprint, wants_old: false };
                Command::Once { ticket, command: Box::new(incr) }
            }
            None => incr,
        };
        self.write(number, command, concern);
    }

    fn write(&mut self, number: u32, command: Command, concern: Option<&str>) {
        let concern = concern.map(|concern| match concern {
            "async" => Concern::Async,
            "local" => Concern::Local,
            "quorum" => Concern::Quorum,
            count => Concern::Replicas(count.parse().expect("a concern")),
        });
        self.ask(number, Request::Write { command, concern, timeout: Duration::from_secs(5) });
    }

    pub(crate) fn get(&mut self, number: u32, key: &str) {
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let view = node.view();
        let item = view.store.get_at(key.as_bytes(), view.log_time(Time(self.micros), false));
        let value = item.map_or_else(|| "-".into(), |item| String::from_utf8_lossy(item.value()).into_owned());
        self.lines.push(format!("n{number} {key}={value} at {}", view.applied));
    }

    pub(crate) fn promote(&mut self, number: u32, force: bool) {
        let ask = Promotion { force, accept_data_loss: force, expect_last: None };
        self.ask(number, Request::Promote(ask));
    }

    pub(crate) fn switch_over(&mut self, number: u32, to: Option<&str>) {
        let to = to.map(String::from);
        self.ask(number, Request::Switchover { to, timeout: Duration::from_secs(5) });
    }

    pub(crate) fn pause(&mut self, number: u32, seconds: u64) {
        self.ask(number, Request::Pause(Duration::from_secs(seconds)));
    }

    pub(crate) fn remove(&mut self, number: u32, node: &str) {
        self.ask(number, Request::Members(MemberChange::Remove { node: node.into() }));
    }

    pub(crate) fn replace(&mut self, number: u32, node: &str, by: &str) {
        self.ask(number, Request::Members(MemberChange::Replace { node: node.into(), by: by.into() }));
    }

    /// The member is never to lead.
    pub(crate) fn priority(&mut self, number: u32, node: &str) {
        self.ask(number, Request::Members(MemberChange::Priority { node: node.into(), priority: Some(0) }));
    }

    pub(crate) fn read_linearizable(&mut self, number: u32) {
        let demand = ReadDemand { linearizable: true, ..ReadDemand::default() };
        self.ask(number, Request::Read { demand, timeout: Duration::from_secs(5) });
    }

    /// A read that waits for a position.
    pub(crate) fn read_after(&mut self, number: u32, position: Named) {
        let demand = ReadDemand { min_position: Some(position), ..ReadDemand::default() };
        self.ask(number, Request::Read { demand, timeout: Duration::from_secs(5) });
    }

    /// What became of a write.
    pub(crate) fn outcome(&mut self, number: u32, position: Named) {
        self.ask(number, Request::Outcome(position));
    }

    pub(crate) fn snapshot(&mut self, number: u32) {
        self.ask(number, Request::Snapshot);
    }

    fn ask(&mut self, number: u32, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.turn(number, [Input::Request { id, request }]);
    }
}

pub(super) fn set(key: &str, value: &str, ttl_ms: Option<u64>) -> Command {
    let value = Value { kind: ValueKind::Bytes, bytes: Bytes::copy_from_slice(value.as_bytes()) };
    let pair = Pair { key: Bytes::copy_from_slice(key.as_bytes()), value, ttl_ms };
    Command::Set { pair, condition: Condition::Always }
}

//! A small cluster for scripts: nodes by number, links as ordered pipes, disks as maps of files, time that moves only
//! when told. Every message delivered and every sync is a step, and leaves a line.

mod asking;
pub(crate) mod network;
mod print;
mod server;
mod slow;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use synap_core::command::Outcome;
use synap_core::config::{FailoverMode, FsyncMode, RoleHint, SnapshotPolicy};
use synap_core::ids::{ClusterId, LinkId, NodeId};
use synap_core::input::{Input, LinkChange, LinkLoss};
use synap_core::message::Message;
use synap_core::node::Node;
use synap_core::output::{LinkAction, Output, Reply, Written};
use synap_core::planted::Planted;
use synap_core::recovered::Recovered;
use synap_core::snapshot::SnapshotReader;
use synap_core::snapshot::restore::{Order, restore};
use synap_core::time::{Now, Time, WallMs};
use synap_core::version::Version;
use synap_core::wal::restore::files as restored_files;
use synap_core::wal::{Draw, JournalConfig, Lane, recover};

use asking::set;
use network::Addresses;
use server::{Freed, Server, config};

/// Beyond the end of every script.
const FAR: Duration = Duration::from_secs(1_000_000);

/// Nodes, pipes and disks.
#[derive(Default)]
pub(crate) struct Cluster {
    servers: BTreeMap<u32, Server>,
    pipes: BTreeMap<(u32, LinkId), (u32, LinkId)>,
    dials: VecDeque<(u32, LinkId, String)>,
    cut: BTreeSet<(u32, u32)>,
    slow: BTreeMap<(u32, u32), slow::SlowWay>,
    /// Ways that no dial gets through.
    walled: BTreeSet<(u32, u32)>,
    /// Connections that were dialled through a proxy.
    proxied: BTreeSet<(u32, LinkId)>,
    addresses: Addresses,
    /// How often each has moved.
    moves: BTreeMap<u32, u32>,
    micros: u64,
    accepted: u64,
    requests: u64,
    /// The versions that requests were told, by their numbers.
    versions: BTreeMap<u64, Version>,
    tail_bytes_max: u64,
    uncommitted_bytes_max: u64,
    /// Whether replicas elect.
    auto: bool,
    /// Whether crash evidence counts.
    evidence: bool,
    planted: Planted,
    lines: Vec<String>,
}

impl Cluster {
    /// The first node's wall clock is off by `skew_ms`.
    pub(crate) fn new(
        nodes: u32,
        (tail_bytes_max, uncommitted_bytes_max): (u64, u64),
        auto: bool,
        evidence: bool,
        addresses: Addresses,
        planted: Planted,
        skew_ms: i64,
    ) -> Self {
        let mut cluster =
            Self { tail_bytes_max, uncommitted_bytes_max, auto, evidence, addresses, planted, ..Self::default() };
        for number in 1..=nodes {
            let role = if number == 1 { RoleHint::Master } else { RoleHint::Replica };
            let wall_off_ms = if number == 1 { skew_ms } else { 0 };
            cluster.servers.insert(number, Server { wall_off_ms, ..Server::new(role) });
            cluster.start(number, None);
        }
        cluster
    }

    pub(crate) fn transcript(&mut self) -> String {
        let lines = std::mem::take(&mut self.lines);
        lines.into_iter().map(|line| line + "\n").collect()
    }

    pub(crate) fn start(&mut self, number: u32, role: Option<&str>) {
        let tail_bytes_max = self.tail_bytes_max;
        let now = self.now(number);
        let auto = self.auto;
        let Some(server) = self.servers.get_mut(&number) else { return };
        let mode = if auto && !server.manual { FailoverMode::Auto } else { FailoverMode::Manual };
        server.lives += 1;
        let seed = u64::from(number) + 100 * (server.lives - 1);
        match role {
            Some("master") => server.role = RoleHint::Master,
            Some("replica") => server.role = RoleHint::Replica,
            Some(other) => panic!("unknown role {other}"),
            None => {}
        }
        let journal_config = JournalConfig {
            wal: !server.logless,
            segment_bytes_max: 64 << 10,
            reserve_bytes: 0,
            fsync: FsyncMode::Always,
            tail_bytes_max,
            planted: self.planted,
        };
        let names: Vec<String> = server.files.keys().cloned().collect();
        let files = &server.files;
        let read = |name: &str| files.get(name).map(|bytes| Bytes::from(bytes.clone())).ok_or("no such file");
        let draw = Draw { node: NodeId(u128::from(number + 100 * server.wiped)), seed };
        let recovery = recover(journal_config, &names, draw, read).expect("the disk is good");
        for op in &recovery.repairs {
            server.apply(op);
        }
        let fresh = Recovered::empty(draw.node, server.role);
        let mut recovered = recovery.recovered.unwrap_or(fresh);
        if let (Some(key), Some((meta, store))) = (server.spoilt.take(), &mut recovered.snapshot) {
            store.apply(meta.position.index, meta.log_time, &set(&key, "spoilt", None));
        }
        server.journal = Some(recovery.journal);
        let mut config = config(number, server.role, tail_bytes_max, mode, self.addresses);
        config.keeps_log = !server.logless;
        if server.never_syncs {
            config.fsync = FsyncMode::Never;
        }
        if let Some(master) = server.follows {
            config.master_address = Some(format!("n{master}:{}", network::PORT));
        }
        config.priority = server.priority;
        config.heartbeat_interval = server.heartbeat;
        config.crash_evidence = self.evidence;
        // Taken when a script asks for one alone.
        let policy = |max_snapshots| SnapshotPolicy { interval: FAR, wal_bytes: u64::MAX, max_snapshots };
        config.snapshot = server.max_snapshots.map(policy);
        config.planted = self.planted;
        config.uncommitted_bytes_max = self.uncommitted_bytes_max;
        if !server.name.is_empty() {
            config.node_name.clone_from(&server.name);
        }
        server.node = Some(Node::new(config, recovered, seed, now));
        self.turn(number, []);
    }

    /// The process is asked to end.
    pub(crate) fn stop(&mut self, number: u32) {
        self.turn(number, [Input::Shutdown]);
        let drained = self.servers.get(&number).and_then(|server| server.node.as_ref()).map(Node::is_drained);
        self.lines.push(format!("n{number} may end: {drained:?}"));
    }

    /// Its wall clock jumps.
    pub(crate) fn jump_wall(&mut self, number: u32, millis: i64) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.wall_off_ms += millis;
        }
    }

    pub(crate) fn hold(&mut self, number: u32, held: bool) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.held = held;
        }
    }

    /// Whether its promises are synced, from its next start on.
    pub(crate) fn sync_promises(&mut self, number: u32, syncs: bool) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.never_syncs = !syncs;
        }
    }

    /// Its `heartbeat_interval_ms` from its next start on, unless none is given.
    pub(crate) fn configure_heartbeat(&mut self, number: u32, millis: Option<u64>) {
        if let (Some(server), Some(millis)) = (self.servers.get_mut(&number), millis) {
            server.heartbeat = Duration::from_millis(millis);
        }
    }

    /// Its `failover.mode` from its next start on, unless none is given.
    pub(crate) fn configure_mode(&mut self, number: u32, mode: Option<&str>) {
        if let (Some(server), Some(mode)) = (self.servers.get_mut(&number), mode) {
            server.manual = mode == "manual";
        }
    }

    /// Its `failover.priority` from its next start on, unless none is given.
    pub(crate) fn configure_priority(&mut self, number: u32, priority: Option<u32>) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.priority = priority.unwrap_or(server.priority);
        }
    }

    /// How many snapshots it keeps from its next start on.
    pub(crate) fn keep_snapshots(&mut self, number: u32, max: Option<u32>) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.max_snapshots = max.or(server.max_snapshots);
        }
    }

    /// The state that its next start finds in its snapshot differs in this key.
    pub(crate) fn spoil(&mut self, number: u32, key: Option<&str>) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.spoilt = key.map(String::from);
        }
    }

    /// Who votes, as this node sees it.
    pub(crate) fn voters(&mut self, number: u32) {
        let now = Time(self.micros);
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let members = node.status(now).members;
        let voters: Vec<&str> =
            members.iter().filter(|member| member.voter).map(|member| member.name.as_str()).collect();
        self.lines.push(format!("n{number} voters {}", voters.join(" ")));
    }

    /// Where a front of this node sends a client that wants to write, without asking the node.
    pub(crate) fn front(&mut self, number: u32) {
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let leader = node.view().leader.as_ref().map_or("nobody", |leader| &leader.http).to_owned();
        self.lines.push(format!("n{number} sends clients on to {leader}"));
    }

    /// What this node says of the members.
    pub(crate) fn members(&mut self, number: u32) {
        let now = Time(self.micros);
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let members = node.status(now).members;
        self.lines.extend(members.iter().map(|member| format!("n{number} knows {}", print::member(member))));
    }

    pub(crate) fn crash(&mut self, number: u32) {
        let Some(server) = self.servers.get_mut(&number) else { return };
        server.node = None;
        server.writes.clear();
        server.inbox.clear();
        server.missed.clear();
        let ends: Vec<_> = self.pipes.iter().filter(|((at, _), _)| *at == number).map(|(a, b)| (*a, *b)).collect();
        for (here, (peer, link)) in ends {
            self.pipes.remove(&here);
            self.pipes.remove(&(peer, link));
            self.turn(peer, [Input::Link { link, change: LinkChange::Down(LinkLoss::Closed) }]);
        }
    }

    /// An empty disk under the same number: a new node.
    pub(crate) fn wipe(&mut self, number: u32) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.files.clear();
            server.wiped += 1;
        }
    }

    /// A backup: an empty disk with the newest snapshot of another node, and nothing else.
    pub(crate) fn restore(&mut self, number: u32, from: u32) {
        let newest = self.servers.get(&from).and_then(|server| {
            let mut snapshots = server.files.range("snapshot-".to_string()..);
            snapshots.rfind(|(name, _)| name.ends_with(".snap")).map(|(name, bytes)| (name.clone(), bytes.clone()))
        });
        self.wipe(number);
        if let Some(server) = self.servers.get_mut(&number) {
            server.files.extend(newest);
        }
    }

    /// A restore of another node's newest snapshot: into a cluster of this id, or into the snapshot's own.
    pub(crate) fn restore_as(&mut self, number: u32, from: u32, cluster: Option<u128>) {
        self.restore(number, from);
        let now = self.now(number).wall;
        let Some(server) = self.servers.get_mut(&number) else { return };
        let node = NodeId(u128::from(number + 100 * server.wiped));
        let Some((_, file)) = server.files.pop_first() else { return };
        let (meta, store) = SnapshotReader::read(Bytes::from(file)).expect("a good snapshot");
        let order = Order { node, cluster: cluster.map(ClusterId), spread: 0x1234_5678, now };
        for op in restored_files(restore(&meta, store, order), 1 << 18) {
            server.apply(&op);
        }
    }

    /// Its data directory is a copy of another node's.
    pub(crate) fn copy(&mut self, number: u32, from: u32) {
        let files = self.servers.get(&from).map(|server| server.files.clone()).unwrap_or_default();
        if let Some(server) = self.servers.get_mut(&number) {
            server.files = files;
        }
    }

    /// Where it looks for a master, from its next start on.
    pub(crate) fn configure_master(&mut self, number: u32, master: Option<u32>) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.follows = master.or(server.follows);
        }
    }

    /// Whether it keeps a log, from its next start on.
    pub(crate) fn keep_log(&mut self, number: u32, keeps: bool) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.logless = !keeps;
        }
    }

    /// Who this node is.
    pub(crate) fn identity(&mut self, number: u32) {
        let now = Time(self.micros);
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let status = node.status(now);
        let ready = if status.ready { "ready" } else { "not ready" };
        self.lines.push(format!(
            "n{number} is node {}, promised {}, {ready}",
            status.node,
            format_args!("{}:{}", status.epoch.number, status.epoch.leader)
        ));
    }

    /// Two nodes move: each is where the other was.
    pub(crate) fn swap_disks(&mut self, one: u32, other: u32) {
        let files = self.servers.get_mut(&one).map(|server| std::mem::take(&mut server.files)).unwrap_or_default();
        let Some(server) = self.servers.get_mut(&other) else { return };
        let files = std::mem::replace(&mut server.files, files);
        if let Some(server) = self.servers.get_mut(&one) {
            server.files = files;
        }
    }

    pub(crate) fn cut(&mut self, a: u32, b: u32) {
        self.cut.extend([(a, b), (b, a)]);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// These hands on the disk do nothing from now on.
    pub(crate) fn stop_disk(&mut self, number: u32, hands: &[Lane]) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.stopped = hands.to_vec();
        }
    }

    /// Nothing new fits the disk: what is written waits there, and the node is told.
    pub(crate) fn fill_disk(&mut self, number: u32, full: bool) {
        self.stop_disk(number, if full { &[Lane::Log, Lane::Snapshot] } else { &[] });
        self.turn(number, [Input::DiskRoom(!full)]);
    }

    /// What people call a node from its next start on.
    pub(crate) fn name(&mut self, number: u32, name: &str) {
        if let Some(server) = self.servers.get_mut(&number) {
            server.name = name.into();
        }
    }

    /// Each start of an unarmed master opens an epoch. What is said meanwhile is not told.
    pub(crate) fn restart_often(&mut self, number: u32, times: u32) {
        let before = self.lines.len();
        for _ in 0..times {
            self.crash(number);
            self.start(number, None);
            self.run(1500);
        }
        self.lines.truncate(before);
    }

    /// Delivers what is on its way to a node, in order; dials made by it included.
    pub(crate) fn deliver(&mut self, number: u32) {
        if self.is_held(number) {
            return;
        }
        self.connect(number);
        let Some(server) = self.servers.get_mut(&number) else { return };
        let waiting: Vec<_> = server.inbox.drain(..).collect();
        for (link, message) in waiting {
            self.lines.push(format!("n{number} < {}", print::message(&message)));
            self.turn(number, [Input::Message { link, message }]);
        }
        let missed = self.servers.get_mut(&number).map(|server| std::mem::take(&mut server.missed));
        if let Some(missed) = missed.filter(|missed| !missed.is_empty()) {
            self.turn(number, missed);
        }
    }

    /// Carries out what waits for a node's disk, and hands over the receipts.
    pub(crate) fn sync(&mut self, number: u32) {
        self.sync_but(number, &[]);
    }

    /// As [`Cluster::sync`], but for what waits for these hands.
    fn sync_but(&mut self, number: u32, stopped: &[Lane]) {
        let now = Time(self.micros);
        let Some(server) = self.servers.get_mut(&number) else { return };
        let waits = std::mem::take(&mut server.writes);
        let (left, batches): (Vec<_>, Vec<_>) =
            waits.into_iter().partition(|batch| stopped.contains(&batch.lane()));
        server.writes = left.into();
        if batches.is_empty() {
            return;
        }
        let ops = server.journal.as_mut().map(|journal| journal.plan(now, &batches)).unwrap_or_default();
        for op in &ops {
            server.apply(op);
        }
        let receipts: Vec<_> = batches.into_iter().map(|batch| Input::Durable(batch.durable())).collect();
        self.turn(number, receipts);
    }

    /// Delivers and syncs everything, then moves time on to each deadline within `millis`.
    pub(crate) fn run(&mut self, millis: u64) {
        let until = self.micros + millis * 1000;
        let before = self.lines.len();
        loop {
            self.settle();
            let due = self.servers.values().filter(|server| server.runs()).filter_map(|server| server.deadline);
            let progress = self.next_progress();
            let next = due.map(|time| time.0.max(self.micros + 1)).chain(progress).min().unwrap_or(until);
            if next > until {
                break;
            }
            self.micros = next;
            self.make_progress();
            for number in self.numbers().into_iter().filter(|number| !self.is_held(*number)).collect::<Vec<_>>() {
                self.turn(number, [Input::Alarm]);
            }
            if next == until {
                self.settle();
                break;
            }
        }
        self.micros = until;
        let steps: Vec<String> = self.lines.drain(before..).collect();
        let told = steps
            .into_iter()
            .filter(|line| !line.contains(" < ") && !line.contains(" > ") && !line.contains(" wal "));
        self.lines.extend(told.collect::<Vec<_>>());
    }

    pub(crate) fn status(&mut self) {
        for (number, server) in &self.servers {
            let line = match &server.node {
                Some(node) => print::status(&node.status(Time(self.micros))),
                None => "down".into(),
            };
            self.lines.push(format!("n{number} {line}"));
        }
    }

    /// What this node may not forget, and what waits for room.
    pub(crate) fn room(&mut self, number: u32) {
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let status = node.status(Time(self.micros));
        let (uncommitted, held) = (status.uncommitted_bytes, status.held_writes);
        self.lines.push(format!("n{number} has {uncommitted} bytes uncommitted, {held} writes wait"));
    }

    /// Log time as this node knows it, as a difference to the true time, and what it says of its clock.
    pub(crate) fn log_time(&mut self, number: u32) {
        let true_ms = 1_700_000_000_000 + self.micros / 1000;
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let status = node.status(Time(self.micros));
        let off = i128::from(status.log_time.0) - i128::from(true_ms);
        let members = status.members.iter().filter_map(|member| {
            let ahead = member.wall_ahead_ms.filter(|ahead| *ahead != 0)?;
            Some(format!(" {} {ahead:+} ms", member.name))
        });
        let members: String = members.collect();
        let alarms: Vec<String> = status.alarms.iter().map(ToString::to_string).collect();
        let ahead = status.wall_ahead_ms.map_or("unknown".into(), |ahead| format!("{ahead:+} ms"));
        self.lines.push(format!("n{number} log time {off:+} ms, wall {ahead}{members} {}", alarms.join(" ")));
    }

    /// How old this node says that its state is at most.
    pub(crate) fn staleness(&mut self, number: u32) {
        let now = Time(self.micros);
        let Some(node) = self.servers.get(&number).and_then(|server| server.node.as_ref()) else { return };
        let line = match node.status(now).staleness {
            Some(age) => format!("n{number} held everything {} ms ago", age.as_millis()),
            None => format!("n{number} has no proof of being current"),
        };
        self.lines.push(line);
    }

    pub(crate) fn rollback_files(&mut self, number: u32) {
        let Some(server) = self.servers.get(&number) else { return };
        for (name, bytes) in server.files.range("rollback/".to_string()..) {
            if name.ends_with(".ndjson") {
                self.lines.push(name.clone());
                self.lines.extend(String::from_utf8_lossy(bytes).lines().map(String::from));
            }
        }
    }

    /// What this node's turns have freed.
    pub(crate) fn freed(&self, number: u32) -> Freed {
        self.servers.get(&number).map(|server| server.freed).unwrap_or_default()
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            let before = self.lines.len();
            for number in self.numbers() {
                self.deliver(number);
                let works = self.servers.get(&number).filter(|server| !server.disk_rests() && !server.held);
                if let Some(stopped) = works.map(|server| server.stopped.clone()) {
                    self.sync_but(number, &stopped);
                }
            }
            let due = |(_, server): &(&u32, &Server)| server.is_due(self.micros);
            let late: Vec<u32> = self.servers.iter().filter(due).map(|(number, _)| *number).collect();
            for number in late {
                self.turn(number, [Input::Alarm]);
            }
            if self.lines.len() == before && self.idle() {
                return;
            }
        }
        let end: Vec<&String> = self.lines.iter().rev().take(30).collect();
        panic!("the cluster does not come to rest: {end:#?}");
    }

    fn idle(&self) -> bool {
        let quiet = |server: &Server| server.inbox.is_empty() && server.disk_rests() && !server.has_discarded();
        let dialled = |(number, _, _): &(u32, LinkId, String)| self.is_held(*number);
        self.dials.iter().all(dialled) && self.servers.values().all(|server| server.held || quiet(server))
    }

    fn is_held(&self, number: u32) -> bool {
        self.servers.get(&number).is_some_and(|server| server.held)
    }

    fn turn(&mut self, number: u32, inputs: impl IntoIterator<Item = Input>) {
        let now = self.now(number);
        let Some(server) = self.servers.get_mut(&number) else { return };
        if server.held {
            server.missed.extend(inputs);
            return;
        }
        let Some(node) = &mut server.node else { return };
        let mut out = Output::default();
        let before = node.freeing_work();
        server.deadline = node.turn(now, inputs, &mut out);
        let work = node.freeing_work() - before;
        server.freed.all += work;
        server.freed.most = server.freed.most.max(work);
        node.check();
        self.route(number, out);
    }

    fn route(&mut self, number: u32, out: Output) {
        for batch in out.write.into_iter().chain(out.snapshot) {
            self.lines.push(format!("n{number} wal {}", print::batch(&batch)));
            if let Some(server) = self.servers.get_mut(&number) {
                server.writes.push_back(batch);
            }
        }
        for (link, message) in out.sends {
            self.send(number, link, message);
        }
        for action in out.links {
            match action {
                LinkAction::Dial { link, address } => {
                    self.dials.push_back((number, link, address));
                }
                LinkAction::Close { link } => self.close(number, link),
            }
        }
        for (id, reply) in out.replies {
            if let Ok(Reply::Written(Written { outcome: Outcome::Set { version, .. }, .. })) = &reply {
                self.versions.insert(id.0, *version);
            }
            self.lines.push(format!("n{number} {id} {}", print::reply(&reply)));
        }
        for event in out.events {
            self.lines.push(format!("n{number} {}", print::event(&event)));
        }
    }

    fn send(&mut self, from: u32, link: LinkId, message: Message) {
        let Some((to, there)) = self.pipes.get(&(from, link)).copied() else { return };
        self.lines.push(format!("n{from} > n{to} {}", print::message(&message)));
        if self.cut.contains(&(from, to)) {
            return;
        }
        if self.keeps(from, to, there, &message) {
            return;
        }
        if let Some(server) = self.servers.get_mut(&to) {
            server.inbox.push_back((there, message));
        }
    }

    fn close(&mut self, from: u32, link: LinkId) {
        self.dials.retain(|(number, dialled, _)| (*number, *dialled) != (from, link));
        let Some((to, there)) = self.pipes.remove(&(from, link)) else { return };
        self.pipes.remove(&(to, there));
        if !self.cut.contains(&(from, to)) {
            self.deliver(to);
            self.turn(to, [Input::Link { link: there, change: LinkChange::Down(LinkLoss::Closed) }]);
        }
    }

    fn numbers(&self) -> Vec<u32> {
        self.servers.keys().copied().collect()
    }

    fn now(&self, number: u32) -> Now {
        let off_ms = self.servers.get(&number).map_or(0, |server| server.wall_off_ms);
        let wall_ms = 1_700_000_000_000 + self.micros / 1000;
        Now { mono: Time(self.micros), wall: WallMs(wall_ms.saturating_add_signed(off_ms)) }
    }
}

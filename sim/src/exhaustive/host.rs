//! A machine between two steps: its node, its disk, and what is on its way to either. Owns no step.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use synap_core::config::RoleHint;
use synap_core::ids::LinkId;
use synap_core::node::Node;
use synap_core::time::Time;
use synap_core::wal::WriteBatch;

use super::disk::Disk;

/// A machine between two steps.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) node: Option<Node>,
    pub(super) deadline: Option<Time>,
    pub(super) role: RoleHint,
    pub(super) life: u32,
    pub(super) accepted: u64,
    /// The connection and side of each link.
    pub(super) links: BTreeMap<LinkId, (u32, usize)>,
    pub(super) dials: VecDeque<(LinkId, Option<usize>)>,
    pub(super) log: VecDeque<WriteBatch>,
    pub(super) snapshots: VecDeque<WriteBatch>,
    pub(super) disk: Disk,
    pub(super) digest: u64,
}

impl Host {
    pub(super) fn new(number: usize) -> Self {
        Self {
            node: None,
            deadline: None,
            role: if number == 0 { RoleHint::Master } else { RoleHint::Replica },
            life: 0,
            accepted: 0,
            links: BTreeMap::new(),
            dials: VecDeque::new(),
            log: VecDeque::new(),
            snapshots: VecDeque::new(),
            disk: Disk::default(),
            digest: 0,
        }
    }

    /// All of it in one number.
    pub(super) fn told(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.node.as_ref().map(Node::digest), self.life, self.accepted, &self.links, &self.dials)
            .hash(&mut hasher);
        for batch in self.log.iter().chain(&self.snapshots) {
            (batch.id(), &batch.records, batch.last, batch.cut, &batch.discards, batch.files.len())
                .hash(&mut hasher);
        }
        self.disk.digest().hash(&mut hasher);
        hasher.finish()
    }
}

impl Clone for Host {
    fn clone(&self) -> Self {
        let again = |queue: &VecDeque<WriteBatch>| queue.iter().map(WriteBatch::again).collect();
        Self {
            node: self.node.clone(),
            deadline: self.deadline,
            role: self.role,
            life: self.life,
            accepted: self.accepted,
            links: self.links.clone(),
            dials: self.dials.clone(),
            log: again(&self.log),
            snapshots: again(&self.snapshots),
            disk: self.disk.clone(),
            digest: self.digest,
        }
    }
}

//! What a plan must be, so that whoever runs it need not ask again.

use super::{PLAN_VERSION, Plan, What, concern_of};
use crate::bugs::PLANTS;
use crate::coverage::MESSAGES;

/// Why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A later build wrote it.
    #[error("the script is of version {version}; this build reads up to {PLAN_VERSION}")]
    Version {
        /// As it says.
        version: u32,
    },
    /// More nodes than a run may have.
    #[error("{nodes} nodes are more than {NODES_MAX}")]
    Nodes {
        /// As asked.
        nodes: usize,
    },
    /// A fault or operation names a node that is not there.
    #[error("{what} names node {node}, and there are nodes 0 to {last}")]
    NoSuchNode {
        /// Which fault or operation, by its place in the script.
        what: String,
        /// As it says.
        node: usize,
        /// The highest.
        last: usize,
    },
    /// There is no way from a node to itself, and nothing to exchange.
    #[error("fault {number} needs two different nodes")]
    OneNode {
        /// Which fault, by its place in the script.
        number: usize,
    },
    /// No such concern.
    #[error("'{concern}' is no concern: async, local, quorum or a number of replicas")]
    Concern {
        /// As it says.
        concern: String,
    },
    /// No such kind of message.
    #[error("'{kind}' is no kind of message: {}", MESSAGES.join(", "))]
    Kind {
        /// As it says.
        kind: String,
    },
    /// Drawn clients need something to do.
    #[error("drawn clients need a key and a concern at least")]
    IdleWorkload,
    /// No such planted bug.
    #[error("no bug is called {name}; `synap-sim bugs` lists them")]
    Planted {
        /// As it says.
        name: String,
    },
}

/// The most nodes that a run may have.
const NODES_MAX: usize = 9;

impl Plan {
    /// Refuses what no run could follow.
    pub fn check(&self) -> Result<(), PlanError> {
        let nodes = self.nodes();
        if self.version > PLAN_VERSION {
            return Err(PlanError::Version { version: self.version });
        }
        if nodes > NODES_MAX {
            return Err(PlanError::Nodes { nodes });
        }
        for (number, fault) in self.faults.iter().enumerate() {
            is_there(fault.what.nodes(nodes), nodes, || format!("fault {number}"))?;
            if matches!(fault.what, What::OneWay(one, other) | What::SlowLink(one, other, _) | What::SwapDisks(one, other) | What::Restore(one, other) | What::CopyDisk(one, other) | What::EditReplica(one, other) if one == other)
            {
                return Err(PlanError::OneNode { number });
            }
        }
        for (number, operation) in self.operations.iter().enumerate() {
            is_there(vec![usize::from(operation.node)], nodes, || format!("operation {number}"))?;
        }
        for own in &self.knobs.own {
            is_there(vec![usize::from(own.node)], nodes, || "a node's own settings".to_owned())?;
        }
        let knobs = &self.knobs;
        let lists = [
            ("unaddressed", &knobs.unaddressed),
            ("misaddressed", &knobs.misaddressed),
            ("proxied", &knobs.proxied),
        ];
        for (name, list) in lists {
            is_there(list.iter().copied().map(usize::from).collect(), nodes, || name.to_owned())?;
        }
        is_there(knobs.heartbeats_ms.keys().copied().map(usize::from).collect(), nodes, || {
            "heartbeats_ms".to_owned()
        })?;
        let misplaced = knobs.misplaced.iter().flat_map(|(node, other)| [*node, *other]);
        is_there(misplaced.map(usize::from).collect(), nodes, || "misplaced".to_owned())?;
        if let Some(kind) = self.network.delays.keys().find(|kind| !MESSAGES.contains(&kind.as_str())) {
            return Err(PlanError::Kind { kind: kind.clone() });
        }
        let workload = &self.workload;
        if workload.clients > 0 && (workload.keys == 0 || workload.concerns.is_empty()) {
            return Err(PlanError::IdleWorkload);
        }
        if let Some(concern) = workload.concerns.iter().find(|concern| concern_of(concern).is_none()) {
            return Err(PlanError::Concern { concern: concern.clone() });
        }
        match &self.planted {
            Some(name) if PLANTS.iter().all(|plant| plant.name != name) => {
                Err(PlanError::Planted { name: name.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn is_there(named: Vec<usize>, nodes: usize, what: impl Fn() -> String) -> Result<(), PlanError> {
    match named.into_iter().find(|node| *node >= nodes) {
        Some(node) => Err(PlanError::NoSuchNode { what: what(), node, last: nodes - 1 }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(yaml: &str) -> String {
        let plan: Plan = serde_yaml::from_str(yaml).expect("it is a plan");
        plan.check().map_or_else(|error| error.to_string(), |()| "taken".to_owned())
    }

    #[test]
    fn what_no_run_could_follow_is_refused_with_its_place() {
        assert_eq!(refused("faults: [{at_ms: 1, what: !kill 1}]"), "taken");
        assert_eq!(
            refused("faults: [{at_ms: 1, what: !kill 3}]"),
            "fault 0 names node 3, and there are nodes 0 to 2"
        );
        assert_eq!(refused("faults: [{at_ms: 1, what: !one_way [1, 1]}]"), "fault 0 needs two different nodes");
        assert_eq!(refused("faults: [{at_ms: 1, what: !swap_disks [2, 2]}]"), "fault 0 needs two different nodes");
        assert_eq!(
            refused("operations: [{at_us: 1, node: 7, ask: get k}]"),
            "operation 0 names node 7, and there are nodes 0 to 2"
        );
        assert_eq!(refused("replicas: 40"), "41 nodes are more than 9");
        assert_eq!(
            refused("version: 9999"),
            format!("the script is of version 9999; this build reads up to {PLAN_VERSION}")
        );
        assert_eq!(refused("workload: {keys: 0}"), "drawn clients need a key and a concern at least");
        assert_eq!(
            refused("workload: {concerns: [most]}"),
            "'most' is no concern: async, local, quorum or a number of replicas"
        );
        assert!(
            refused("network: {delays: {shout: 3}}").starts_with("'shout' is no kind of message: beat, append,")
        );
        assert_eq!(refused("planted: millipede"), "no bug is called millipede; `synap-sim bugs` lists them");
    }
}

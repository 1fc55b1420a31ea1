//! The commit rule: how far a set of voters has made the log durable.

use alloc::vec::Vec;

use crate::ids::NodeId;
use crate::position::Index;

/// The last index that a majority of `voters` holds on disk. Unarmed, the master is the only voter.
pub fn commit_point(voters: &[NodeId], durable: impl Fn(NodeId) -> Index) -> Index {
    let mut held: Vec<Index> = voters.iter().map(|voter| durable(*voter)).collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    held.get(voters.len() / 2).copied().unwrap_or(Index::ZERO)
}

/// The last index that at least `count` of the given disks hold; none if there are fewer.
pub fn held_by(count: usize, durable: impl Iterator<Item = Index>) -> Option<Index> {
    let mut held: Vec<Index> = durable.collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    held.get(count.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_voter_commits_by_its_own_disk() {
        assert_eq!(commit_point(&[NodeId(1)], |_| Index(7)), Index(7));
    }

    #[test]
    fn a_majority_holds_what_is_committed() {
        let disks = [Index(9), Index(4), Index(6)];
        let at = |node: NodeId| disks[usize::try_from(node.0).unwrap_or(0)];
        assert_eq!(commit_point(&[NodeId(0), NodeId(1), NodeId(2)], at), Index(6));
        assert_eq!(commit_point(&[NodeId(0), NodeId(1)], at), Index(4));
        assert_eq!(commit_point(&[], at), Index::ZERO);
    }

    #[test]
    fn as_many_disks_as_asked_hold_it() {
        let disks = [Index(9), Index(4), Index(6)];
        assert_eq!(held_by(1, disks.into_iter()), Some(Index(9)));
        assert_eq!(held_by(3, disks.into_iter()), Some(Index(4)));
        assert_eq!(held_by(4, disks.into_iter()), None);
    }
}

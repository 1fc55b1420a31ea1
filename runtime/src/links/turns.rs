//! How often each address was dialled. A name may stand for several nodes: each dial begins with the next one, so that none
//! of them hides the others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Addresses that are told apart; those beyond begin with their first place each time.
const ADDRESSES_MAX: usize = 256;

/// Counts dials.
#[derive(Debug, Default)]
pub(super) struct Turns {
    dials: Mutex<BTreeMap<String, usize>>,
}

impl Turns {
    /// The turn of the next dial.
    pub(super) fn next(&self, address: &str) -> usize {
        let mut dials = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = dials.get_mut(address) {
            *turn = turn.wrapping_add(1);
            return *turn;
        }
        if dials.len() < ADDRESSES_MAX {
            dials.insert(address.to_owned(), 0);
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_turns_of_its_own() {
        let turns = Turns::default();
        let taken: Vec<usize> = ["a:1", "a:1", "b:1", "a:1"].iter().map(|address| turns.next(address)).collect();
        assert_eq!(taken, [0, 1, 0, 2]);
    }
}

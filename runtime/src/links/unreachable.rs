//! The log of addresses that this node dials in vain: one line at first and when the cause changes, then one whenever
//! the count has grown tenfold, and one when it is reached after all. What it means is the node's affair.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

/// Addresses that are told apart; those beyond are not told.
const ADDRESSES_MAX: usize = 256;

/// Counts dials that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    addresses: Mutex<BTreeMap<String, Vain>>,
}

/// Dials of one address since it was reached last.
#[derive(Debug)]
struct Vain {
    count: u64,
    cause: String,
}

impl Unreachable {
    /// A dial failed.
    pub(super) fn failed(&self, address: &str, cause: &dyn Display) {
        if let Some(count) = self.count(address, cause.to_string()) {
            tracing::warn!(address, dials = count, "another node cannot be reached: {cause}");
        }
    }

    /// A dial went through.
    pub(super) fn reached(&self, address: &str) {
        let vain = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
        if let Some(Vain { count, cause: _ }) = vain {
            tracing::info!(address, dials = count, "another node is reached again");
        }
    }

    /// How many there were, if that is to be told.
    fn count(&self, address: &str, cause: String) -> Option<u64> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vain) = addresses.get_mut(address) {
            let is_new = vain.cause != cause;
            vain.cause = cause;
            vain.count += 1;
            let tenfold = vain.count.ilog10() != (vain.count - 1).ilog10();
            return (is_new || tenfold).then_some(vain.count);
        }
        let room = addresses.len() < ADDRESSES_MAX;
        room.then(|| addresses.insert(address.to_owned(), Vain { count: 1, cause }));
        room.then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(unreachable: &Unreachable, cause: &str) -> Option<u64> {
        unreachable.count("a:1", cause.to_owned())
    }

    #[test]
    fn the_first_is_told_and_each_tenfold_and_each_new_cause() {
        let unreachable = Unreachable::default();
        let all: Vec<u64> = (0..100).filter_map(|_| told(&unreachable, "refused")).collect();
        assert_eq!(all, [1, 10, 100]);
        assert_eq!(told(&unreachable, "no such name"), Some(101));
        unreachable.reached("a:1");
        assert_eq!(told(&unreachable, "no such name"), Some(1));
    }

    #[test]
    fn no_more_addresses_are_kept_than_are_told() {
        let unreachable = Unreachable::default();
        for number in 0..ADDRESSES_MAX {
            assert!(unreachable.count(&number.to_string(), "refused".to_owned()).is_some());
        }
        assert_eq!(told(&unreachable, "refused"), None);
    }
}

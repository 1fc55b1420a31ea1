//! Takes parts out of a list (delta debugging): large parts first, then smaller ones, down to single items.

/// Offers ever shorter lists to `works`, and goes on from each that does. The last that worked is known to the caller.
pub(super) fn fewer<T: Clone>(items: Vec<T>, mut works: impl FnMut(&[T]) -> bool) {
    if items.is_empty() || works(&[]) {
        return;
    }
    let mut items = items;
    let mut part = items.len().div_ceil(2);
    loop {
        let before = items.len();
        items = without_parts(items, part, &mut works);
        match (part, items.len() < before) {
            // Single items: as long as one goes, another may.
            (1, true) => {}
            (1, false) => return,
            (_, _) => part = part.div_ceil(2),
        }
    }
}

/// Tries to take out each part of this length, from the end: late things are often only consequences.
fn without_parts<T: Clone>(items: Vec<T>, part: usize, works: &mut impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut items = items;
    let mut end = items.len();
    while end > 0 {
        let start = end.saturating_sub(part);
        if items.len() > end - start {
            let rest = [&items[..start], &items[end..]].concat();
            if works(&rest) {
                items = rest;
            }
        }
        end = start;
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest list found, and the number of lists tried.
    fn shortest(items: Vec<u32>, works: impl Fn(&[u32]) -> bool) -> (Vec<u32>, u32) {
        let (mut best, mut tried) = (items.clone(), 0);
        fewer(items, |offered| {
            tried += 1;
            let good = works(offered);
            if good {
                best = offered.to_vec();
            }
            good
        });
        (best, tried)
    }

    #[test]
    fn only_what_is_needed_stays() {
        let needs = |list: &[u32]| [3, 500, 977].iter().all(|needed| list.contains(needed));
        let (best, tried) = shortest((0..1000).collect(), needs);
        assert_eq!(best, [3, 500, 977]);
        assert!(tried < 120, "{tried} lists for three of a thousand");
    }

    #[test]
    fn what_is_not_needed_at_all_goes_at_once() {
        assert_eq!(shortest((0..1000).collect(), |_| true), (vec![], 1));
    }

    #[test]
    fn what_only_works_together_stays_together() {
        let all = |list: &[u32]| list.len() == 5;
        assert_eq!(shortest((0..5).collect(), all).0, [0, 1, 2, 3, 4]);
        assert_eq!(shortest(vec![], |_| true), (vec![], 0));
    }
}

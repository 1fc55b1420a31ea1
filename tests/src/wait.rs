//! Waiting for conditions. A test never sleeps for a length of time and hopes: it waits for what it needs, with
//! a deadline so generous that only a fault reaches it.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until `look` gives something; panics with `what` if it does not within [`DEADLINE`].
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_or(|| what.to_owned(), look)
}

/// As [`until`], with a text that is made only when it is needed.
#[track_caller]
pub fn until_or<T>(what: impl FnOnce() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if begin.elapsed() > DEADLINE {
            panic!("waited {} s in vain: {}", DEADLINE.as_secs(), what());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Polls until `holds`.
#[track_caller]
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

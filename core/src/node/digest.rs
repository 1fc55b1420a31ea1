//! One number for all that decides what a node will do, so that a search over states knows one that it has seen.
//! Nothing in production asks for it.

use core::fmt::{self, Write as _};
use core::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

use crate::node::Node;

impl Node {
    /// Equal for nodes that will do the same with the same inputs. What only reports (counters, causes for people,
    /// the published view) and what never changes (configuration, addresses) is left out.
    pub fn digest(&self) -> u64 {
        let Self {
            config: _,
            id,
            own_address,
            me: _,
            as_leader: _,
            cluster,
            promised,
            process: _,
            rng,
            now,
            log,
            store,
            applied,
            committed,
            durable,
            hands,
            draft,
            role,
            ballot,
            odds,
            refusals,
            pausing,
            changes,
            switching,
            held_writes,
            links,
            held,
            contests,
            looks_for_first,
            repair,
            needs_snapshot,
            rolled_back_after,
            cut_on_disk,
            snapshots,
            timekeeping: _,
            sweeping,
            lag_marks,
            contacts: _,
            freshness,
            waiters,
            reads,
            linearizing,
            counters: _,
            flags,
            room,
            shown,
            told_heartbeat: _,
            told_voters: _,
            ignored_role: _,
            why: _,
            outline: _,
            discarded: _,
            coverage: _,
            dials: _,
        } = self;
        let mut sink = Sink(Xxh3::new());
        (id, cluster, promised, rng.get_word_pos(), now.mono).hash(&mut sink.0);
        (log, applied, committed, durable, hands, self.told_log_time()).hash(&mut sink.0);
        (
            ballot,
            odds,
            refusals,
            pausing,
            changes,
            needs_snapshot,
            rolled_back_after,
            cut_on_disk,
            lag_marks,
            freshness,
            flags,
        )
            .hash(&mut sink.0);
        (store.hash().0, shown, sweeping).hash(&mut sink.0);
        // What has no hash of its own is known by its printed form. The sink takes everything.
        let _ = write!(sink, "{draft:?}{role:?}{switching:?}{held_writes:?}{links:?}{held:?}{repair:?}{room:?}");
        let _ = write!(
            sink,
            "{snapshots:?}{waiters:?}{reads:?}{linearizing:?}{own_address:?}{contests:?}{looks_for_first:?}"
        );
        sink.0.finish()
    }
}

/// Hashes what is printed into it.
struct Sink(Xxh3);

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

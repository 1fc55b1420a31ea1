//! What every role shares: the log of this node, what of it is on disk, by which rule it commits, and the time that it stamps.

pub(in crate::node) mod append;
pub(in crate::node) mod commit_rule;
pub(in crate::node) mod cut_on_disk;
pub(in crate::node) mod durable;
pub(in crate::node) mod log_time;

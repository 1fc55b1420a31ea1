//! Elections, which need automatic failover to be armed: when a replica campaigns, what a candidate does, what a voter grants and for
//! how long it keeps its word. A mastership that was won begins in [`crate::node::leader`].

pub(in crate::node) mod candidate;
pub(in crate::node) mod crash_detection;
pub(in crate::node) mod last_resort;
pub(in crate::node) mod pause;
pub(in crate::node) mod voter;

//! What a node says of itself and of the others.

pub(in crate::node) mod lag;
pub(in crate::node) mod members;
pub(in crate::node) mod report;

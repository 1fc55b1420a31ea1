//! What the disk allows: how much room is left, and whether it does anything at all.

pub(in crate::node) mod hanging;
pub(in crate::node) mod space;

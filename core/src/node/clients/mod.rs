//! The door for clients and operators, and who of them waits for what.

pub(in crate::node) mod held;
pub(in crate::node) mod pending;
pub(in crate::node) mod read_index;
pub(in crate::node) mod writes;

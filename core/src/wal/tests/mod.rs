//! Tests of the log: codec, journal and recovery.

pub(crate) mod arbitrary;
mod crashes;
mod damage;
mod disk;
mod forged;
pub(crate) mod golden;
mod model;
mod mutations;
mod plans;
mod records;
mod restore;

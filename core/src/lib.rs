//! The pure core of synap: a state machine that holds every decision of a replicated key-value server, and
//! touches no world. Time, bytes and durability receipts go in; messages, disk writes and answers come out as
//! plain data. `(config, recovered, seed, inputs)` fixes every bit of the output.
//!
//! The one door is [`node::Node::turn`]. Read on in [`input`], [`output`], [`message`] and [`wal`].

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![cfg_attr(not(test), warn(clippy::float_arithmetic, clippy::cast_possible_truncation))]

extern crate alloc;

pub mod codec;
pub mod command;
pub mod config;
pub mod coverage;
pub mod event;
#[cfg(test)]
mod golden;
pub mod history;
pub mod ids;
pub mod input;
pub mod lines;
pub mod log;
pub mod message;
pub mod node;
pub mod output;
pub mod planted;
pub mod position;
pub mod promise;
pub mod quorum;
pub mod recovered;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod time;
pub mod version;
pub mod view;
pub mod wal;
pub mod wire;

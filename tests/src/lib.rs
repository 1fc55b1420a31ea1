//! What the end-to-end tests stand on: real `synap` processes with ephemeral ports and temporary data
//! directories, a plain HTTP client, loads, recorded histories, metrics and signals. Owns no expectation about synap
//! itself: those stand in `tests/tests/`, one file per promise.

pub mod binary;
pub mod clients;
pub mod clocks;
pub mod cluster;
pub mod document;
pub mod hanging;
pub mod history;
pub mod http;
pub mod load;
pub mod metrics;
pub mod networks;
pub mod outcomes;
pub mod ports;
pub mod proxy;
pub mod server;
pub mod shell;
mod shim;
pub mod small_disk;
pub mod wait;

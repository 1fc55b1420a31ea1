//! Deterministic simulation of synap: a modelled disk, simulated networks, plans drawn from seeds, and oracles
//! that know every invariant by its number.
//!
//! Seed -> plan -> run. A seed draws an explicit plan; the run follows the plan; the oracles watch. See
//! `docs/simulation.md`.

#[cfg(not(tokio_unstable))]
compile_error!("the simulator needs `--cfg tokio_unstable` (see .cargo/config.toml): only then is tokio seeded");

pub mod bugs;
pub mod cli;
mod clock;
pub mod coverage;
pub mod dice;
pub mod disk;
pub mod exhaustive;
pub mod fast;
pub mod linear;
pub mod model;
mod operator;
pub mod oracle;
mod panics;
pub mod plan;
pub mod recording;
pub mod run;
pub mod script;
pub mod shrink;
pub mod trace;
pub mod turmoil;
pub mod view;
mod workload;

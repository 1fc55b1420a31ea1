//! The `synap-sim` program; see [`synap_sim::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A run makes and drops a world: a sixth of its time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(synap_sim::cli::main())
}

//! The `synap-sim` program; see [`synap_sim::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(synap_sim::cli::main())
}

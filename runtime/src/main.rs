//! The `synap` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    synap_runtime::cli::run()
}

//! The binary under test: built once per test process, with the profile that the test itself was built with.
//! Never with the simulator's features: `cargo test --workspace` unifies them, the server's own build does not.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `synap` binary. `SYNAP_BIN` names another one, which is then taken as it is.
pub fn synap() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("SYNAP_BIN").map_or_else(build, PathBuf::from))
}

/// The repository's root.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the crate lies in the repository").to_path_buf()
}

/// `cargo build` is asked every time, since only cargo knows whether the binary is stale.
fn build() -> PathBuf {
    let directory = profile_directory();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "synap-runtime", "--bin", "synap", "--profile", profile])
        .arg("--target-dir")
        .arg(directory.parent().expect("a profile's directory lies in the target directory"))
        .current_dir(repository())
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the synap binary does not build");
    directory.join("synap")
}

/// `target/debug` for `target/debug/deps/guide-0123456789abcdef`.
fn profile_directory() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let deps = test.parent().expect("an executable lies in a directory");
    deps.parent().expect("tests are built into `deps`").to_path_buf()
}

//! Shared objects that change what the C library does for one process: compiled with `cc` and loaded before it. The product
//! knows nothing of them.

use std::fs;
use std::process::Command;

use crate::server::Server;

/// Puts one under a server that is not started yet; false, with a word on why, where there is no C compiler.
pub(crate) fn put_under(server: &mut Server, name: &str, source: &str) -> bool {
    let (code, shim) = (server.directory.join(format!("{name}.c")), server.directory.join(format!("{name}.so")));
    fs::write(&code, source).expect("a file can be written");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(&code).arg("-ldl").status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no `cc` that makes a shared object");
        return false;
    }
    server.environment.push(("LD_PRELOAD".to_owned(), shim.display().to_string()));
    true
}

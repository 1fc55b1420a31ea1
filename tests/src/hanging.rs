//! A disk that hangs or fails when a test says so: `fdatasync` of one process.

use std::fs;
use std::path::PathBuf;

use crate::server::Server;
use crate::shim;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd) {
    static int (*real)(int);
    const char *hangs = getenv("HANGS_WHILE"), *fails = getenv("FAILS_WHILE");
    while (hangs && access(hangs, F_OK) == 0 && !(fails && access(fails, F_OK) == 0)) usleep(2000);
    if (fails && access(fails, F_OK) == 0) { errno = EIO; return -1; }
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
"#;

/// The disk of one server.
#[derive(Debug)]
pub struct HangingDisk {
    hangs: PathBuf,
    fails: PathBuf,
}

impl HangingDisk {
    /// Puts it under a server that is not started yet; none, with a word on why, where there is no C compiler.
    pub fn under(server: &mut Server) -> Option<Self> {
        if !shim::put_under(server, "hanging", SHIM) {
            return None;
        }
        let disk = Self { hangs: server.directory.join("hangs"), fails: server.directory.join("fails") };
        for (name, path) in [("HANGS_WHILE", &disk.hangs), ("FAILS_WHILE", &disk.fails)] {
            server.environment.push((name.to_owned(), path.display().to_string()));
        }
        Some(disk)
    }

    /// From now on no sync ends.
    pub fn hang(&self) {
        fs::write(&self.hangs, "").expect("a file can be written");
    }

    /// All goes on.
    pub fn go_on(&self) {
        fs::remove_file(&self.hangs).expect("it hung");
    }

    /// From now on every sync fails, those that hang among them.
    pub fn fail(&self) {
        fs::write(&self.fails, "").expect("a file can be written");
    }
}

//! A wall clock that is wrong: `clock_gettime` of one process. Monotonic clocks stay as they are.

use crate::server::Server;
use crate::shim;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    const char *ahead = getenv("CLOCK_AHEAD_SECS");
    if (!failed && clock == CLOCK_REALTIME && ahead) at->tv_sec += atol(ahead);
    return failed;
}
"#;

/// Sets the wall clock of a server that is not started yet ahead; false, with a word on why, where there is no C compiler.
pub fn set_ahead(server: &mut Server, seconds: i64) -> bool {
    server.environment.push(("CLOCK_AHEAD_SECS".to_owned(), seconds.to_string()));
    shim::put_under(server, "clocks", SHIM)
}

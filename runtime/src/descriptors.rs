//! File descriptors: each connection takes one, and so does each file. The limit that a shell or a unit gives the process is raised as
//! far as it may be, and clients get what the server does not need itself, so that no number of them keeps a file from being opened.

use std::io;

/// What the server keeps for itself: files that are open or looked at, links to and from other nodes, connections that are being turned
/// away or that linger, standard streams and sockets that listen.
const KEPT: u64 = 384;

/// Clients that are served in any case.
const CLIENTS_MIN: u64 = 16;

/// Raises the process's limit as far as it may and returns it; none where the system tells no limit.
#[cfg(target_os = "linux")]
pub fn raise() -> io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum)
}

/// Raises the process's limit as far as it may and returns it; none where the system tells no limit.
#[cfg(not(target_os = "linux"))]
pub fn raise() -> io::Result<Option<u64>> {
    Ok(None)
}

/// Most client connections at once, of those that are `wanted`, in a process that may have `limit` descriptors.
pub fn connections(wanted: usize, limit: Option<u64>) -> usize {
    let most = limit.map_or(u64::MAX, |limit| limit.saturating_sub(KEPT).max(CLIENTS_MIN));
    wanted.min(usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_server_does_not_need() {
        assert_eq!(connections(10_000, None), 10_000);
        assert_eq!(connections(10_000, Some(1 << 20)), 10_000);
        assert_eq!(connections(10_000, Some(1024)), 640);
        assert_eq!(connections(10_000, Some(100)), 16);
        assert_eq!(connections(5, Some(100)), 5);
    }
}

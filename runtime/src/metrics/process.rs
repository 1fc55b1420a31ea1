//! The standard `process_*` metrics, from `/proc`. Where there is no `/proc` they are absent.

use std::fs;

use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};
use crate::logging;

/// Linux counts CPU time for user space in hundredths of a second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the system tells of this process.
pub(super) fn families() -> Vec<MetricFamily> {
    let mut all = Vec::new();
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        all.push(counter("process_cpu_seconds_total", "CPU time spent, in seconds", stat.cpu_seconds));
        all.push(gauge("process_virtual_memory_bytes", "Virtual memory, in bytes", stat.virtual_bytes));
        all.push(gauge("process_threads", "Threads", stat.threads));
        let boot = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time);
        all.extend(boot.map(|boot| {
            let start = boot + stat.started_seconds;
            gauge("process_start_time_seconds", "Start, in seconds since the Unix epoch", start)
        }));
    }
    let resident = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes);
    all.extend(resident.map(|bytes| gauge("process_resident_memory_bytes", "Resident memory, in bytes", bytes)));
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    // One of them is the directory that is being read.
    all.extend(open.map(|open| gauge("process_open_fds", "Open files", open.saturating_sub(1) as f64)));
    let max = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(max_open);
    all.extend(max.map(|max| gauge("process_max_fds", "Most files that may be open", max)));
    let lost = logging::lines_lost() as f64;
    all.push(counter("synap_log_lines_lost_total", "Lines of the log that could not be written", lost));
    all
}

/// The fields of `/proc/self/stat` that are shown (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    started_seconds: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: field(20)?,
            started_seconds: field(22)? / TICKS_PER_SECOND,
            virtual_bytes: field(23)?,
        })
    }
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn max_open(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_skipped() {
        let text = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 7 0 1234 5678592 99 0";
        let stat = Stat { cpu_seconds: 3.0, threads: 7.0, started_seconds: 12.34, virtual_bytes: 5_678_592.0 };
        assert_eq!(Stat::parse(text), Some(stat));
    }

    #[test]
    fn lines_are_found() {
        assert_eq!(resident_bytes("VmSize:\t 9 kB\nVmRSS:\t  12 kB\n"), Some(12288.0));
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000.0));
        assert_eq!(max_open("Max open files            1024                 4096       files"), Some(1024.0));
    }
}

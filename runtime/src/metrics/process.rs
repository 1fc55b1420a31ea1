//! The standard `process_*` metrics, from `/proc`. Where there is no `/proc` they are absent.
//!
//! Not by the collector of `prometheus`: that counts CPU time in whole seconds, which makes its rate over a scrape interval a guess.

use prometheus::proto::MetricFamily;

use super::family::counter;
use crate::logging;

/// What the system tells of this process, and what its log has lost.
pub(super) fn families() -> Vec<MetricFamily> {
    let mut all = system::families();
    let lost = logging::lines_lost() as f64;
    all.push(counter("synap_log_lines_lost_total", "Lines of the log that could not be written", lost));
    all
}

#[cfg(target_os = "linux")]
mod system {
    use procfs::process::{LimitValue, Process};
    use prometheus::proto::MetricFamily;

    use super::super::family::{counter, gauge};

    pub(super) fn families() -> Vec<MetricFamily> {
        Process::myself().map(|process| of(&process)).unwrap_or_default()
    }

    /// What cannot be read is left out.
    fn of(process: &Process) -> Vec<MetricFamily> {
        let mut all = Vec::new();
        let ticks_per_second = procfs::ticks_per_second() as f64;
        if let Ok(stat) = process.stat() {
            let spent = (stat.utime + stat.stime) as f64 / ticks_per_second;
            all.push(counter("process_cpu_seconds_total", "CPU time spent, in seconds", spent));
            all.push(gauge("process_virtual_memory_bytes", "Virtual memory, in bytes", stat.vsize as f64));
            all.push(gauge("process_threads", "Threads", stat.num_threads as f64));
            let resident = (stat.rss * procfs::page_size()) as f64;
            all.push(gauge("process_resident_memory_bytes", "Resident memory, in bytes", resident));
            if let Ok(boot) = procfs::boot_time_secs() {
                let start = boot as f64 + stat.starttime as f64 / ticks_per_second;
                let help = "Start, in seconds since the Unix epoch";
                all.push(gauge("process_start_time_seconds", help, start));
            }
        }
        if let Ok(open) = process.fd_count() {
            all.push(gauge("process_open_fds", "Open files", open as f64));
        }
        if let Ok(LimitValue::Value(max)) = process.limits().map(|limits| limits.max_open_files.soft_limit) {
            all.push(gauge("process_max_fds", "Most files that may be open", max as f64));
        }
        all
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn families() -> Vec<prometheus::proto::MetricFamily> {
        Vec::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_standard_metrics_are_there() {
        let families = families();
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            let metric = &family.unwrap_or_else(|| panic!("{name} is missing")).get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..100_000.0).contains(&age), "{age}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let resident = value("process_resident_memory_bytes");
        assert!(resident > 1e5 && resident < value("process_virtual_memory_bytes"), "{resident}");
    }
}

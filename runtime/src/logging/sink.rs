//! Where lines end: each gets its time and, if others like it were left out, their number. What cannot be written is counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::repeats::{Due, Repeats};
use crate::settings::LogFormat;

/// Writes lines to `to`, and never fails.
#[derive(Debug)]
pub(super) struct Sink<W: Write> {
    to: W,
    format: LogFormat,
    repeats: Repeats,
    lost: &'static AtomicU64,
}

impl<W: Write> Sink<W> {
    /// A sink that adds to `lost` what cannot be written.
    pub(super) fn new(to: W, format: LogFormat, lost: &'static AtomicU64) -> Self {
        Self { to, format, repeats: Repeats::default(), lost }
    }

    fn put(&mut self, due: &Due) {
        let line = match self.format {
            LogFormat::Text => text(due),
            LogFormat::Json => json(due),
        };
        if self.to.write_all(&line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<W: Write> Write for Sink<W> {
    /// Takes one line; `tracing-subscriber` writes each with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for due in self.repeats.take(line.trim_ascii(), Instant::now()) {
            self.put(&due);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What cannot be flushed was lost; standard error keeps nothing back.
        let _ = self.to.flush();
        Ok(())
    }
}

impl<W: Write> Drop for Sink<W> {
    fn drop(&mut self) {
        for due in self.repeats.finish() {
            self.put(&due);
        }
    }
}

/// `2026-01-02T03:04:05.678901Z  INFO what happened (left out 7 like it)`
fn text(due: &Due) -> Vec<u8> {
    let mut whole = now().into_bytes();
    whole.push(b' ');
    // Levels are padded to five letters.
    if due.line.starts_with(b"INFO") || due.line.starts_with(b"WARN") {
        whole.push(b' ');
    }
    whole.extend_from_slice(&due.line);
    if due.left_out > 0 {
        whole.extend_from_slice(format!(" (left out {} like it)", due.left_out).as_bytes());
    }
    whole.push(b'\n');
    whole
}

/// `{"timestamp":"2026-01-02T03:04:05.678901Z","left_out":7,"level":"INFO",...}`
fn json(due: &Due) -> Vec<u8> {
    let mut whole = format!("{{\"timestamp\":\"{}\",", now()).into_bytes();
    if due.left_out > 0 {
        whole.extend_from_slice(format!("\"left_out\":{},", due.left_out).as_bytes());
    }
    whole.extend_from_slice(due.line.strip_prefix(b"{").unwrap_or(&due.line));
    whole.push(b'\n');
    whole
}

fn now() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_time(line: &str) -> &str {
        line.split_once('Z').map_or(line, |(_, rest)| rest)
    }

    static LOST: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn lines_get_their_time_and_a_count() {
        let mut written = Vec::new();
        let mut sink = Sink::new(&mut written, LogFormat::Text, &LOST);
        for _ in 0..3 {
            sink.write_all(b" INFO here\n").unwrap();
        }
        drop(sink);
        let written = String::from_utf8(written).unwrap();
        let lines: Vec<&str> = written.lines().map(without_time).collect();
        assert_eq!(lines, ["  INFO here", "  INFO here (left out 2 like it)"]);
    }

    #[test]
    fn objects_stay_objects() {
        let mut written = Vec::new();
        let mut sink = Sink::new(&mut written, LogFormat::Json, &LOST);
        for _ in 0..3 {
            sink.write_all(b"{\"level\":\"INFO\"}\n").unwrap();
        }
        drop(sink);
        let written = String::from_utf8(written).unwrap();
        let lines: Vec<serde_json::Value> =
            written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0]["timestamp"].is_string() && lines[0]["left_out"].is_null());
        assert_eq!((&lines[1]["level"], &lines[1]["left_out"]), (&"INFO".into(), &2.into()));
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        static COUNTED: AtomicU64 = AtomicU64::new(0);
        let mut sink = Sink::new(Broken, LogFormat::Text, &COUNTED);
        sink.write_all(b"here\n").unwrap();
        sink.write_all(b"there\n").unwrap();
        sink.flush().unwrap();
        assert_eq!(COUNTED.load(Ordering::Relaxed), 2);
    }
}

//! A closed-loop load: a few threads that each write one fresh key after the other and remember what they were
//! told. What was answered with 200 is acknowledged; whatever else happened to a write leaves it open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Client;
use crate::server::Server;
use crate::wait;

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Book>>,
}

/// What was written, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// Told to be written, with the value.
    pub acknowledged: BTreeMap<String, String>,
    /// Sent and not told, or told that it is open.
    pub open: BTreeMap<String, String>,
}

impl Load {
    /// Writes with `threads` threads to `server` at `concern`. Keys begin with `prefix`.
    pub fn start(server: &Server, threads: usize, prefix: &str, concern: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let threads = (0..threads)
            .map(|number| {
                let writer = Writer {
                    client: server.client().patience(Duration::from_secs(10)),
                    path: format!("/kv/set?concern={concern}"),
                    prefix: format!("{prefix}-{number}"),
                    stop: stop.clone(),
                    acknowledged: acknowledged.clone(),
                };
                thread::spawn(move || writer.run())
            })
            .collect();
        Self { stop, acknowledged, threads }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` further writes are acknowledged.
    #[track_caller]
    pub fn await_more(&self, more: u64) {
        let goal = self.acknowledged() + more;
        wait::until_true("writes are acknowledged under load", || self.acknowledged() >= goal);
    }

    /// Ends it; what it wrote.
    pub fn stop(self) -> Book {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Book::default();
        for thread in self.threads {
            all.add(thread.join().expect("a writer does not panic"));
        }
        all
    }
}

impl Book {
    /// Adds another book.
    pub fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.open.extend(other.open);
    }

    /// Those acknowledged keys that `server` does not hold with their value.
    #[track_caller]
    pub fn missing(&self, server: &Server) -> Vec<String> {
        let mut missing = Vec::new();
        let entries: Vec<(&String, &String)> = self.acknowledged.iter().collect();
        for part in entries.chunks(500) {
            let keys: Vec<&String> = part.iter().map(|(key, _)| *key).collect();
            let values = server.post("/kv/mget", &json!({ "keys": keys })).with(200).json();
            for ((key, expected), found) in
                part.iter().zip(values["values"].as_array().expect("mget gives values"))
            {
                if found != &Value::String((*expected).clone()) {
                    missing.push((*key).clone());
                }
            }
        }
        missing
    }
}

struct Writer {
    client: Client,
    path: String,
    prefix: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self) -> Book {
        let mut book = Book::default();
        let mut number = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let (key, value) = (format!("{}-{number}", self.prefix), format!("value {number}"));
            match self.client.post(&self.path, &json!({ "key": key, "value": value })) {
                Ok(response) if response.status == 200 => {
                    book.acknowledged.insert(key, value);
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) | Err(_) => {
                    book.open.insert(key, value);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        book
    }
}

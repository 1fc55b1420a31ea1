//! A load that outlives masters: clients that go from server to server until one takes their write, and then read it
//! back from another one, linearizably. What was answered must be there, at once and ever after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::{Client, Response};
use crate::load::Book;
use crate::wait;

/// A server that says nothing for this long is left for another; what it was asked stays open.
const PATIENCE: Duration = Duration::from_secs(2);

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Roaming {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    read_back: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What the clients of a load saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What was written.
    pub book: Book,
    /// Linearizable reads that were answered without a write that had been answered before them.
    pub lost_reads: Vec<String>,
}

impl Roaming {
    /// Writes at `quorum` with `threads` clients, each key once. Keys begin with `prefix`.
    pub fn start(cluster: &Cluster, threads: usize, prefix: &str) -> Self {
        let (stop, acknowledged, read_back) = (Arc::default(), Arc::default(), Arc::default());
        let ports: Vec<u16> = cluster.servers.iter().map(|server| server.http).collect();
        let threads = (0..threads)
            .map(|number| {
                let client = Traveller {
                    prefix: format!("{prefix}-{number}"),
                    clients: ports.iter().map(|port| client(*port)).collect(),
                    ports: ports.clone(),
                    at: number % ports.len(),
                    stop: Arc::clone(&stop),
                    acknowledged: Arc::clone(&acknowledged),
                    read_back: Arc::clone(&read_back),
                };
                thread::spawn(move || client.run())
            })
            .collect();
        Self { stop, acknowledged, read_back, threads }
    }

    /// Waits until `more` further writes are acknowledged.
    #[track_caller]
    pub fn await_more(&self, more: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        wait::until_true("writes are acknowledged by whoever leads", || {
            self.acknowledged.load(Ordering::Relaxed) >= goal
        });
    }

    /// How many acknowledged writes were read back from another server.
    pub fn read_back(&self) -> u64 {
        self.read_back.load(Ordering::Relaxed)
    }

    /// Ends it; what it saw.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let Seen { book, lost_reads } = thread.join().expect("a client does not panic");
            all.book.add(book);
            all.lost_reads.extend(lost_reads);
        }
        all
    }
}

impl Seen {
    /// Panics unless everything that was answered is on every server that runs, now that all have converged.
    #[track_caller]
    pub fn check(&self, cluster: &mut Cluster) {
        assert_eq!(self.lost_reads, [""; 0], "linearizable reads did not see what was answered before them");
        cluster.await_converged();
        for server in &mut cluster.servers {
            if server.is_running() {
                assert_eq!(self.book.missing(server), [""; 0], "on {}", server.name);
            }
        }
    }
}

/// One client.
struct Traveller {
    prefix: String,
    clients: Vec<Client>,
    ports: Vec<u16>,
    at: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    read_back: Arc<AtomicU64>,
}

impl Traveller {
    fn run(mut self) -> Seen {
        let mut seen = Seen::default();
        for number in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let (key, value) = (format!("{}-{number}", self.prefix), format!("value {number}"));
            if !self.write(&key, &value) {
                seen.book.open.insert(key, value);
                continue;
            }
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            if self.read_elsewhere(number, &key) == Some(false) {
                seen.lost_reads.push(key.clone());
            }
            seen.book.acknowledged.insert(key, value);
        }
        seen
    }

    /// One attempt. If it is not answered well the client goes on: where it is sent, or to the next server.
    fn write(&mut self, key: &str, value: &str) -> bool {
        let body = json!({ "key": key, "value": value });
        let answer = self.clients[self.at].post("/kv/set?concern=quorum&timeout_ms=2000", &body);
        if matches!(&answer, Ok(answer) if answer.status == 200) {
            return true;
        }
        let sent_on = answer.ok().as_ref().and_then(|answer| self.place_of_leader(answer));
        self.at = sent_on.unwrap_or((self.at + 1) % self.ports.len());
        if sent_on.is_none() {
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn place_of_leader(&self, answer: &Response) -> Option<usize> {
        let port: u16 = answer.header("synap-leader")?.rsplit(':').next()?.parse().ok()?;
        self.ports.iter().position(|known| *known == port)
    }

    /// Whether another server shows the key; none if it says nothing of use.
    fn read_elsewhere(&mut self, number: u64, key: &str) -> Option<bool> {
        let count = self.clients.len();
        let other = (self.at + 1 + usize::try_from(number).unwrap_or(0) % count) % count;
        let path = format!("/kv/exists/{key}?consistency=linearizable&timeout_ms=1000");
        let answer = self.clients[other].get(&path).ok().filter(|answer| answer.status == 200)?;
        self.read_back.fetch_add(1, Ordering::Relaxed);
        let there: Value = answer.json()["exists"].clone();
        there.as_bool()
    }
}

fn client(port: u16) -> Client {
    Client::new(format!("127.0.0.1:{port}")).patience(PATIENCE)
}

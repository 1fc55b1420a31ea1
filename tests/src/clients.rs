//! A load that outlives masters, and is recorded. Clients of two kinds read, write and delete a few keys that all share,
//! and write keys of their own: those that roam go from server to server until one takes their write, those that are
//! settled or visit know one server only, as clients do that are cut off together with it. Owns what is asked and how each
//! attempt is recorded; what an answer means stands in [`crate::outcomes`].

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use synap_sim::dice::Dice;
use synap_sim::linear::{Action, Operation};

use crate::cluster::Cluster;
use crate::history::{Clock, Entry, History, Value};
use crate::http::{Client, Response};
use crate::outcomes::{self, Meaning};
use crate::server::Server;
use crate::wait;

/// How many keys are shared: few, so that operations meet.
const SHARED_KEYS: u64 = 4;

/// How many clients roam.
const ROAMERS: usize = 4;

/// A server that says nothing for this long is left for another; what it was asked stays open.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many clients come to one server together, and how many operations each of them wants.
const VISITORS: usize = 8;
const ERRANDS: u64 = 4;

/// How often a write is sent before its client gives it up.
const ATTEMPTS_MAX: usize = 8;

/// For how many operations a server that said nothing is not asked by itself.
const SHUNNED: u64 = 100;

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Roaming {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<History>>,
}

/// What all clients of a load share.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    stop: AtomicBool,
    written: AtomicU64,
    /// By server: how often the client that is settled there has asked, whatever it was told.
    asked: Vec<AtomicU64>,
}

impl Roaming {
    /// A few clients that roam, and one settled at each server.
    pub fn start(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared {
            clock: Clock::start(),
            stop: AtomicBool::new(false),
            written: AtomicU64::new(0),
            asked: cluster.servers.iter().map(|_| AtomicU64::new(0)).collect(),
        });
        let roamers = (0..ROAMERS).map(|number| {
            let known = cluster.servers.iter().map(Known::of).collect();
            Traveller::new(number, format!("roamer {number}"), known, None, &shared)
        });
        let settled = cluster.servers.iter().enumerate().map(|(place, server)| {
            Traveller::new(
                ROAMERS + place,
                format!("{}'s", server.name),
                vec![Known::of(server)],
                Some(place),
                &shared,
            )
        });
        let threads = roamers.chain(settled).map(|client| thread::spawn(move || client.run(u64::MAX))).collect();
        Self { shared, threads }
    }

    /// Waits until `more` further writes are acknowledged.
    #[track_caller]
    pub fn await_more(&self, more: u64) {
        await_growth("writes are acknowledged by whoever leads", &self.shared.written, more);
    }

    /// Waits until the client that is settled at a server has asked it `more` further times, whatever it was told.
    #[track_caller]
    pub fn await_asked(&self, server: usize, more: u64) {
        await_growth("a server's own client asks it", &self.shared.asked[server], more);
    }

    /// Sends a few clients that know this server only. What they ask, they ask from now on.
    pub fn visit(&mut self, server: &Server) {
        for _ in 0..VISITORS {
            let number = self.threads.len();
            let known = vec![Known::of(server)];
            let visitor = Traveller::new(number, format!("visitor {number}"), known, None, &self.shared);
            self.threads.push(thread::spawn(move || visitor.run(ERRANDS)));
        }
    }

    /// Ends it, and reads every key from every server that runs. Panics unless some order explains everything that was
    /// seen: then what was answered is there, on every server, and no read ever missed it.
    #[track_caller]
    pub fn check(mut self, cluster: &mut Cluster) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for thread in self.threads.drain(..) {
            history.join(thread.join().expect("a client does not panic"));
        }
        cluster.await_converged();
        let keys: Vec<String> = history.keys().into_iter().collect();
        for server in &mut cluster.servers {
            if server.is_running() {
                read_all(server, &keys, self.shared.clock, &mut history);
            }
        }
        println!("{} operations answered, {} open, {} keys", history.answered(), history.open(), keys.len());
        if let Err(unexplained) = history.check() {
            let path = cluster.keep().join("history.txt");
            fs::write(&path, history.to_string()).expect("the history can be written");
            panic!("{unexplained}\nthe whole history: {}", path.display());
        }
    }
}

/// A test that fails ends its clients too, before the servers and the networks that they speak to are gone.
impl Drop for Roaming {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[track_caller]
fn await_growth(what: &str, count: &AtomicU64, more: u64) {
    let goal = count.load(Ordering::Relaxed) + more;
    wait::until_true(what, || count.load(Ordering::Relaxed) >= goal);
}

/// What a server itself holds of all keys. The reads are linearizable, so that they need not be the last word.
#[track_caller]
fn read_all(server: &Server, keys: &[String], clock: Clock, history: &mut History) {
    for keys in keys.chunks(500) {
        let (called_at, values) = wait::until("every key is read", || {
            let called_at = clock.now();
            let answer =
                server.client().post("/kv/mget?consistency=linearizable", &json!({ "keys": keys })).ok()?;
            (answer.status == 200).then(|| (called_at, answer.json()["values"].clone()))
        });
        let returned_at = Some(clock.now());
        let values = values.as_array().expect("mget gives values").clone();
        assert_eq!(values.len(), keys.len(), "mget gives a value or null for each key");
        for (key, value) in keys.iter().zip(values) {
            let value = value.as_str().map(str::to_owned);
            history.add(Entry {
                operation: Operation { called_at, returned_at, action: Action::Read(value) },
                key: key.clone(),
                client: "at the end".to_owned(),
                told: format!("200 by {}", server.name),
            });
        }
    }
}

/// A server as a client knows it.
#[derive(Debug)]
struct Known {
    name: String,
    port: u16,
    client: Client,
    /// Until which operation it is not asked.
    shunned_until: u64,
}

/// One client.
struct Traveller {
    name: String,
    dice: Dice,
    known: Vec<Known>,
    /// Where it sends its next write.
    at: usize,
    /// The server that it is settled at.
    home: Option<usize>,
    /// How many operations it has begun.
    begun: u64,
    shared: Arc<Shared>,
    seen: History,
}

impl Traveller {
    fn new(number: usize, name: String, known: Vec<Known>, home: Option<usize>, shared: &Arc<Shared>) -> Self {
        Self {
            name,
            dice: Dice::new(number as u64),
            at: number % known.len(),
            known,
            home,
            begun: 0,
            shared: Arc::clone(shared),
            seen: History::default(),
        }
    }

    /// So many operations, unless the load ends before.
    fn run(mut self, operations: u64) -> History {
        while !self.is_over() && self.begun < operations {
            self.begun += 1;
            let fresh = format!("{}.{}", self.name.replace(' ', "-"), self.begun);
            let shared = format!("shared-{}", self.dice.below(SHARED_KEYS));
            match self.dice.below(10) {
                0..=4 => self.read(&shared),
                5 | 6 => self.write(&shared, Some(fresh)),
                7 => self.write(&shared, None),
                _ => self.write(&fresh, Some("there".to_owned())),
            }
        }
        self.seen
    }

    fn is_over(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// One linearizable read, from any server that it knows. One that is not answered says nothing.
    fn read(&mut self, key: &str) {
        let drawn = self.dice.below(self.known.len() as u64) as usize;
        let server = self.not_shunned_from(drawn);
        let path = format!("/kv/get/{key}?consistency=linearizable&timeout_ms=500");
        let called_at = self.shared.clock.now();
        let answer = self.ask(server, "GET", &path, None, b"");
        let returned_at = self.shared.clock.now();
        match outcomes::of_read(&answer) {
            Some(value) => {
                let told = self.told(&answer, server);
                self.record(key, Action::Read(value), called_at, Some(returned_at), told);
            }
            None => rest(),
        }
    }

    /// Sends a write, of none a deletion, again and again until it is done. Half of them have a name of their own, and
    /// are one operation from the first attempt that may have been taken to the answer. Without one, each attempt is an
    /// operation: one more that stays open if nobody knows what became of it.
    fn write(&mut self, key: &str, value: Value) {
        let name = self.dice.chance(500).then(|| format!("{}.{}", self.name.replace(' ', "-"), self.begun));
        let mut open_since = None;
        for _ in 0..ATTEMPTS_MAX {
            let server = self.at;
            let called_at = self.shared.clock.now();
            let answer = self.send(server, key, value.as_deref(), name.as_deref());
            let returned_at = self.shared.clock.now();
            let (action, told) = (Action::Write(value.clone()), self.told(&answer, server));
            match outcomes::of_write(&answer) {
                Meaning::Done => {
                    let called_at = open_since.unwrap_or(called_at);
                    self.record(key, action, called_at, Some(returned_at), told);
                    self.shared.written.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Meaning::Refused => {}
                Meaning::Unknown if name.is_some() => {
                    open_since.get_or_insert(called_at);
                }
                Meaning::Unknown => self.record(key, action, called_at, None, told),
            }
            self.move_on(&answer);
            if self.is_over() {
                break;
            }
        }
        if let Some(called_at) = open_since {
            self.record(key, Action::Write(value), called_at, None, "given up".to_owned());
        }
    }

    fn send(&mut self, server: usize, key: &str, value: Option<&str>, name: Option<&str>) -> io::Result<Response> {
        let query = "?concern=quorum&timeout_ms=800";
        match value {
            Some(value) => {
                let body = json!({ "key": key, "value": value }).to_string();
                self.ask(server, "POST", &format!("/kv/set{query}"), name, body.as_bytes())
            }
            None => self.ask(server, "DELETE", &format!("/kv/del/{key}{query}"), name, b""),
        }
    }

    fn ask(
        &mut self,
        server: usize,
        method: &str,
        path: &str,
        name: Option<&str>,
        body: &[u8],
    ) -> io::Result<Response> {
        let named = name.map(|name| ("Idempotency-Key", name));
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(named);
        let known = &mut self.known[server];
        let answer = known.client.request(method, path, &headers, body);
        if answer.is_err() {
            known.shunned_until = self.begun + SHUNNED;
        }
        if let Some(home) = self.home {
            self.shared.asked[home].fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// After an answer that was no good: where it is sent, or to the next server.
    fn move_on(&mut self, answer: &io::Result<Response>) {
        let leader = answer.as_ref().ok().and_then(|answer| self.place_of_leader(answer));
        self.at = leader.unwrap_or_else(|| self.not_shunned_from((self.at + 1) % self.known.len()));
        if leader.is_none() {
            rest();
        }
    }

    /// The first server from this place on that is not shunned; this one if all are.
    fn not_shunned_from(&self, place: usize) -> usize {
        let count = self.known.len();
        let mut places = (0..count).map(|step| (place + step) % count);
        places.find(|place| self.known[*place].shunned_until <= self.begun).unwrap_or(place)
    }

    fn place_of_leader(&self, answer: &Response) -> Option<usize> {
        let port: u16 = answer.header("synap-leader")?.rsplit(':').next()?.parse().ok()?;
        self.known.iter().position(|known| known.port == port)
    }

    fn told(&self, answer: &io::Result<Response>, server: usize) -> String {
        format!("{} by {}", outcomes::in_words(answer), self.known[server].name)
    }

    fn record(
        &mut self,
        key: &str,
        action: Action<Value>,
        called_at: u64,
        returned_at: Option<u64>,
        told: String,
    ) {
        let operation = Operation { called_at, returned_at, action };
        self.seen.add(Entry { operation, key: key.to_owned(), client: self.name.clone(), told });
    }
}

impl Known {
    fn of(server: &Server) -> Self {
        let client = server.client().patience(PATIENCE);
        Self { name: server.name.clone(), port: server.http, client, shunned_until: 0 }
    }
}

/// After an answer that leads nowhere.
fn rest() {
    thread::sleep(Duration::from_millis(20));
}

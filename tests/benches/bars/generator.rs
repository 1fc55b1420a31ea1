//! The load: connections on one thread, each of which sends the next request when the answer to the last is in. One
//! generator serves every server that is measured, whatever it speaks. Owns no protocol.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// One connection's side of a conversation.
pub(crate) trait Talk: 'static {
    /// Appends what is said before the first request.
    fn open(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends the next request.
    fn ask(&mut self, out: &mut Vec<u8>);

    /// Takes what came. Whatever it appends to `out` is sent at once.
    fn hear(&mut self, came: &mut BytesMut, out: &mut Vec<u8>) -> Heard;
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not a whole answer yet.
    Part,
    /// What was asked for.
    Good,
    /// Anything else.
    Bad,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Good answers per second.
    pub(crate) per_sec: f64,
    /// Other answers.
    pub(crate) bad: u64,
    /// How long the good ones took, in microseconds.
    pub(crate) micros: Histogram<u64>,
    /// When the good answers came, in order.
    times: Vec<Instant>,
}

/// A part of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// Good answers per second.
    pub(crate) per_sec: f64,
    /// The longest time during which no connection got a good answer.
    pub(crate) longest_gap: Duration,
}

impl Measured {
    /// A percentile of the time that an answer took, in milliseconds.
    pub(crate) fn millis(&self, percentile: f64) -> f64 {
        self.micros.value_at_percentile(percentile) as f64 / 1000.0
    }

    /// What came between two instants.
    pub(crate) fn between(&self, from: Instant, upto: Instant) -> Stretch {
        let inside = |time: &&Instant| from <= **time && **time <= upto;
        let times = || self.times.iter().filter(inside).copied();
        let starts = std::iter::once(from).chain(times());
        let ends = times().chain(std::iter::once(upto));
        let longest_gap = starts.zip(ends).map(|(start, end)| end - start).max().unwrap_or_default();
        Stretch { per_sec: times().count() as f64 / (upto - from).as_secs_f64(), longest_gap }
    }
}

/// How long a load is put on, and how many connections put it on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// What is measured begins after this long.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Puts a load on `server`; `talk` makes the talk of each connection, by number.
pub(crate) fn run<T: Talk>(server: SocketAddr, load: Load, mut talk: impl FnMut(usize) -> T) -> Measured {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().expect("a runtime can be made");
    let begin = Instant::now() + load.warm_up;
    let end = begin + load.measured;
    let tasks = LocalSet::new();
    let books: Vec<_> = (0..load.connections)
        .map(|number| {
            let connection = Connection { talk: talk(number), begin, end };
            tasks.spawn_local(connection.run(server))
        })
        .collect();
    runtime.block_on(async {
        let mut all = Book::new();
        tasks
            .run_until(async {
                for book in books {
                    all.add(book.await.expect("no panic").expect("the server keeps the connection"));
                }
            })
            .await;
        all.measured(begin, end)
    })
}

/// Microseconds up to a minute.
pub(crate) fn micros() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("three digits are allowed")
}

struct Connection<T> {
    talk: T,
    begin: Instant,
    end: Instant,
}

/// What one connection got.
struct Book {
    micros: Histogram<u64>,
    bad: u64,
    /// When good answers came.
    times: Vec<Instant>,
}

impl<T: Talk> Connection<T> {
    async fn run(mut self, server: SocketAddr) -> io::Result<Book> {
        let mut stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (mut out, mut came) = (Vec::new(), BytesMut::with_capacity(16 << 10));
        let mut book = Book::new();
        self.talk.open(&mut out);
        loop {
            let asked = Instant::now();
            if asked >= self.end {
                return Ok(book);
            }
            self.talk.ask(&mut out);
            let heard = loop {
                if !out.is_empty() {
                    stream.write_all(&out).await?;
                    out.clear();
                }
                came.reserve(4 << 10);
                if stream.read_buf(&mut came).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                match self.talk.hear(&mut came, &mut out) {
                    Heard::Part => {}
                    heard => break heard,
                }
            };
            if asked >= self.begin {
                book.note(heard, asked);
            }
        }
    }
}

impl Book {
    fn new() -> Self {
        Self { micros: micros(), bad: 0, times: Vec::new() }
    }

    fn note(&mut self, heard: Heard, asked: Instant) {
        if heard == Heard::Good {
            let now = Instant::now();
            self.micros.saturating_record(u64::try_from((now - asked).as_micros()).unwrap_or(u64::MAX));
            self.times.push(now);
        } else {
            self.bad += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.micros.add(&other.micros).expect("histograms of one kind");
        self.bad += other.bad;
        self.times.extend(other.times);
    }

    fn measured(mut self, begin: Instant, end: Instant) -> Measured {
        self.times.sort_unstable();
        let good = self.times.iter().filter(|time| **time <= end).count();
        Measured {
            per_sec: good as f64 / (end - begin).as_secs_f64(),
            bad: self.bad,
            micros: self.micros,
            times: self.times,
        }
    }
}

//! `cargo bench -p synap-tests`: the bars that the design sets, measured as ratios in one run on one machine. Only the
//! ratios travel: the absolute figures are this machine's. Ends by itself within six minutes; `-- --quick` within one.
//!
//! Redis and etcd are measured beside synap where they are installed; both are started here, on ports of their own,
//! and ended here.

mod etcd;
mod failover;
mod generator;
mod hello;
mod http;
mod keys;
mod million;
mod process;
mod quorum;
mod redis;
mod report;
mod synap;
mod way;
mod web;

use std::time::{Duration, Instant};

use clap::Parser;

use report::Report;

/// Measures the bars that the design sets.
#[derive(Debug, Parser)]
struct Arguments {
    /// Shorter runs, one round each, and a hundred thousand keys in place of a million
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    /// What this program says to itself
    #[arg(long = "say-hello-at", hide = true)]
    hello: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Http,
    Quorum,
    Group,
    Way,
    Million,
    Failover,
    Switchover,
}

const ALL: [Part; 7] =
    [Part::Http, Part::Quorum, Part::Group, Part::Way, Part::Million, Part::Failover, Part::Switchover];

/// How much time is taken.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Full,
    Quick,
}

impl Pace {
    fn rounds(self) -> usize {
        match self {
            Self::Full => 3,
            Self::Quick => 1,
        }
    }

    fn warm_up(self) -> Duration {
        match self {
            Self::Full => Duration::from_millis(500),
            Self::Quick => Duration::from_millis(200),
        }
    }

    fn measured(self) -> Duration {
        match self {
            Self::Full => Duration::from_secs(3),
            Self::Quick => Duration::from_secs(1),
        }
    }

    fn probes(self) -> u32 {
        match self {
            Self::Full => 2000,
            Self::Quick => 300,
        }
    }

    fn kills(self) -> usize {
        match self {
            Self::Full => 30,
            Self::Quick => 5,
        }
    }

    fn silences(self) -> usize {
        match self {
            Self::Full => 5,
            Self::Quick => 1,
        }
    }

    fn switchovers(self) -> usize {
        match self {
            Self::Full => 20,
            Self::Quick => 3,
        }
    }

    fn keys(self) -> u64 {
        match self {
            Self::Full => 1_000_000,
            Self::Quick => 100_000,
        }
    }
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.hello {
        hello::serve(port);
        return;
    }
    let pace = if arguments.quick { Pace::Quick } else { Pace::Full };
    let parts = if arguments.parts.is_empty() { &ALL[..] } else { &arguments.parts };
    // Built before anything is measured.
    synap_tests::binary::synap();
    let begun = Instant::now();
    let mut report = Report::default();
    for part in parts {
        match part {
            Part::Http => web::run(&mut report, pace),
            Part::Quorum => quorum::run(&mut report, pace),
            Part::Group => quorum::group_commit(&mut report, pace),
            Part::Way => way::run(&mut report, pace),
            Part::Million => million::run(&mut report, pace),
            Part::Failover => failover::run(&mut report, pace),
            Part::Switchover => failover::switchover(&mut report, pace),
        }
    }
    report.print();
    println!("\nafter {:.0} s", begun.elapsed().as_secs_f64());
}

//! `synap dev`: the whole guide on one machine. One master and its replicas as child processes on 127.0.0.1.
//!
//! Owns the children: starts them, watches them, starts them again when they die, and ends them with itself. It
//! never looks into their data directories, but to see at its start that no other process has them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::exit::{Exit, Failed, Outcome};
use super::out;

mod child;
mod plan;
mod watch;

use child::{Child, Ended};
use plan::{Plan, Planned};
use watch::Watch;

/// What is set up.
#[derive(Args, Debug)]
pub(super) struct Dev {
    /// How many servers: one master, the others replicas
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// HTTP port of the first server; its replication port is the next, and each further server begins 10 higher
    #[arg(long, default_value_t = 15500, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    base_port: u16,
    /// Where data and logs go; what is there from last time is used again
    #[arg(long, default_value = "./synap-dev")]
    dir: PathBuf,
    /// Leave a server that dies dead, rather than starting it again after a second
    #[arg(long)]
    no_restart: bool,
}

/// How long the servers may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the servers may take to find a master, once they are ready.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a server may take to end gracefully.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const RESTART_DELAY: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Runs until Ctrl-C, or until a server ends in a way that starting it again cannot help.
pub(super) async fn run(asked: Dev) -> Outcome {
    let plan = Plan::new(asked.nodes, asked.base_port, &asked.dir);
    plan.check_ports()?;
    plan.make_directories()?;
    plan.check_directories()?;
    let used_again = plan.nodes.iter().any(Planned::has_data).then_some(&*asked.dir);
    let mut crew = Crew::start(&plan, !asked.no_restart)?;
    let outcome = tokio::select! {
        outcome = crew.serve(used_again) => outcome,
        signal = end_is_asked() => signal,
    };
    out::line("stopping")?;
    crew.stop().await;
    outcome
}

/// All servers, with what is known of each.
struct Crew {
    seats: Vec<ConnectionSlot>,
    restart: bool,
    watch: Watch,
}

/// A server's place, whether or not it runs.
struct ConnectionSlot {
    planned: Planned,
    state: SeatState,
}

enum SeatState {
    Running(Child),
    RestartsAt(Instant),
    Dead,
}

impl Crew {
    fn start(plan: &Plan, restart: bool) -> Result<Self, Failed> {
        let mut seats = Vec::new();
        for planned in &plan.nodes {
            let state = SeatState::Running(Child::start(planned)?);
            seats.push(ConnectionSlot { planned: planned.clone(), state });
        }
        Ok(Self { seats, restart, watch: Watch::new(&plan.nodes) })
    }

    /// `used_again` is where the data of an earlier run lies, if there is any.
    async fn serve(&mut self, used_again: Option<&Path>) -> Outcome {
        self.until_ready().await?;
        let roles = self.until_led().await?;
        self.introduce(&roles, used_again)?;
        loop {
            self.look().await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn until_ready(&mut self) -> Result<(), Failed> {
        out::line(format!("starting {} servers", self.seats.len()))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.watch.all_ready().await {
            self.tend()?;
            if Instant::now() > deadline {
                let message = format!("not all servers were ready after {} s", READY_TIMEOUT.as_secs());
                return Err(Failed::running(format!("{message}; their logs: {}", self.logs())));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits for a server that leads, which those who were all stopped elect; gives the roles. Goes on without one after a while: status
    /// says more than this command could.
    async fn until_led(&mut self) -> Result<Vec<Option<String>>, Failed> {
        let deadline = Instant::now() + LEADER_TIMEOUT;
        loop {
            let roles = self.watch.roles().await;
            if leader_of(&roles).is_some() || Instant::now() > deadline {
                return Ok(roles);
            }
            self.tend()?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn look(&mut self) -> Result<(), Failed> {
        self.tend()?;
        for change in self.watch.changes().await {
            out::line(change)?;
        }
        Ok(())
    }

    /// Sees who died and starts again whose time has come.
    fn tend(&mut self) -> Result<(), Failed> {
        for seat in &mut self.seats {
            match &mut seat.state {
                SeatState::Running(child) => {
                    if let Some(ended) = child.ended()? {
                        seat.state = mourn(&seat.planned, &ended, self.restart)?;
                    }
                }
                SeatState::RestartsAt(when) if *when <= Instant::now() => {
                    let child = Child::start(&seat.planned)?;
                    out::line(format!("{}: started again, pid {}", seat.planned.name, child.pid()))?;
                    seat.state = SeatState::Running(child);
                }
                SeatState::RestartsAt(_) | SeatState::Dead => {}
            }
        }
        Ok(())
    }

    fn introduce(&self, roles: &[Option<String>], used_again: Option<&Path>) -> Result<(), Failed> {
        out::line("")?;
        for (seat, role) in self.seats.iter().zip(roles) {
            if let SeatState::Running(child) = &seat.state {
                out::line(seat.planned.introduction(child.pid(), role.as_deref()))?;
            }
        }
        let leader = leader_of(roles);
        if let Some(dir) = used_again {
            let leading = leader.and_then(|number| self.seats.get(number)).map(|seat| &seat.planned);
            out::line(plan::earlier_run(leading, dir))?;
        }
        out::line(plan::things_to_try(self.seats.iter().map(|seat| &seat.planned), leader, self.restart))
    }

    async fn stop(&mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        for seat in &mut self.seats {
            if let SeatState::Running(child) = &mut seat.state {
                child.ask_to_end();
            }
        }
        for seat in &mut self.seats {
            if let SeatState::Running(child) = &mut seat.state {
                child.end_by(deadline).await;
            }
        }
    }

    fn logs(&self) -> String {
        let logs = self.seats.iter().map(|seat| seat.planned.log.display().to_string());
        logs.collect::<Vec<_>>().join(", ")
    }
}

/// The number of the server that leads.
fn leader_of(roles: &[Option<String>]) -> Option<usize> {
    roles.iter().position(|role| matches!(role.as_deref(), Some("master" | "standalone")))
}

/// Tells of a death, and decides what comes after it.
fn mourn(planned: &Planned, ended: &Ended, restart: bool) -> Result<SeatState, Failed> {
    out::line(format!("{}: {ended}", planned.name))?;
    match ended {
        // Starting again cannot help, and would only hide what is wrong.
        Ended::Code(code @ (2 | 75 | 78)) => {
            let exit = match code {
                75 => Exit::Temporary,
                78 => Exit::Configuration,
                _ => Exit::Failure,
            };
            Err(Failed::new(exit, format!("{} cannot run; {}", planned.name, planned.last_words())))
        }
        Ended::Code(74) => {
            out::line(format!(
                "{}: its disk or data failed, so it stays down; {}",
                planned.name,
                planned.last_words()
            ))?;
            Ok(SeatState::Dead)
        }
        Ended::Code(_) | Ended::Signal(_) if restart => {
            out::line(format!("{}: starts again in {} s", planned.name, RESTART_DELAY.as_secs()))?;
            Ok(SeatState::RestartsAt(Instant::now() + RESTART_DELAY))
        }
        Ended::Code(_) | Ended::Signal(_) => {
            out::line(format!("{}: stays down; to start it again: {}", planned.name, planned.command_line()))?;
            Ok(SeatState::Dead)
        }
    }
}

async fn end_is_asked() -> Outcome {
    super::signals::asked_to_end().await.map_err(|error| Failed::running(format!("signals: {error}")))?;
    Ok(Exit::Good)
}

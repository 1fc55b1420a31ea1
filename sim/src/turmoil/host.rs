//! What runs on a machine: the shipped server, started as `synap serve` starts it, on this machine's disk, network
//! and clocks. Between two lives of the server only the system runs, whose ports refuse.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use synap_core::time::WallMs;
use synap_runtime::clock::Clock;
use synap_runtime::driver::Ended;
use synap_runtime::metrics::Process;
use synap_runtime::server::{Parts, Server, StartError};
use synap_runtime::settings::{
    FrontSettings, LinkSettings, LoggingSettings, PersistenceSettings, SHUTDOWN_GRACE, Settings,
};
use synap_runtime::tasks::{Tasks, through};

use super::disk::{Rollbacks, SimDisk};
use super::net::SimNet;
use super::suspend::{Drifting, Stillness};
use super::turn_recorder::TurnRecorder;
use super::world::{Exit, Runs, World};
use crate::clock;
use crate::dice::mix;
use crate::plan::config::{HTTP_PORT, REPLICATION_PORT};

/// What runs on a machine from one of its starts to the next.
pub(super) async fn run(world: Arc<World>, node: usize) -> turmoil::Result {
    let runs = world.machines()[node].runs;
    match runs {
        Runs::Nothing | Runs::System => {}
        Runs::Server => {
            let stillness = Arc::new(Stillness { world: Arc::clone(&world), node });
            let exit = through(stillness, serve(&world, node)).await;
            world.machines()[node].exit = Some(exit);
        }
    }
    pending().await
}

/// One life of the server.
async fn serve(world: &Arc<World>, node: usize) -> Exit {
    let (settings, parts, stop) = prepare(world, node);
    let mut running = match Server::start(settings, parts).await {
        Ok(running) => running,
        Err(error) => return refused(error),
    };
    let ended = tokio::select! {
        biased;
        ended = running.ended() => ended,
        () = stop.cancelled() => {
            running.shutdown();
            running.ended().await
        }
    };
    match ended {
        Ended::Stopped => Exit::Stopped,
        Ended::DiskFailed(error) => Exit::DiskFailed(error.to_string()),
    }
}

fn refused(error: StartError) -> Exit {
    match error {
        StartError::Recovery { error, .. } => Exit::Refused(error.to_string()),
        StartError::Emptied { .. } | StartError::LogGone { .. } | StartError::Member { .. } => {
            Exit::Refused(error.to_string())
        }
        // A disk that fails while it is mended is full, most likely: again later.
        StartError::Disk(_) => Exit::NoRoom,
        StartError::Open(_) | StartError::Bind { .. } | StartError::Thread(_) => Exit::NoPort(error.to_string()),
    }
}

type Prepared = (Settings, Parts<SimDisk, SimNet>, tokio_util::sync::CancellationToken);

fn prepare(world: &Arc<World>, node: usize) -> Prepared {
    let plan = &world.plan;
    let (life, disks, stop, core) = {
        let machine = &world.machines()[node];
        let setup = &machine.setup;
        let mut core = plan.config(node, setup.role, setup.master);
        core.protocol = core.protocol.saturating_add_signed(setup.skew);
        (machine.life, setup.disks, machine.stop.clone(), core)
    };
    let settings = Settings {
        core,
        persistence: Some(PersistenceSettings {
            data_dir: PathBuf::new(),
            wal: plan.keeps_log(node),
            segment_bytes_max: plan.knobs_of(node).segment_bytes_max,
            reserve_bytes: plan.knobs.disk_margin,
        }),
        http_bind: format!("0.0.0.0:{HTTP_PORT}"),
        replication_bind: Some(format!("0.0.0.0:{REPLICATION_PORT}")),
        front: FrontSettings::default(),
        links: LinkSettings::default(),
        logging: LoggingSettings::default(),
        shutdown_grace: SHUTDOWN_GRACE,
    };
    let (wall, mono) = (Arc::clone(world), clock::Clock::drawn(plan, node, life));
    let parts = Parts {
        disk: SimDisk::attach(Arc::clone(world), node),
        net: SimNet { world: Arc::clone(world), here: node },
        clock: Clock::new(move || WallMs(wall.wall_ms(node))).beside(Arc::new(Drifting(mono))),
        node: plan.node_id(node, disks),
        seed: mix(&[plan.seed, node as u64, u64::from(life), 5]),
        rollbacks: Arc::new(Rollbacks { world: Arc::clone(world), node }),
        tasks: Tasks::behind(Arc::new(Stillness { world: Arc::clone(world), node })),
        process: Process::Hidden,
        watch: Some(Box::new(TurnRecorder::new(Arc::clone(world), node, life, mono))),
    };
    (settings, parts, stop)
}

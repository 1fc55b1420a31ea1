//! The server: recovery, the node, its driver, its disk, its links and its front end, put together and taken apart
//! again. Owns the order of start and stop; decides nothing about replication.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synap_core::config::RoleHint;
use synap_core::ids::NodeId;
use synap_core::node::Node;
use synap_core::recovered::Recovered;
use synap_core::wal::{Draw, FileOp, Journal, JournalConfig, Recovery, RecoveryError, recover, tells_of_use};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::disk::file::OpenError;
use crate::disk::writer::Writer;
use crate::disk::{Disk, FileDisk, NullDisk, is_full, is_out_of_files};
use crate::driver::{Driver, DriverParts, Ended, Stop};
use crate::handle::Handle;
use crate::http::{self, BoxFuture, HttpServer, HttpServerParts, RollbackDir, RollbackSource, Stream};
use crate::links::Links;
use crate::metrics::{Metrics, Process};
use crate::net::{Net, TokioNet};
use crate::observe::{Observer, Watch};
use crate::settings::Settings;
use crate::tasks::Tasks;

/// How much longer than its grace a stop takes at most, for the disk to take what is queued: supervisors of containers give a
/// process ten seconds, and the default grace is five.
const DISK_PATIENCE: Duration = Duration::from_secs(3);

/// How long clients may take to hear that the node has ended; the port of nodes stays open meanwhile.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(100);

/// Where the core puts rollback files, in the data directory.
const ROLLBACK_DIR: &str = "rollback";

/// The world that a server lives in.
pub struct Parts<D, N> {
    /// The data directory.
    pub disk: D,
    /// The network.
    pub net: N,
    /// The clocks.
    pub clock: Clock,
    /// Who the node will be if the directory does not say. To be drawn at random.
    pub node: NodeId,
    /// Fixes every random choice of the node. To be drawn at random.
    pub seed: u64,
    /// The rollback files of the data directory.
    pub rollbacks: Arc<dyn RollbackSource>,
    /// Where its tasks run.
    pub tasks: Tasks,
    /// Whether the metrics tell of the process.
    pub process: Process,
    /// Who is shown the node's turns.
    pub watch: Option<Box<dyn Watch>>,
}

/// Puts servers together.
#[derive(Clone, Copy, Debug)]
pub struct Server;

/// A server that runs. Dropping it ends it without ceremony.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    http_address: SocketAddr,
    replication_address: Option<SocketAddr>,
    stop: CancellationToken,
    task: AbortOnDropHandle<Ended>,
}

/// Why a server does not start. Nothing in the data directory was lost.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is in the data directory is refused.
    #[error("data directory {}: {error}{}", dir.display(), recovery_hint(error))]
    Recovery {
        /// Which.
        dir: PathBuf,
        /// Why.
        error: RecoveryError<io::Error>,
    },
    /// A node lived in the data directory, and neither its log nor a snapshot is there.
    #[error(
        "data directory {}: it was used by a node, and neither its log nor a snapshot is in it. Put them back. \
         Where other nodes hold the data, remove all that is in this directory and start it as a replica; where none does, restore a backup \
         into another directory (`synap restore`)",
        dir.display()
    )]
    Emptied {
        /// Which.
        dir: PathBuf,
    },
    /// A node lived in the data directory, and of its log and its snapshots only snapshots are there.
    #[error(
        "data directory {}: a node lived in it, and its log is gone: what was written after its newest snapshot is not here. Put the \
         log's files (wal-*.log) back. Where other nodes hold the data, remove all that is in this directory and start it as a replica. \
         Where none does, leave nothing but snapshots in this directory, or restore one (`synap restore`)",
        dir.display()
    )]
    LogGone {
        /// Which.
        dir: PathBuf,
    },
    /// A member of a cluster is configured to stand alone: it would take writes beside the others.
    #[error(
        "replication.role is standalone, and data directory {} is that of a member of a cluster, beside {}: configure it as replica \
         (or master), or let it begin anew in an empty directory. To make a node of its own out of what it holds, restore its newest \
         snapshot into another directory (`synap restore`)",
        dir.display(),
        others.join(", ")
    )]
    Member {
        /// Which.
        dir: PathBuf,
        /// The other members, by name.
        others: Vec<String>,
    },
    /// The data directory cannot be read or mended; the error says what of it.
    #[error("data directory: {0}")]
    Disk(io::Error),
    /// A port cannot be listened at.
    #[error("cannot listen at {address} ({setting}): {error}{}", bind_hint(error))]
    Bind {
        /// Which.
        address: String,
        /// The keys of the configuration that name it.
        setting: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What an operator can do about data that is refused, where the error does not say it.
fn recovery_hint(error: &RecoveryError<io::Error>) -> &'static str {
    match error {
        RecoveryError::Damaged { .. } | RecoveryError::Gap { .. } => {
            ". Nothing was changed. Where other nodes hold the data, move this directory aside and start as a replica with an empty one; else restore \
             a backup (docs/operations.md, \"A damaged or failed disk\")"
        }
        RecoveryError::Read { .. } | RecoveryError::UnfinishedRestore | RecoveryError::Version { .. } => "",
    }
}

/// What an operator can do about a port that cannot be had.
fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ". Another process listens there: end it, or choose another port",
        io::ErrorKind::AddrNotAvailable => ". No interface of this machine has that address",
        io::ErrorKind::PermissionDenied => {
            ". Ports below 1024 need a privilege (AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit): choose another port or grant it"
        }
        _ => "",
    }
}

/// How often a data directory that cannot be loaded for now is tried again.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

impl StartError {
    /// Whether it passes by itself or by somebody making room, without harm to the data.
    fn is_a_moment(&self) -> bool {
        match self {
            Self::Disk(error) | Self::Recovery { error: RecoveryError::Read { error, .. }, .. } => {
                is_full(error) || is_out_of_files(error)
            }
            Self::Open(_)
            | Self::Recovery { .. }
            | Self::Emptied { .. }
            | Self::LogGone { .. }
            | Self::Member { .. }
            | Self::Bind { .. }
            | Self::Thread(_) => false,
        }
    }
}

impl Server {
    /// Starts a server on the machine's disk, network and clocks.
    pub async fn open(settings: Settings) -> Result<Running, StartError> {
        let (net, clock) = (TokioNet::default(), Clock::system());
        let (node, seed) = (NodeId(rand::random()), rand::random());
        let process = Process::Shown;
        let (tasks, watch) = (Tasks::default(), None);
        match settings.persistence.as_ref().map(|persistence| whole(&persistence.data_dir)) {
            Some(dir) => {
                let disk = FileDisk::open(&dir)?;
                let rollbacks = Arc::new(RollbackDir::new(dir.join(ROLLBACK_DIR)));
                Self::start(settings, Parts { disk, net, clock, node, seed, rollbacks, tasks, process, watch })
                    .await
            }
            None => {
                let rollbacks = Arc::new(NoRollbacks);
                Self::start(
                    settings,
                    Parts { disk: NullDisk, net, clock, node, seed, rollbacks, tasks, process, watch },
                )
                .await
            }
        }
    }

    /// Starts a server in a given world.
    pub async fn start<D: Disk, N: Net>(settings: Settings, parts: Parts<D, N>) -> Result<Running, StartError> {
        let Parts { mut disk, net, clock, node, seed, rollbacks, tasks, process, mut watch } = parts;
        let (recovered, journal) = load(&mut disk, &settings, Draw { node, seed }).await?;
        let recovered = recovered.unwrap_or_else(|| Recovered::empty(node, settings.core.role));
        let http = Door::open(&net, &settings.http_bind, "server.host, server.port").await?;
        let replication = match &settings.replication_bind {
            Some(address) => Some(Door::open(&net, address, "replication.replica_listen_address").await?),
            None => None,
        };
        let (http_address, replication_address) = (http.address, replication.as_ref().map(|door| door.address));

        let metrics = Arc::new(Metrics::new(process));
        let observer: Arc<dyn Observer> = Arc::<Metrics>::clone(&metrics);
        let writer = Writer {
            disk,
            journal,
            planted: settings.core.planted,
            clock: clock.clone(),
            observer: Arc::clone(&observer),
        };
        let writer = writer.start().map_err(StartError::Thread)?;
        let (links, link_reports) = Links::new(net.clone(), settings.links, tasks.clone(), observer);
        let peers = replication.map(|door| links.accept(door.listener));
        let names = links.watch_names(settings.own_names());

        let name = settings.core.node_name.clone();
        let now = clock.now();
        if let Some(watch) = &mut watch {
            watch.born(&settings.core, &recovered, seed, now);
        }
        let node = Node::new(settings.core.clone(), recovered, seed, now);
        refuse_to_stand_alone(&settings, &node)?;
        let (driver_stop, stop_inbox) = mpsc::unbounded_channel();
        let driver = DriverParts { node, name, clock, links, link_reports, writer, stop: stop_inbox, watch };
        let (driver, handle) = Driver::new(driver);
        let front = HttpServer::new(HttpServerParts {
            handle: handle.clone(),
            metrics,
            settings: settings.front,
            limits: settings.core.limits,
            write_concern: settings.core.write_concern,
            rollbacks,
            dial: dial_through(net.clone()),
        });
        let no_more_clients = CancellationToken::new();
        let clients = serve(tasks.clone(), net, http.listener, Arc::clone(&front), no_more_clients.clone());
        let (told, driven) = oneshot::channel();
        let let_go = CancellationToken::new();
        let node = drive(tasks.clone(), driver, peers, names, told, let_go.clone());
        N::spawn("synap-node", node).map_err(StartError::Thread)?;
        let assembly = Assembly {
            driven,
            driver_stop,
            _let_go: let_go.drop_guard(),
            clients: AbortOnDropHandle::new(tasks.spawn(clients)),
            no_more_clients,
            front,
            grace: settings.shutdown_grace,
        };
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tasks.spawn(assembly.run(stop.clone())));
        Ok(Running { handle, http_address, replication_address, stop, task })
    }
}

impl Running {
    /// The way to the node.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where clients reach it on this machine.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where other nodes reach it on this machine.
    pub fn replication_address(&self) -> Option<SocketAddr> {
        self.replication_address
    }

    /// Asks for a graceful stop: no new work is taken, what is in flight is answered, everything is synced. It ends three seconds
    /// after the settings' `shutdown_grace` at the latest.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Ended {
        (&mut self.task).await.unwrap_or_else(resume)
    }
}

/// What the directory held, and where its log goes on.
///
/// On a full disk nothing is wrong with what is there: it waits for room, as a server does that runs.
async fn load<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    draw: Draw,
) -> Result<(Option<Recovered>, Journal), StartError> {
    loop {
        match try_load(disk, settings, draw).await {
            Err(error) if error.is_a_moment() => {
                tracing::warn!("{error}; nothing is served before that has passed: trying again every second");
                tokio::time::sleep(LOAD_AGAIN).await;
            }
            done => return done,
        }
    }
}

async fn try_load<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    draw: Draw,
) -> Result<(Option<Recovered>, Journal), StartError> {
    let dir = || settings.persistence.as_ref().map(|kept| whole(&kept.data_dir)).unwrap_or_default();
    let names = disk.list().map_err(StartError::Disk)?;
    let recovery = recover(journal_config(settings), &names, draw, |name| disk.read(name));
    let recovery = recovery.map_err(|error| StartError::Recovery { dir: dir(), error })?;
    let was_used = || disk.was_used() || names.iter().any(|name| tells_of_use(name));
    if recovery.recovered.is_none() && was_used() {
        return Err(StartError::Emptied { dir: dir() });
    }
    if disk.was_used() && !recovery.tells_whose {
        return Err(StartError::LogGone { dir: dir() });
    }
    recovery.notes.iter().for_each(|note| tracing::info!("recovery: {note}"));
    recovery
        .damage
        .iter()
        .for_each(|damage| tracing::warn!("recovery: {damage}; the log and older snapshots stand in for it"));
    match repair(disk, &recovery.repairs).await {
        Err(error) if is_full(&error) => {
            free_at_start(disk, recovery).await.map_err(StartError::Disk)?;
            Err(StartError::Disk(error))
        }
        done => done.map(|()| (recovery.recovered, recovery.journal)).map_err(StartError::Disk),
    }
}

async fn repair<D: Disk>(disk: &mut D, ops: &[FileOp]) -> io::Result<()> {
    for op in ops {
        disk.apply(op).await?;
    }
    Ok(())
}

/// The log has no room to be mended: what the snapshot holds, from which the node starts, need not be in it too.
async fn free_at_start<D: Disk>(disk: &mut D, recovery: Recovery) -> io::Result<()> {
    let Recovery { recovered, mut journal, .. } = recovery;
    let Some((meta, _)) = recovered.and_then(|node| node.snapshot) else { return Ok(()) };
    repair(disk, &journal.give_room_at_start(meta.position.index)).await
}

/// A directory as messages name it: a relative path helps nobody who does not know where the process was started.
fn whole(dir: &Path) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
}

/// Without persistence the journal plans for a disk that takes everything and keeps nothing.
fn journal_config(settings: &Settings) -> JournalConfig {
    settings.journal().unwrap_or(JournalConfig {
        wal: false,
        segment_bytes_max: 64 << 20,
        reserve_bytes: 0,
        fsync: settings.core.fsync,
        tail_bytes_max: settings.core.tail_bytes_max,
        planted: settings.core.planted,
    })
}

/// A port that is listened at.
struct Door<L> {
    listener: L,
    address: SocketAddr,
}

impl<L> Door<L> {
    async fn open<N: Net<Listener = L>>(
        net: &N,
        address: &str,
        setting: &'static str,
    ) -> Result<Self, StartError> {
        let failed = |error| StartError::Bind { address: address.to_owned(), setting, error };
        let listener = net.bind(address).await.map_err(failed)?;
        let address = net.local_address(&listener).map_err(failed)?;
        Ok(Self { listener, address })
    }
}

/// The role is a hint, and what is on disk wins; but who stands alone listens to no peers and asks nobody, so that it is no hint that
/// could be ignored.
fn refuse_to_stand_alone(settings: &Settings, node: &Node) -> Result<(), StartError> {
    let others: Vec<String> = node.other_members().map(str::to_owned).collect();
    if settings.core.role != RoleHint::Standalone || others.is_empty() {
        return Ok(());
    }
    let dir = settings.persistence.as_ref().map(|persistence| persistence.data_dir.clone()).unwrap_or_default();
    Err(StartError::Member { dir, others })
}

/// Serves clients until told to stop.
async fn serve<N: Net>(
    tasks: Tasks,
    net: N,
    listener: N::Listener,
    front: Arc<HttpServer>,
    stop: CancellationToken,
) {
    let accept = || async {
        let (stream, peer) = net.accept(&listener).await?;
        Ok((stream, peer.to_string()))
    };
    http::serve(tasks, front, accept, stop.cancelled()).await;
}

/// Drives a node, accepts its peers and looks after names until `let_go`; tells how the driver ended. Peers are accepted
/// beyond that end: other nodes take a closed port for a dead process. Does nothing of its own beyond starting its tasks.
async fn drive<N: Net>(
    tasks: Tasks,
    driver: Driver<N>,
    peers: Option<impl Future<Output = ()> + Send + 'static>,
    names: impl Future<Output = ()> + Send + 'static,
    told: oneshot::Sender<Result<Ended, JoinError>>,
    let_go: CancellationToken,
) {
    let _peers = peers.map(|peers| AbortOnDropHandle::new(tasks.spawn(peers)));
    let _names = AbortOnDropHandle::new(tasks.spawn(names));
    let mut driver = AbortOnDropHandle::new(tasks.spawn(driver.run()));
    let ended = tokio::select! {
        biased;
        () = let_go.cancelled() => return,
        ended = &mut driver => ended,
    };
    // Who asks no more has let go.
    let _ = told.send(ended);
    let_go.cancelled().await;
}

fn dial_through<N: Net>(net: N) -> http::Dial {
    Arc::new(move |address| {
        let net = net.clone();
        Box::pin(async move {
            let connected = net.connect(&address, 0).await?;
            Ok(Box::new(connected.stream) as Box<dyn Stream>)
        })
    })
}

/// The tasks of a server that runs.
struct Assembly {
    driven: oneshot::Receiver<Result<Ended, JoinError>>,
    driver_stop: mpsc::UnboundedSender<Stop>,
    /// The driver and the nodes' port end with this value, and the port no earlier.
    _let_go: DropGuard,
    clients: AbortOnDropHandle<()>,
    no_more_clients: CancellationToken,
    front: Arc<HttpServer>,
    grace: Duration,
}

impl Assembly {
    async fn run(mut self, stop: CancellationToken) -> Ended {
        let ended = tokio::select! {
            biased;
            ended = &mut self.driven => {
                self.last_words().await;
                heard(ended)
            }
            () = stop.cancelled() => self.stop().await,
        };
        // Whoever still waits for an answer must not take this end for a "no".
        self.front.abort();
        ended.unwrap_or_else(resume)
    }

    /// The node has ended by itself: who waits is told that nobody knows, before the connections go.
    async fn last_words(&mut self) {
        self.no_more_clients.cancel();
        let told = async {
            let _ = (&mut self.clients).await;
            self.front.stop().await;
        };
        let _ = timeout(LAST_WORDS_PATIENCE, told).await;
    }

    /// Refuses new work, answers what is in flight, syncs, and only then lets go of the nodes' port.
    async fn stop(&mut self) -> Result<Ended, JoinError> {
        let ends_by = Instant::now() + self.grace + DISK_PATIENCE;
        // A driver that has ended meanwhile says why below.
        let _ = self.driver_stop.send(Stop::Gracefully);
        self.no_more_clients.cancel();
        let answered = async {
            let _ = (&mut self.clients).await;
            self.front.stop().await;
        };
        if timeout(self.grace, answered).await.is_err() {
            tracing::warn!("some requests were not answered in time; their fate is unknown to who asked");
            self.front.abort();
        }
        let _ = self.driver_stop.send(Stop::WhenDrained);
        match timeout_at(ends_by, &mut self.driven).await {
            Ok(ended) => heard(ended),
            Err(_) => Ok(Ended::DiskFailed(io::Error::new(
                io::ErrorKind::TimedOut,
                "it has not taken in time what was to be written before the end",
            ))),
        }
    }
}

/// What the driver said at its end. One that says nothing was let go of with its runtime, before it could.
fn heard(said: Result<Result<Ended, JoinError>, oneshot::error::RecvError>) -> Result<Ended, JoinError> {
    said.unwrap_or_else(|_| Ok(Ended::DiskFailed(io::Error::other("the driver ended without a word"))))
}

/// Rollback files without a disk: none.
#[derive(Clone, Copy, Debug)]
struct NoRollbacks;

impl RollbackSource for NoRollbacks {
    fn list(&self) -> BoxFuture<io::Result<Vec<http::RollbackFile>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn read(&self, _id: String, _offset: u64, _bytes_max: usize) -> BoxFuture<io::Result<Bytes>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}

/// A bug in a task is a bug of the server.
fn resume(error: JoinError) -> Ended {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Ended::DiskFailed(io::Error::other(error)),
    }
}

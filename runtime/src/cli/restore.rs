//! `synap restore`: a backup becomes a node. Checks the snapshot, finds the directory fit, carries out what the core plans and
//! says what came of it; which ids, epoch and history the node has is the core's to decide.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use synap_core::config::CHUNK_BYTES;
use synap_core::ids::{ClusterId, NodeId};
use synap_core::position::Full;
use synap_core::snapshot::restore::{Order, restore};
use synap_core::snapshot::{SnapshotMeta, index_of_file_name};
use synap_core::wal::FileOp;
use synap_core::wal::restore::{clear, files};

use super::exit::{Exit, Failed, Outcome};
use super::offline::{damaged, load_snapshot, open};
use super::{out, words};
use crate::clock::Clock;
use crate::disk::file::{LOCK, OpenError};
use crate::disk::{Disk, FileDisk};

/// What is restored, and where to.
#[derive(Args, Debug)]
pub(super) struct Restore {
    /// Snapshot file, as `POST /snapshot` has written it (snapshot-*.snap)
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// Data directory of the node to make; must be empty or missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Continue the snapshot's own cluster, like a forced promotion, instead of starting a new cluster
    #[arg(long)]
    same_cluster: bool,
}

/// Makes a data directory of a snapshot.
pub(super) async fn run(asked: Restore) -> Outcome {
    let (meta, store) = load_snapshot(&whole_file(&asked.snapshot)?)?;
    let mut disk = claim(&asked.data_dir).await?;
    let order = Order {
        node: NodeId(rand::random()),
        cluster: (!asked.same_cluster).then(|| ClusterId(rand::random())),
        spread: rand::random_range(1..=u32::MAX),
        now: Clock::system().now().wall,
    };
    let restored = restore(&meta, store, order);
    let report = report(&asked, &meta, &restored.meta, order.node);
    if let Err(error) = carry_out(&mut disk, files(restored, CHUNK_BYTES)).await {
        return Err(undo(&mut disk, &asked.data_dir, &error).await);
    }
    out::text(report)?;
    Ok(Exit::Good)
}

/// The snapshot's file, which must be one.
fn whole_file(path: &Path) -> Result<PathBuf, Failed> {
    if path.is_dir() {
        let (_, names) = open(path)?;
        let newest = names.iter().filter(|name| index_of_file_name(name).is_some()).max();
        let hint = newest.map_or("it holds no snapshot".to_owned(), |name| {
            format!("name one of its snapshots, the newest is {}", path.join(name).display())
        });
        return Err(Failed::new(Exit::Usage, format!("{} is a directory: {hint}", path.display())));
    }
    if !path.exists() {
        return Err(Failed::new(Exit::NotFound, format!("{}: no such file", path.display())));
    }
    Ok(path.to_owned())
}

/// The directory, for this process alone and empty. What a restore that broke off has left is removed.
async fn claim(dir: &Path) -> Result<FileDisk, Failed> {
    // A directory that is somebody else's gets no lock file either.
    if dir.is_dir() && !dir.join(LOCK).exists() {
        removable(dir, &open(dir)?.1)?;
    }
    let mut disk = FileDisk::open(dir).map_err(|error| match &error {
        OpenError::Locked(_) => Failed::new(Exit::Temporary, format!("{error}; nothing was changed")),
        OpenError::Io { .. } => Failed::new(Exit::Data, &error),
    })?;
    let names = disk.list().map_err(|error| damaged(dir, &error))?;
    let leftovers = removable(dir, &names)?;
    if !leftovers.is_empty() {
        out::line(format!("{}: removing what a restore that was broken off has left", dir.display()))?;
    }
    carry_out(&mut disk, leftovers).await.map_err(|error| damaged(dir, &error))?;
    Ok(disk)
}

fn removable(dir: &Path, names: &[String]) -> Result<Vec<FileOp>, Failed> {
    clear(names).map_err(|other| {
        let dir = dir.display();
        let message =
            format!("{dir} is not empty: it holds {other}. Restore into an empty directory; nothing was changed");
        Failed::running(message)
    })
}

async fn carry_out(disk: &mut FileDisk, ops: impl IntoIterator<Item = FileOp>) -> io::Result<()> {
    for op in ops {
        disk.apply(&op).await?;
    }
    Ok(())
}

/// Takes away what was written before this failure, as far as that is possible.
async fn undo(disk: &mut FileDisk, dir: &Path, error: &io::Error) -> Failed {
    let names = disk.list().unwrap_or_default();
    let left = match clear(&names) {
        Ok(ops) => carry_out(disk, ops).await.is_err(),
        Err(_) => true,
    };
    let rest =
        if left { "part of the restore is left there: no server starts on it" } else { "nothing is left there" };
    damaged(dir, &format!("{error}; {rest}. Run the same command again"))
}

fn report(asked: &Restore, backup: &SnapshotMeta, made: &SnapshotMeta, node: NodeId) -> String {
    let dir = std::path::absolute(&asked.data_dir).unwrap_or_else(|_| asked.data_dir.clone());
    let (snapshot, dir) = (asked.snapshot.display(), dir.display());
    let cluster = if asked.same_cluster {
        format!("{} (the same; this is a promotion by force)", made.cluster)
    } else {
        format!("{} (new; the backup's was {})", made.cluster, backup.cluster)
    };
    let age = Duration::from_millis(made.log_time.0.saturating_sub(backup.log_time.0));
    let beside = if asked.same_cluster {
        "Nodes of the cluster that meet this one give way: what they hold beyond the backup\n\
         goes into their rollback files. Keep those away that are not to do so."
    } else {
        "Nodes of the old cluster and this one refuse each other. Clients drop positions\n\
         that the old cluster gave them."
    };
    let others =
        if asked.same_cluster { "with their directories as they are" } else { "with empty data directories" };
    format!(
        "restored {snapshot}\n\
         \x20 into      {dir}\n\
         \x20 state     {keys} keys and {results} idempotency keys, as of {position}\n\
         \x20 age       {age}; keys whose time to live has passed since count as absent\n\
         \x20 node      {node} (new)\n\
         \x20 cluster   {cluster}\n\
         \x20 position  {now}\n\
         \x20 members   this node alone; automatic failover is off until three are connected\n\
         {beside}\n\
         Next:\n\
         \x20 1. start this node: replication.role master, persistence.data_dir {dir}\n\
         \x20 2. start the others {others}: role replica, and\n\
         \x20    master_address this node's\n\
         \x20 3. send clients here when `synap status` shows every node ready\n",
        keys = backup.keys,
        results = backup.results,
        position = Full(backup.position),
        now = Full(made.position),
        age = words::length(age),
    )
}

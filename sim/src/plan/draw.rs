//! Seed -> plan. Every parameter is drawn (swarm testing): some runs are calm, some know one kind of fault, some
//! have absurd knobs, since a mixture of everything hides what a single thing would show.

use synap_core::config::APPLIES_PER_TURN_MAX;

use super::directories::{copy, replace};
use super::narrow::narrow;
use super::volumes::shrink_volumes;
use super::wider::widen;
use super::world::meet;
use crate::dice::Dice;
use crate::disk::{DiskProfile, FailedSync};
use crate::plan::{Fault, Knobs, Network, PLAN_VERSION, Plan, What, Workload, ruins_disk};

/// How many of a thousand plans have files in many pieces.
const PIECES_PER_MILLE: u32 = 300;

/// A log in memory that is shorter asks for transfers that are over soon.
const TAIL_BYTES_MIN: u64 = 4_096;

/// The plan of a seed.
pub fn draw(seed: u64) -> Plan {
    let mut dice = Dice::named(seed, "plan");
    let replicas = *dice.pick(&[1, 2, 2, 2, 2, 3, 4, 4, 4, 6]);
    let busy_ms = busy_ms(&mut dice);
    let mut knobs = knobs(&mut dice, busy_ms);
    knobs.automatic = replicas > 1 && dice.chance(500);
    let mut faults = faults(&mut dice, replicas + 1, busy_ms, knobs.automatic);
    let over_ms = faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
    let calm_at_ms = busy_ms.max(over_ms) + 500;
    let broken = if knobs.automatic && dice.chance(200) { broken(&mut dice, replicas + 1) } else { Vec::new() };
    if !broken.is_empty() {
        // Who is taken out joins anew through the master that its file names, which may be one that is given up; and who has
        // another's disk is found through those that have kept theirs.
        faults.retain(|fault| !matches!(fault.what, What::Remove(_) | What::SwapDisks(..)));
        faults.extend(lasting(&mut dice, &broken, replicas + 1, calm_at_ms));
        faults.sort_by_key(|fault| fault.at_ms);
    }
    let mut plan = Plan {
        version: PLAN_VERSION,
        seed,
        replicas,
        planted: None,
        network: network(&mut dice),
        disk: disk(&mut dice),
        workload: Workload { wide_per_mille: wide_per_mille(seed), ..workload(&mut dice, replicas, busy_ms) },
        faults,
        broken,
        operations: Vec::new(),
        steps: Vec::new(),
        calm_at_ms,
        converge_within_ms: 60_000,
        knobs,
    };
    widen(&mut plan);
    meet(&mut plan);
    replace(&mut plan);
    narrow(&mut plan);
    shrink_volumes(&mut plan);
    copy(&mut plan);
    divide_files(&mut plan);
    plan
}

/// Makes the pieces short in which snapshots and rollback files go, if it is a plan of those: a file has many, and anything may happen
/// between two of them. Drawn from a stream of its own.
fn divide_files(plan: &mut Plan) {
    let mut dice = Dice::named(plan.seed, "pieces");
    if !dice.chance(PIECES_PER_MILLE) {
        return;
    }
    let chunk_bytes = *dice.pick(&[1, 200, 1_000, 8_000]);
    // What is written during a transfer must still be in memory after it, or the next one begins.
    let tail_bytes_min = (0..plan.nodes()).map(|node| plan.knobs_of(node).tail_bytes_max).min();
    let is_long = tail_bytes_min.is_some_and(|bytes| bytes >= TAIL_BYTES_MIN);
    plan.knobs.chunk_bytes = if is_long { chunk_bytes } else { chunk_bytes.max(8_000) };
}

/// Most runs are long and at ease, so that timeouts, snapshots and repairs come to their end between faults; some are
/// short and crowded.
fn busy_ms(dice: &mut Dice) -> u64 {
    if dice.chance(150) { dice.between(1_500, 6_000) } else { dice.between(22_000, 38_000) }
}

/// The same plan with what only a whole server can meet, in half of all plans.
pub fn with_front(mut plan: Plan) -> Plan {
    let mut dice = Dice::named(plan.seed, "front");
    if dice.chance(500) {
        return plan;
    }
    // While a copy of a directory is looked at, nothing else happens.
    let copied_at_ms =
        plan.faults.iter().find(|fault| matches!(fault.what, What::CopyDisk(..))).map(|fault| fault.at_ms);
    let until_ms = copied_at_ms.unwrap_or(plan.calm_at_ms).saturating_sub(500);
    for _ in 0..dice.between(1, 3) {
        let node = dice.below(plan.nodes() as u64) as u8;
        let for_ms = *dice.pick(&[50, 500, 2_000]);
        let at_ms = dice.between(600, until_ms.saturating_sub(for_ms));
        let what = if dice.chance(500) { What::Stop(node) } else { What::Strangers(node) };
        plan.faults.push(Fault { at_ms, for_ms, what });
    }
    plan.faults.sort_by_key(|fault| fault.at_ms);
    plan
}

fn knobs(dice: &mut Dice, busy_ms: u64) -> Knobs {
    let absurd = dice.chance(300);
    let heartbeats = if busy_ms < 10_000 { &[50, 100, 100, 200] } else { &[200, 500, 500, 1_000] };
    Knobs {
        heartbeat_ms: *dice.pick(heartbeats),
        reconnect_ms: *dice.pick(&[200, 1_000, 5_000]),
        tail_bytes_max: if absurd { *dice.pick(&[0, 256, 1_024]) } else { *dice.pick(&[4_096, 65_536, 1 << 20]) },
        uncommitted_bytes_max: Knobs::default().uncommitted_bytes_max,
        segment_bytes_max: if absurd { *dice.pick(&[1_024, 2_048]) } else { *dice.pick(&[4_096, 16_384, 65_536]) },
        snapshot_wal_bytes: if absurd { *dice.pick(&[200, 1_000]) } else { *dice.pick(&[5_000, 30_000, 1 << 20]) },
        snapshot_interval_ms: *dice.pick(&[1_000, 5_000, 60_000]),
        max_snapshots: dice.between(1, 3) as u32,
        applies_per_turn: *dice.pick(&[APPLIES_PER_TURN_MAX, APPLIES_PER_TURN_MAX, APPLIES_PER_TURN_MAX, 1, 8]),
        through_codec: dice.chance(250),
        automatic: false,
        // Rarely more than the lease allows for: then mastership is no proof, and what needs none must hold all the same.
        drift_ppm_max: *dice.pick(&[0, 0, 100, 100, 100, 10_000, 10_000, 10_000, 200_000]),
        ..Knobs::default()
    }
}

fn network(dice: &mut Dice) -> Network {
    let delay_us_min = *dice.pick(&[20, 100, 1_000]);
    Network {
        delay_us_min,
        delay_us_max: delay_us_min * dice.between(1, 20),
        straggler_per_mille: *dice.pick(&[0, 0, 5, 50]),
        stalls_for_ever: dice.chance(500),
        ..Network::default()
    }
}

fn disk(dice: &mut Dice) -> DiskProfile {
    let sync_us_min = *dice.pick(&[20, 100, 1_000]);
    let keep_per_mille = *dice.pick(&[0, 100, 500, 900]);
    let torn_per_mille = *dice.pick(&[0, 50, 100]).min(&(1000 - keep_per_mille));
    DiskProfile {
        op_us_min: 1,
        op_us_max: *dice.pick(&[5, 50, 500]),
        sync_us_min,
        sync_us_max: sync_us_min * dice.between(1, 10),
        write_back_per_mille: *dice.pick(&[0, 20, 300]),
        keep_per_mille,
        torn_per_mille,
        garbage_per_mille: *dice.pick(&[0, 50, 300]).min(&(1000 - keep_per_mille - torn_per_mille)),
        length_ahead_per_mille: *dice.pick(&[0, 500, 1000]),
        ordered_names: dice.chance(600),
        failed_sync: *dice.pick(&[FailedSync::MarksClean, FailedSync::DropsPages]),
    }
}

/// From dice of its own, so that nothing else is drawn anew.
fn wide_per_mille(seed: u64) -> u32 {
    *Dice::named(seed, "wide").pick(&[0, 150, 400])
}

fn workload(dice: &mut Dice, replicas: u8, busy_ms: u64) -> Workload {
    let mut concerns = vec!["quorum".to_owned()];
    if dice.chance(500) {
        concerns.push("local".to_owned());
    }
    if dice.chance(500) {
        concerns.push("async".to_owned());
    }
    if dice.chance(500) {
        concerns.push(dice.between(1, u64::from(replicas)).to_string());
    }
    let clients = dice.between(2, 6) as u8;
    let requests = *dice.pick(&[60, 100, 150, 200, 400]);
    let pause_us = busy_ms * 1000 * u64::from(clients) / requests;
    // Few requests must not be nearly all reads, or nothing is written that a run could lose.
    let readers = if clients > 2 && dice.chance(500) { dice.between(1, u64::from(clients) / 2) as u8 } else { 0 };
    let reads_max = if requests < 100 || readers > 0 { 300 } else { 600 };
    Workload {
        clients,
        readers,
        pause_us_min: pause_us / 20,
        pause_us_max: pause_us * 2,
        keys: *dice.pick(&[1, 5, 50, 1_000]),
        value_bytes_max: *dice.pick(&[10, 100, 1_500]),
        zeros: dice.chance(200),
        read_per_mille: (*dice.pick(&[100, 300, 600])).min(reads_max),
        ttl_per_mille: *dice.pick(&[0, 0, 100]),
        wide_per_mille: 0,
        concerns,
        timeout_ms: (*dice.pick(&[200, 1_000, 3_000])).min(busy_ms / 4),
    }
}

/// The kinds of fault that a run may know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    PowerCut,
    PowerCutAll,
    Pause,
    Partition,
    OneWay,
    Reset,
    SlowNetwork,
    SlowDisk,
    FullDisk,
    FailSync,
    Damage,
    Spoil,
    Wipe,
    OldDisk,
    SwapDisks,
    WallJump,
    Promote,
    EditRole,
    Snapshot,
    Switchover,
    KillMaster,
    CutMaster,
    Remove,
    Priority,
    PauseElections,
    Skew,
    Garble,
}

/// What an armed cluster must survive without a loss. A disk that rots at the end of its log, or of which an older copy is put
/// back, loses what it acked and cannot know it, which no majority is safe from.
const KINDS_AUTOMATIC: [Kind; 24] = [
    Kind::Kill,
    Kind::PowerCut,
    Kind::PowerCutAll,
    Kind::Pause,
    Kind::Partition,
    Kind::OneWay,
    Kind::Reset,
    Kind::SlowNetwork,
    Kind::SlowDisk,
    Kind::FullDisk,
    Kind::FailSync,
    Kind::WallJump,
    Kind::Snapshot,
    Kind::Switchover,
    Kind::KillMaster,
    Kind::CutMaster,
    Kind::Remove,
    Kind::Priority,
    Kind::PauseElections,
    Kind::Spoil,
    Kind::Wipe,
    Kind::SwapDisks,
    Kind::Skew,
    Kind::Garble,
];

const KINDS: [Kind; 21] = [
    Kind::Kill,
    Kind::PowerCut,
    Kind::PowerCutAll,
    Kind::Pause,
    Kind::Partition,
    Kind::OneWay,
    Kind::Reset,
    Kind::SlowNetwork,
    Kind::SlowDisk,
    Kind::FullDisk,
    Kind::FailSync,
    Kind::Damage,
    Kind::Wipe,
    Kind::OldDisk,
    Kind::SwapDisks,
    Kind::WallJump,
    Kind::Promote,
    Kind::EditRole,
    Kind::Snapshot,
    Kind::Skew,
    Kind::Garble,
];

/// Faults come in windows with calm in between, since constant flapping hides bugs.
fn faults(dice: &mut Dice, nodes: u8, busy_ms: u64, automatic: bool) -> Vec<Fault> {
    let mut kinds = kinds(dice, if automatic { &KINDS_AUTOMATIC } else { &KINDS });
    // Now and then an operator promotes by hand where replicas elect.
    if automatic && !kinds.is_empty() && dice.chance(100) {
        kinds.push(Kind::Promote);
    }
    // An operator who takes out one voter while another has just lost its disk ends the quorum for good.
    if kinds.contains(&Kind::Remove) {
        kinds.retain(|kind| !matches!(kind, Kind::Wipe | Kind::Spoil));
    }
    // Who is made master by hand with an older copy of its disk may open an epoch for the second time; with another's, which
    // may be empty, it may found a cluster of its own.
    if kinds.iter().any(|kind| matches!(kind, Kind::Promote | Kind::EditRole)) {
        kinds.retain(|kind| !matches!(kind, Kind::OldDisk | Kind::SwapDisks));
    }
    // Nor is the copy of one machine's disk put back in another.
    if nodes < 3 || kinds.contains(&Kind::OldDisk) {
        kinds.retain(|kind| *kind != Kind::SwapDisks);
    }
    if kinds.is_empty() {
        return Vec::new();
    }
    let mut faults: Vec<Fault> = Vec::new();
    // The cluster is founded and the first entries flow before anything breaks, in most runs.
    let mut at_ms = if dice.chance(850) { dice.between(600, 1_500) } else { dice.between(0, 600) };
    while at_ms < busy_ms {
        for _ in 0..dice.between(1, 2) {
            let kind = *dice.pick(&kinds);
            let late_ms = dice.below(150);
            let drawn = fault(dice, kind, nodes, at_ms + late_ms);
            if automatic && ruins_disk(&drawn.what) && faults.iter().any(|fault| ruins_disk(&fault.what)) {
                // There may be no more than three voters, whose majority spares one disk.
                continue;
            }
            if let What::Remove(node) = drawn.what {
                // Who is connected is not to be removed.
                let down = Fault {
                    at_ms: drawn.at_ms.saturating_sub(50),
                    for_ms: drawn.for_ms.max(300),
                    what: What::Kill(node),
                };
                faults.push(down);
            }
            faults.push(drawn);
        }
        at_ms += *dice.pick(&[50, 300, 1_500, 6_000]) + dice.below(500);
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn kinds(dice: &mut Dice, known: &[Kind]) -> Vec<Kind> {
    let how_many = *dice.pick(&[0, 1, 1, 2, 3, 4, 6]);
    (0..how_many).map(|_| *dice.pick(known)).collect()
}

fn fault(dice: &mut Dice, kind: Kind, nodes: u8, at_ms: u64) -> Fault {
    // The master is where most promises are made.
    let node = if dice.chance(500) { 0 } else { dice.below(u64::from(nodes)) as u8 };
    let replica = dice.between(1, u64::from(nodes) - 1) as u8;
    let for_ms = *dice.pick(&[1, 50, 300, 1_500, 4_000]) + dice.below(50);
    let (for_ms, what) = match kind {
        Kind::Kill => (for_ms, What::Kill(node)),
        Kind::PowerCut => (for_ms, What::PowerCut(node)),
        Kind::PowerCutAll => (for_ms, What::PowerCutAll),
        Kind::Pause => (for_ms, What::Pause(node)),
        Kind::Partition => (for_ms, What::Partition(side(dice, nodes))),
        Kind::OneWay => {
            let other = (node + dice.between(1, u64::from(nodes) - 1) as u8) % nodes;
            (for_ms, What::OneWay(node, other))
        }
        Kind::Reset => (0, What::Reset(node)),
        Kind::SlowNetwork => (for_ms, What::SlowNetwork(*dice.pick(&[10, 100]))),
        Kind::SlowDisk => (for_ms, What::SlowDisk(node, *dice.pick(&[10, 100]))),
        Kind::FullDisk => (for_ms, What::FullDisk(node)),
        Kind::FailSync => (for_ms.max(300), What::FailSync(node)),
        Kind::Damage => (0, dice.pick(&[What::Rot, What::Rot, What::Misdirect, What::Spoil])(replica)),
        Kind::Spoil => (0, What::Spoil(replica)),
        Kind::Wipe => (for_ms, What::Wipe(replica)),
        Kind::OldDisk => (for_ms.max(300), What::OldDisk(replica)),
        Kind::SwapDisks => {
            // The file of the first master makes a master of whatever disk it meets.
            let other = 1 + (replica - 1 + dice.between(1, u64::from(nodes) - 2) as u8) % (nodes - 1);
            (for_ms, What::SwapDisks(replica, other))
        }
        Kind::WallJump => {
            let ms = *dice.pick(&[50, 5_000, 3_600_000]);
            (0, What::WallJump(node, if dice.chance(500) { ms } else { -ms }))
        }
        Kind::Promote => (0, What::Promote(replica, dice.chance(300))),
        Kind::EditRole => (for_ms, What::EditRole(replica)),
        Kind::Snapshot => (0, What::Snapshot(node)),
        Kind::Switchover => (0, What::Switchover(node)),
        Kind::KillMaster => (for_ms, What::KillMaster),
        Kind::CutMaster => (for_ms, What::CutMaster),
        Kind::Remove => (for_ms, What::Remove(replica)),
        // Only one node is ever told not to lead.
        Kind::Priority => (0, What::Priority(replica, if replica == 1 { 0 } else { *dice.pick(&[1, 50, 200]) })),
        Kind::PauseElections => (for_ms.max(1_000), What::PauseElections),
        Kind::Skew => (for_ms, What::Skew(node, if dice.chance(500) { 1 } else { -1 })),
        Kind::Garble => (for_ms, What::Garble(node)),
    };
    Fault { at_ms, for_ms, what }
}

/// One side of a partition; never everybody, never nobody.
fn side(dice: &mut Dice, nodes: u8) -> Vec<u8> {
    let side: Vec<u8> = (0..nodes).filter(|_| dice.chance(500)).collect();
    if side.is_empty() || side.len() == usize::from(nodes) { vec![0] } else { side }
}

/// Nodes that are given up, fewer than half.
fn broken(dice: &mut Dice, nodes: u8) -> Vec<u8> {
    let most = u64::from(nodes - 1) / 2;
    let mut broken: Vec<u8> = (0..dice.between(1, most)).map(|_| dice.below(u64::from(nodes)) as u8).collect();
    broken.sort_unstable();
    broken.dedup();
    broken
}

/// What is wrong with them and never mended: from some time on, or only when everything else is over.
fn lasting(dice: &mut Dice, broken: &[u8], nodes: u8, calm_at_ms: u64) -> Vec<Fault> {
    let at_ms = if dice.chance(500) { calm_at_ms - 400 } else { dice.between(1_500.min(calm_at_ms), calm_at_ms) };
    let others = || (0..nodes).filter(|node| !broken.contains(node));
    let each = |what: &dyn Fn(u8) -> What| broken.iter().map(|node| what(*node)).collect::<Vec<What>>();
    let ways = |way: &dyn Fn(u8, u8) -> What| {
        broken.iter().flat_map(|node| others().map(|other| way(*node, other))).collect::<Vec<What>>()
    };
    let what = match dice.below(6) {
        0 => each(&What::Kill),
        1 => each(&What::PowerCut),
        2 => each(&What::Pause),
        3 => vec![What::Partition(broken.to_vec())],
        // Deaf: it is heard and hears nothing.
        4 => ways(&|node, other| What::OneWay(other, node)),
        // Mute.
        _ => ways(&What::OneWay),
    };
    what.into_iter().map(|what| Fault { at_ms, for_ms: FOR_EVER_MS, what }).collect()
}

/// Longer than any run.
pub(super) const FOR_EVER_MS: u64 = 10_000_000;

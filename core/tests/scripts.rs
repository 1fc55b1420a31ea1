//! Golden scripts: each file in `scripts/` drives a small cluster step by step, with messages and disk syncs as
//! visible steps, and records what every node says and does. `UPDATE_GOLDENFILES=1` rewrites them; a changed line
//! is explained in the commit.

mod cluster;
mod turns;

use std::error::Error;

use cluster::Cluster;
use cluster::network::Addresses;
use goldenscript::{Argument, Command, Context};
use synap_core::ids::NodeId;
use synap_core::planted::Planted;
use synap_core::position::{LeaderDigits, Named};
use synap_core::wal::Lane;

/// Runs the commands of one script.
#[derive(Default)]
struct Script {
    cluster: Cluster,
    /// What is planted in every node.
    planted: Planted,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let first: Option<u32> = match args.next_pos() {
            Some(text) => Some(text.parse()?),
            None => None,
        };
        let node = || first.ok_or("which node?");
        let cluster = &mut self.cluster;
        match command.name.as_str() {
            "cluster" => {
                let tail = args.take_key("tail").map(str::parse).transpose()?.unwrap_or(64 << 20);
                let auto = args.take_key("failover").is_some_and(|mode| mode == "auto");
                let evidence = args.take_key("evidence").is_none_or(|counts| counts != "no");
                let addresses = match args.take_key("addresses") {
                    None | Some("all") => Addresses::All,
                    Some("none") => Addresses::None,
                    Some("proxy") => Addresses::Proxy,
                    Some(other) => return Err(format!("unknown addresses {other}").into()),
                };
                let skew_ms = args.take_key("skew_ms").map(str::parse).transpose()?.unwrap_or(0);
                let uncommitted = args.take_key("uncommitted").map(str::parse).transpose()?.unwrap_or(64 << 20);
                let bounds = (tail, uncommitted);
                *cluster =
                    Cluster::new(first.unwrap_or(1), bounds, auto, evidence, addresses, self.planted, skew_ms);
            }
            "set" => {
                let concern = args.take_key("concern").map(String::from);
                let ttl_ms = args.take_key("ttl_ms").map(str::parse).transpose()?;
                let bytes = args.take_key("bytes").map(str::parse::<usize>).transpose()?.unwrap_or(0);
                for arg in args.by_ref() {
                    let Argument::KeyValue(key, value) = arg else { return Err("key=value".into()) };
                    let value = value.clone() + &".".repeat(bytes.saturating_sub(value.len()));
                    cluster.set(node()?, key, &value, ttl_ms, concern.as_deref());
                }
            }
            "set-if" => {
                let version = args.take_key("version").ok_or("which version?")?.to_owned();
                let Some(Argument::KeyValue(key, value)) = args.next() else { return Err("key=value".into()) };
                cluster.set_if(node()?, key, value, &version);
            }
            "batch" => {
                let bytes = args.take_key("bytes").map(str::parse).transpose()?.unwrap_or(1);
                cluster.batch(node()?, args.next_pos().ok_or("how many pairs?")?.parse()?, bytes);
            }
            "fill" => {
                let ttl_ms = args.take_key("ttl_ms").map(str::parse).transpose()?;
                cluster.fill(node()?, 0..args.next_pos().ok_or("how many?")?.parse()?, ttl_ms);
            }
            "incr" => {
                let concern = args.take_key("concern").map(String::from);
                let once = args.take_key("once").map(String::from);
                let Some(Argument::KeyValue(key, by)) = args.next() else { return Err("key=amount".into()) };
                cluster.incr(node()?, key, by.parse()?, once.as_deref(), concern.as_deref());
            }
            "get" => cluster.get(node()?, args.next_pos().ok_or("which key?")?),
            "deliver" => cluster.deliver(node()?),
            "sync" => cluster.sync(node()?),
            "run" => cluster.run(u64::from(first.unwrap_or(0))),
            "crash" => cluster.crash(node()?),
            "stop" => cluster.stop(node()?),
            "start" => {
                let syncs = args.take_key("fsync").is_none_or(|mode| mode != "never");
                cluster.sync_promises(node()?, syncs);
                if let Some(log) = args.take_key("log") {
                    cluster.keep_log(node()?, log != "no");
                }
                cluster.configure_master(node()?, args.take_key("master").map(str::parse).transpose()?);
                cluster.configure_mode(node()?, args.take_key("failover"));
                cluster.configure_priority(node()?, args.take_key("priority").map(str::parse).transpose()?);
                cluster.keep_snapshots(node()?, args.take_key("snapshots").map(str::parse).transpose()?);
                cluster.configure_heartbeat(node()?, args.take_key("heartbeat").map(str::parse).transpose()?);
                cluster.spoil(node()?, args.take_key("spoilt"));
                cluster.start(node()?, args.take_key("role"));
            }
            "jump-wall" => cluster.jump_wall(node()?, args.next_pos().ok_or("how far?")?.parse()?),
            "hold" => cluster.hold(node()?, true),
            "release" => cluster.hold(node()?, false),
            "front" => cluster.front(node()?),
            "members" => cluster.members(node()?),
            "voters" => cluster.voters(node()?),
            "wipe" => cluster.wipe(node()?),
            "restore" => {
                let from = args.take_key("from").ok_or("from whom?")?.parse()?;
                match args.take_key("as") {
                    Some("same") => cluster.restore_as(node()?, from, None),
                    Some(id) => cluster.restore_as(node()?, from, Some(id.parse()?)),
                    None => cluster.restore(node()?, from),
                }
            }
            "copy" => cluster.copy(node()?, args.take_key("from").ok_or("from whom?")?.parse()?),
            "identity" => cluster.identity(node()?),
            "swap-disks" => cluster.swap_disks(node()?, args.next_pos().ok_or("and which other?")?.parse()?),
            "cut" => cluster.cut(node()?, args.next_pos().ok_or("and which other?")?.parse()?),
            "slow" => {
                let stuck = args.take_key("stuck").is_some();
                cluster.slow_way(node()?, args.next_pos().ok_or("and to which?")?.parse()?, stuck);
            }
            "free" => cluster.free_way(node()?, args.next_pos().ok_or("and to which?")?.parse()?),
            "heal" => cluster.heal(),
            "wall" => cluster.wall(node()?, args.next_pos().ok_or("and which other?")?.parse()?),
            "move" => cluster.move_on(node()?),
            "reset-proxy" => cluster.reset_proxy(node()?),
            "addresses" => cluster.known_addresses(node()?),
            "promote" => cluster.promote(node()?, args.take_key("force").is_some()),
            "switchover" => cluster.switch_over(node()?, args.take_key("to")),
            "pause" => cluster.pause(node()?, args.next_pos().ok_or("how long?")?.parse()?),
            "remove" => cluster.remove(node()?, args.next_pos().ok_or("which member?")?),
            "replace" => {
                let by = args.take_key("by").map(String::from).ok_or("by whom?")?;
                cluster.replace(node()?, args.next_pos().ok_or("which member?")?, &by);
            }
            "priority" => cluster.priority(node()?, args.next_pos().ok_or("which member?")?),
            "restart-often" => cluster.restart_often(node()?, args.next_pos().ok_or("how often?")?.parse()?),
            "read" => match args.take_key("min").map(position).transpose()? {
                Some(min) => cluster.read_after(node()?, min),
                None => cluster.read_linearizable(node()?),
            },
            "outcome" => cluster.outcome(node()?, position(args.next_pos().ok_or("of what?")?)?),
            "snapshot" => cluster.snapshot(node()?),
            "room" => cluster.room(node()?),
            "status" => cluster.status(),
            "log-time" => cluster.log_time(node()?),
            "staleness" => cluster.staleness(node()?),
            "rollback" => cluster.rollback_files(node()?),
            "stop-disk" => cluster.stop_disk(
                node()?,
                match args.take_key("hand") {
                    Some("log") => &[Lane::Log],
                    Some("snapshot") => &[Lane::Snapshot],
                    Some(_) => return Err("log or snapshot".into()),
                    None => &[Lane::Log, Lane::Snapshot],
                },
            ),
            "go-disk" => cluster.stop_disk(node()?, &[]),
            "fill-disk" => cluster.fill_disk(node()?, true),
            "free-disk" => cluster.fill_disk(node()?, false),
            "name" => cluster.name(node()?, args.next_pos().ok_or("which name?")?),
            name => return Err(format!("unknown command {name}").into()),
        }
        args.reject_next()?;
        Ok(cluster.transcript())
    }
}

/// `EPOCH:INDEX`, or `EPOCH:INDEX-NODE` with the number of the node that leads the epoch.
fn position(text: &str) -> Result<Named, Box<dyn Error>> {
    let (bare, node) = text.split_once('-').unwrap_or((text, ""));
    let named = Named::parse(bare).ok_or("EPOCH:INDEX")?;
    if node.is_empty() {
        return Ok(named);
    }
    Ok(Named { leader: Some(LeaderDigits::whole(NodeId(node.parse()?))), ..named })
}

#[test]
fn scripts_read_as_recorded() {
    let mut seen = 0;
    for file in std::fs::read_dir("tests/scripts").expect("the scripts are there") {
        let path = file.expect("readable").path();
        goldenscript::run(&mut Script::default(), &path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        seen += 1;
    }
    assert!(seen > 0, "no script was run");
}

/// Planted bugs that scripts find: with the bug in every node the script must not read as recorded. For rules of which no
/// oracle of the simulator can judge, such as what a promotion by force takes over. Runs where the bugs are built in: with the
/// whole workspace, or with `--features planted-bugs`.
#[cfg(feature = "planted-bugs")]
mod planted {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use synap_core::planted::{Bug, Planted};

    use super::Script;

    /// Each bug with the script that finds it.
    const FOUND_BY: &[(Bug, &str)] = &[
        (Bug::VersionNamesTwo, "version_names_two"),
        (Bug::OpinionOnEvidenceAlone, "seen_to_die_by_one_voter"),
        (Bug::UnknownToldRefused, "switchover_of_unknown_fate"),
        (Bug::RefusalsToldAgain, "master_that_lacks_what_was_answered"),
        (Bug::ForceWithoutEffect, "master_that_lacks_what_was_answered"),
        (Bug::RoundsBehindBulk, "rounds_overtake_data"),
        (Bug::ProgressIgnored, "bytes_that_arrive_are_contact"),
        (Bug::TailBeforePromise, "tail_before_the_promise"),
        (Bug::DeadlineBeforeTail, "forced_with_a_silent_member"),
        (Bug::DiscardedStateSent, "state_of_a_discarded_line"),
        (Bug::AnybodyIsNamed, "switchover_that_another_wins"),
        (Bug::MembershipBeforeForgotten, "disarming_without_a_tail"),
        (Bug::LeaseKeptWithHangingDisk, "disk_hangs_and_hands_over"),
        (Bug::HandoverWaitsForOwnDisk, "disk_hangs_and_hands_over"),
        (Bug::EligibleWithHangingDisk, "disk_hangs_and_others_too"),
        (Bug::LogTimeJumpsAhead, "wall_clock_jumps"),
        (Bug::LogTimeWaits, "wall_clock_jumps"),
        (Bug::ExpiredShownInSilence, "silent_master_and_expiry"),
        (Bug::SweepStarved, "sweep_under_writes"),
        (Bug::SweepUnbounded, "sweep_under_writes"),
        (Bug::LearntAddressIgnored, "addresses_that_nobody_configured"),
        (Bug::OnlyOwnDialsAsked, "connected_from_one_side"),
        (Bug::MovedMembersIgnored, "votes_of_members_that_moved"),
        (Bug::EvidenceFromElsewhere, "evidence_from_an_address_never_reached"),
        (Bug::OwnHeartbeatCounts, "heartbeats_that_differ"),
        (Bug::UnsyncedAcksCount, "voter_without_a_log"),
    ];

    #[test]
    fn scripts_find_what_is_planted() {
        for (bug, name) in FOUND_BY {
            let recorded = std::fs::read_to_string(format!("tests/scripts/{name}")).expect("the script is there");
            let run = |planted| {
                catch_unwind(AssertUnwindSafe(|| {
                    goldenscript::generate(&mut Script { planted, ..Script::default() }, &recorded)
                }))
            };
            let sound = run(Planted::default()).expect("no panic").expect("a script");
            assert_eq!(sound, recorded, "{name} without a bug");
            // An assertion of the core may be what finds it.
            let found = run(Planted::bug(*bug)).map_or(true, |read| read.is_ok_and(|read| read != recorded));
            assert!(found, "{name} reads the same with {bug:?}");
        }
    }
}

//! The planted bugs by name, and within how many seeds each must be found.

use synap_core::planted::{Bug, Planted};

/// A planted bug that the simulator must find.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its name in plans and tables.
    pub name: &'static str,
    /// Which.
    pub bug: Bug,
    /// Seeds of level A within which it must be found.
    pub seeds_max: u64,
    /// The plan that those seeds run, as a script; none: whatever they draw.
    pub plan: Option<&'static str>,
}

/// All of them. One that survives its hunt blocks the change.
pub const PLANTS: &[Plant] = &[
    plant("ack_before_durable", Bug::AckBeforeDurable, 100),
    plant("torn_tail_accepted", Bug::TornTailAccepted, 1500),
    plant("fsync_error_ignored", Bug::FsyncErrorIgnored, 500),
    plant("snapshot_index_off_by_one", Bug::SnapshotIndexOffByOne, 100),
    plant("wal_cut_before_snapshot_durable", Bug::WalCutBeforeSnapshotDurable, 500),
    plant("discarded_tail_not_reported", Bug::DiscardedTailNotReported, 500),
    plant("retry_applied_twice", Bug::RetryAppliedTwice, 500),
    plant("idempotency_table_missing_from_snapshot", Bug::IdempotencyTableMissingFromSnapshot, 500),
    plant("lease_ignored", Bug::LeaseIgnored, 500),
    plant("commit_before_own_sync", Bug::CommitBeforeOwnSync, 2000),
    plant("expiry_by_local_clock", Bug::ExpiryByLocalClock, 200),
    plant("lag_zero_without_master", Bug::LagZeroWithoutMaster, 500),
    plant("snapshot_rename_not_synced", Bug::SnapshotRenameNotSynced, 500),
    plant("damage_taken_for_tail", Bug::DamageTakenForTail, 1000),
    plant("no_step_down_on_higher_epoch", Bug::NoStepDownOnHigherEpoch, 3000),
    plant("config_sent_before_durable", Bug::ConfigSentBeforeDurable, 100),
    plant("unbounded_tail", Bug::UnboundedTail, 100),
    plant("vote_before_durable", Bug::VoteBeforeDurable, 200),
    plant("commit_of_earlier_epoch", Bug::CommitOfEarlierEpoch, 1000),
    plant("stale_epoch_followed", Bug::StaleEpochFollowed, 100),
    plant("log_freshness_by_length", Bug::LogFreshnessByLength, 2000),
    Plant {
        plan: Some(include_str!("../hunts/restarted-voters.yaml")),
        ..plant("word_forgotten_at_start", Bug::WordForgottenAtStart, 500)
    },
    plant("word_not_kept", Bug::WordNotKept, 500),
    Plant {
        plan: Some(include_str!("../hunts/answers-that-take-long.yaml")),
        ..plant("lease_from_answer", Bug::LeaseFromAnswer, 500)
    },
    Plant {
        plan: Some(include_str!("../hunts/cut-off-while-handing-over.yaml")),
        ..plant("lease_after_handover", Bug::LeaseAfterHandover, 500)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-token-that-comes-late.yaml")),
        ..plant("late_token_taken", Bug::LateTokenTaken, 500)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-tail-is-cut-while-it-is-written.yaml")),
        ..plant("late_receipt_not_clipped", Bug::LateReceiptNotClipped, 300)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-lost-disk-is-refilled-slowly.yaml")),
        ..plant("wiped_node_keeps_its_id", Bug::WipedNodeKeepsItsId, 500)
    },
    Plant {
        plan: Some(include_str!("../hunts/read-as-soon-as-it-leads.yaml")),
        ..plant("read_before_own_epoch", Bug::ReadBeforeOwnEpoch, 500)
    },
    plant("commit_alone", Bug::CommitAlone, 100),
    plant("spares_count", Bug::SparesCount, 500),
    plant("elected_by_half", Bug::ElectedByHalf, 2000),
    plant("memberships_overlap", Bug::MembershipsOverlap, 300),
    plant("office_before_own_promise", Bug::OfficeBeforeOwnPromise, 1000),
    Plant {
        plan: Some(include_str!("../seeds/a-state-that-was-rolled-back-is-not-sent.yaml")),
        ..plant("discarded_state_sent", Bug::DiscardedStateSent, 100)
    },
    Plant {
        plan: Some(include_str!("../seeds/a-vote-while-a-snapshot-takes-the-logs-place.yaml")),
        ..plant("old_log_goes_on", Bug::OldLogGoesOn, 100)
    },
    plant("tail_before_promise", Bug::TailBeforePromise, 1000),
    plant("pending_told_refused", Bug::PendingToldRefused, 500),
    plant("sent_on_too_soon", Bug::SentOnTooSoon, 500),
    Plant {
        plan: Some(include_str!("../seeds/who-never-leads-stands-in.yaml")),
        ..plant("never_stands_in", Bug::NeverStandsIn, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/promoted-beside-an-armed-cluster.yaml")),
        ..plant("promotion_over_majority", Bug::PromotionOverMajority, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/restarts-beside-an-armed-cluster.yaml")),
        ..plant("forgotten_taken_for_shared", Bug::ForgottenTakenForShared, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/two-masters-promoted-by-hand.yaml")),
        ..plant("position_by_number_alone", Bug::PositionByNumberAlone, 500)
    },
    Plant {
        plan: Some(include_str!("../hunts/two-parts-arm-apart.yaml")),
        ..plant("later_voters_count", Bug::LaterVotersCount, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-pause-beside-wall-clocks.yaml")),
        ..plant("pause_by_wall_clock", Bug::PauseByWallClock, 100)
    },
    Plant {
        plan: Some(include_str!("../seeds/a-snapshot-goes-before-its-successor-is-on-disk.yaml")),
        ..plant("snapshot_gone_too_soon", Bug::SnapshotGoneTooSoon, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/zeros-at-the-end-of-the-log.yaml")),
        ..plant("zeros_taken_for_empty", Bug::ZerosTakenForEmpty, 200)
    },
    Plant {
        plan: Some(include_str!("../hunts/clocks-beyond-the-lease.yaml")),
        ..plant("read_without_round", Bug::ReadWithoutRound, 200)
    },
    Plant {
        plan: Some(include_str!("../hunts/two-masters-promoted-by-hand.yaml")),
        ..plant("proof_outlives_mastership", Bug::ProofOutlivesMastership, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/restored-from-one-backup.yaml")),
        ..plant("restored_node_is_nobody", Bug::RestoredNodeIsNobody, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/restarted-before-it-is-healed.yaml")),
        ..plant("quarantine_forgotten", Bug::QuarantineForgotten, 300)
    },
    plant("copy_admitted", Bug::CopyAdmitted, 500),
    Plant {
        plan: Some(include_str!("../hunts/rebuilt-from-a-slow-master.yaml")),
        ..plant("shared_entries_dropped", Bug::SharedEntriesDropped, 100)
    },
    plant("local_waits_for_majority", Bug::LocalWaitsForMajority, 100),
    Plant {
        plan: Some(include_str!("../hunts/a-batch-longer-than-a-record.yaml")),
        ..plant("record_length_unchecked", Bug::RecordLengthUnchecked, 10)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-small-volume.yaml")),
        ..plant("room_unwatched", Bug::RoomUnwatched, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-small-volume-and-a-disk-that-hangs.yaml")),
        ..plant("entries_taken_without_room", Bug::EntriesTakenWithoutRoom, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-full-sync-beside-a-long-log.yaml")),
        ..plant("chunks_taken_without_room", Bug::ChunksTakenWithoutRoom, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-snapshot-on-a-small-volume.yaml")),
        ..plant("short_by_what_it_keeps", Bug::ShortByWhatItKeeps, 50)
    },
    Plant {
        plan: Some(include_str!("../hunts/more-than-the-replicas-take.yaml")),
        ..plant("unsettled_unbounded", Bug::UnsettledUnbounded, 20)
    },
    plant("loser_waits_long", Bug::LoserWaitsLong, 300),
    Plant {
        plan: Some(include_str!("../hunts/a-disk-that-hangs-for-good.yaml")),
        ..plant("lease_kept_with_hanging_disk", Bug::LeaseKeptWithHangingDisk, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/disks-that-hang-and-go-on.yaml")),
        ..plant("eligible_with_hanging_disk", Bug::EligibleWithHangingDisk, 100)
    },
    Plant {
        plan: Some(include_str!("../seeds/chunks-stored-before-the-promise.yaml")),
        ..plant("early_chunks_untold", Bug::EarlyChunksUntold, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-master-that-starts-alone.yaml")),
        ..plant("good_address_overwritten", Bug::GoodAddressOverwritten, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-proxy-that-ends-its-connections.yaml")),
        ..plant("evidence_from_elsewhere", Bug::EvidenceFromElsewhere, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-voter-that-can-only-call.yaml")),
        ..plant("only_own_dials_asked", Bug::OnlyOwnDialsAsked, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/the-first-member-is-looked-for.yaml")),
        ..plant("first_member_never_dialled", Bug::FirstMemberNeverDialled, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-master-that-can-only-call.yaml")),
        ..plant("rivals_raced", Bug::RivalsRaced, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/words-that-take-longer-and-longer.yaml")),
        ..plant("waiting_clocks_agree", Bug::WaitingClocksAgree, 500)
    },
    Plant {
        plan: Some(include_str!("../seeds/a-member-that-lost-all-but-its-promise.yaml")),
        ..plant("emptied_member_ignored", Bug::EmptiedMemberIgnored, 100)
    },
    Plant {
        plan: Some(include_str!("../seeds/a-master-whose-only-snapshot-is-damaged.yaml")),
        ..plant("founds_in_haste", Bug::FoundsInHaste, 100)
    },
    Plant {
        plan: Some(include_str!("../seeds/a-membership-that-has-not-left.yaml")),
        ..plant("unsent_membership_counts", Bug::UnsentMembershipCounts, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-small-volume-and-a-rollback.yaml")),
        ..plant("leaves_unsaved", Bug::LeavesUnsaved, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-silent-address-and-patient-voters.yaml")),
        ..plant("silence_taken_for_an_answer", Bug::SilenceTakenForAnAnswer, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/a-master-that-says-to-be-where-another-is.yaml")),
        ..plant("wrong_master_address_believed", Bug::WrongMasterAddressBelieved, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/rounds-on-links-as-slow-as-they-may-be.yaml")),
        ..plant("rounds_behind_bulk", Bug::RoundsBehindBulk, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/long-values-on-a-trickle.yaml")),
        ..plant("progress_ignored", Bug::ProgressIgnored, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/more-than-a-link-carries.yaml")),
        ..plant("sent_counts_as_held", Bug::SentCountsAsHeld, 20)
    },
    Plant {
        plan: Some(include_str!("../hunts/full-syncs-on-slow-links.yaml")),
        ..plant("chunks_unbounded", Bug::ChunksUnbounded, 20)
    },
    plant("log_time_jumps_ahead", Bug::LogTimeJumpsAhead, 500),
    plant("log_time_waits", Bug::LogTimeWaits, 500),
    plant("version_names_two", Bug::VersionNamesTwo, 1000),
    plant("lease_without_margin", Bug::LeaseWithoutMargin, 50),
    Plant {
        plan: Some(include_str!("../hunts/cut-off-while-handing-over.yaml")),
        ..plant("token_round_counts", Bug::TokenRoundCounts, 200)
    },
    plant("evidence_of_one", Bug::EvidenceOfOne, 200),
    Plant {
        plan: Some(include_str!("../hunts/tokens-and-restarts.yaml")),
        ..plant("token_trusted_at_start", Bug::TokenTrustedAtStart, 200)
    },
    plant("membership_before_own_entry", Bug::MembershipBeforeOwnEntry, 200),
    Plant {
        plan: Some(include_str!("../hunts/answers-about-an-index-that-take-long.yaml")),
        ..plant("any_index_taken", Bug::AnyIndexTaken, 100)
    },
    Plant {
        plan: Some(include_str!("../hunts/read-from-a-replica-with-a-slow-disk.yaml")),
        ..plant("index_not_waited_for", Bug::IndexNotWaitedFor, 100)
    },
    plant("lag_of_durable", Bug::LagOfDurable, 100),
    plant("contact_by_link", Bug::ContactByLink, 100),
    plant("eligible_unseen", Bug::EligibleUnseen, 100),
    plant("fate_of_the_place", Bug::FateOfThePlace, 300),
    plant("staleness_from_proof", Bug::StalenessFromProof, 300),
    Plant {
        plan: Some(include_str!("../hunts/lives-over-a-time-without-anybody.yaml")),
        ..plant("log_time_from_last_entry", Bug::LogTimeFromLastEntry, 20)
    },
];

const fn plant(name: &'static str, bug: Bug, seeds_max: u64) -> Plant {
    Plant { name, bug, seeds_max, plan: None }
}

/// The bug of this name, planted; nothing for no name or an unknown one.
pub fn planted(name: Option<&str>) -> Planted {
    PLANTS
        .iter()
        .find(|plant| Some(plant.name) == name)
        .map_or(Planted::default(), |plant| Planted::bug(plant.bug))
}

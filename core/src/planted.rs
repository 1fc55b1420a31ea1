//! Bugs planted on purpose, so that the simulator can be tested: each must be found.
//!
//! Without the feature `planted-bugs`, [`Planted`] is empty and every question below is `false` at compile
//! time, so that no trace of a bug reaches a release.

/// A bug that can be planted.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// A replica acks what it has received, before its disk holds it.
    AckBeforeDurable,
    /// Recovery takes a torn record at the end of the log for a good one.
    TornTailAccepted,
    /// A failed fsync is taken for a good one.
    FsyncErrorIgnored,
    /// A snapshot says that it holds one entry more than it does.
    SnapshotIndexOffByOne,
    /// The log is cut behind a snapshot before that is durable.
    WalCutBeforeSnapshotDurable,
    /// A tail is truncated without a rollback file.
    DiscardedTailNotReported,
    /// A retry is carried out once more.
    RetryAppliedTwice,
    /// Snapshots leave out the results that retries are answered from.
    IdempotencyTableMissingFromSnapshot,
    /// A vote leaves before its promise is on disk.
    VoteBeforeDurable,
    /// A vote goes by the length of the logs alone.
    LogFreshnessByLength,
    /// A master answers whether or not its lease holds.
    LeaseIgnored,
    /// A linearizable read trusts that this master still leads.
    ReadWithoutRound,
    /// A membership leaves before it is on the master's disk.
    ConfigSentBeforeDurable,
    /// An entry of an earlier epoch is committed by counting disks.
    CommitOfEarlierEpoch,
    /// A master counts its own disk before its sync.
    CommitBeforeOwnSync,
    /// A key expires by the clock of the node that applies, not by the log's.
    ExpiryByLocalClock,
    /// A replica without a master says that it lags nothing.
    LagZeroWithoutMaster,
    /// The log in memory is never cut.
    UnboundedTail,
    /// A snapshot takes its name without a sync of the directory.
    SnapshotRenameNotSynced,
    /// Damage in the middle of the log is taken for its torn end.
    DamageTakenForTail,
    /// A proof of being current outlives the mastership that gave it.
    ProofOutlivesMastership,
    /// The zeros at the end of a record are taken for a segment's empty rest.
    ZerosTakenForEmpty,
    /// A rebuilt replica drops entries that it shares with its master.
    SharedEntriesDropped,
    /// A candidate that lost waits for many election timeouts before it tries again.
    LoserWaitsLong,
    /// Chunks that were stored before the promise to their master was on disk are never told.
    EarlyChunksUntold,
    /// A master that gives way to another one tells its voters that it is gone, and they elect a third.
    RivalsRaced,
    /// Two clocks that show the same now are taken for the same.
    WaitingClocksAgree,
    /// A master whose disk hangs counts who can do without it by a membership that nobody else has.
    UnsentMembershipCounts,
    /// Entries leave memory while they are being written to a rollback file.
    LeavesUnsaved,
    /// A master takes no notice of a promise that is all that is left of a member.
    EmptiedMemberIgnored,
    /// An empty master that was a member founds a cluster as soon as a new one would.
    FoundsInHaste,
    /// A voter goes on taking entries of the master whose successor it votes for.
    StaleEpochFollowed,
    /// A master that hears of a higher epoch leads on.
    NoStepDownOnHigherEpoch,
    /// A process that begins votes at once, whatever word an earlier one has given.
    WordForgottenAtStart,
    /// A voter votes while it hears its master.
    WordNotKept,
    /// A lease counts from when a round was answered, not from when it was sent.
    LeaseFromAnswer,
    /// A master whose token is out goes on answering.
    LeaseAfterHandover,
    /// A token counts although its master was heard since.
    LateTokenTaken,
    /// What a batch was to make durable counts, though the log was cut below it meanwhile.
    LateReceiptNotClipped,
    /// A node whose disk was lost goes on under its old id.
    WipedNodeKeepsItsId,
    /// A master tells what is committed before it has committed anything in its own epoch.
    ReadBeforeOwnEpoch,
    /// An armed master commits by its own disk.
    CommitAlone,
    /// The disks of members that have no vote count towards a majority.
    SparesCount,
    /// A voter's ack counts towards commits, whether or not what it acks is in a log.
    UnsyncedAcksCount,
    /// Half of the voters are enough for an election.
    ElectedByHalf,
    /// A membership changes while the change before is not committed.
    MembershipsOverlap,
    /// A candidate leads by the promises of others before its own is on disk.
    OfficeBeforeOwnPromise,
    /// A snapshot is removed for one that is not on disk yet.
    SnapshotGoneTooSoon,
    /// A snapshot made in an earlier mastership goes to replicas, although what it holds was rolled back since.
    DiscardedStateSent,
    /// What is written between a snapshot's mark and its installation says that the old log goes on.
    OldLogGoesOn,
    /// A candidate listens to nobody but whom its membership names at an address.
    MovedMembersIgnored,
    /// Writes that a master without a lease leaves undecided are told to be refused.
    PendingToldRefused,
    /// A replica sends clients on to a master that has not begun to serve.
    SentOnTooSoon,
    /// A member of priority 0 never leads, whatever it alone holds.
    NeverStandsIn,
    /// A pause of elections ends by the wall clock.
    PauseByWallClock,
    /// A promotion without force takes back what a majority has committed.
    PromotionOverMajority,
    /// A node takes no notice of what others say where they reach it.
    LearntAddressIgnored,
    /// A master writes its own address as it knows it over one that others have learnt.
    GoodAddressOverwritten,
    /// A candidate asks those alone whom it reaches at the addresses of its membership.
    OnlyOwnDialsAsked,
    /// A replica with a configured master never looks for one at the address of the first member of its log.
    FirstMemberNeverDialled,
    /// A replica goes on dialling where a master says to be though nobody has ever said a word there.
    SilenceTakenForAnAnswer,
    /// A replica looks for a master where that says to be, over and over, though another node answers there.
    WrongMasterAddressBelieved,
    /// A replica ends the link to its master after three of its own heartbeats, not of the master's.
    OwnHeartbeatCounts,
    /// A port that refuses proves the end of a master that was never reached there.
    EvidenceFromElsewhere,
    /// A node that starts from a snapshot alone has the id zero.
    RestoredNodeIsNobody,
    /// A segment's nonce can be guessed.
    NonceNotDrawn,
    /// A restart makes a state fit again that must not lead.
    QuarantineForgotten,
    /// A second process of one node takes the place of the first.
    CopyAdmitted,
    /// A tail is fetched across epochs that its node has not promised.
    TailBeforePromise,
    /// A starting master that has waited for a silent member pulls nothing from another any more.
    DeadlineBeforeTail,
    /// A write of concern `local` waits for a majority.
    LocalWaitsForMajority,
    /// The length of a batch's record is not looked at before it is encoded.
    RecordLengthUnchecked,
    /// Nobody looks how much is free on the disk.
    RoomUnwatched,
    /// A replica takes entries for which it has no room.
    EntriesTakenWithoutRoom,
    /// A replica hands a master's snapshot to a disk that has no room for it beside the log.
    ChunksTakenWithoutRoom,
    /// Whether a node keeps little goes by how many snapshots it keeps because of that.
    ShortByWhatItKeeps,
    /// What is not settled may grow without bound.
    UnsettledUnbounded,
    /// A round goes behind the bulk data that it was sent with.
    RoundsBehindBulk,
    /// A switchover to a named member is called done whoever leads.
    AnybodyIsNamed,
    /// The log forgets the membership before one that disarms.
    MembershipBeforeForgotten,
    /// A master whose disk hangs leads on.
    LeaseKeptWithHangingDisk,
    /// A handover waits for the own disk although that hangs.
    HandoverWaitsForOwnDisk,
    /// A node whose disk hangs counts as one that may lead.
    EligibleWithHangingDisk,
    /// Log time follows a wall clock that jumps ahead at once.
    LogTimeJumpsAhead,
    /// Log time stands still until a wall clock that has jumped back has caught up.
    LogTimeWaits,
    /// A replica shows keys whose time is up until its master says so.
    ExpiredShownInSilence,
    /// The sweep waits until nothing else is being written.
    SweepStarved,
    /// One turn sweeps all that has expired.
    SweepUnbounded,
    /// What another log has forgotten is taken for shared, whatever was promoted since.
    ForgottenTakenForShared,
    /// Voters of a membership that came after a fork decide over what voters on the other side have committed.
    LaterVotersCount,
    /// A position is known by its epoch's number, whoever is named as the leader.
    PositionByNumberAlone,
    /// A voter is for a candidate because it has seen the master die, though nobody else has.
    OpinionOnEvidenceAlone,
    /// A switchover is called refused although its token is out.
    UnknownToldRefused,
    /// A refusal is told each time it comes.
    RefusalsToldAgain,
    /// A promotion by force of a master whose line is refused begins nothing.
    ForceWithoutEffect,
    /// Bytes of a message that is not whole yet are no contact.
    ProgressIgnored,
    /// What is discarded is freed in one turn, however large it is.
    FreedAtOnce,
    /// What was sent to a replica counts as held by it, so that all goes out at once.
    SentCountsAsHeld,
    /// A snapshot goes out at once, whatever of it was stored.
    ChunksUnbounded,
    /// Versions count on where they counted before, whoever opens a term.
    VersionNamesTwo,
    /// A lease is as long as the word that it rests on, as if clocks did not drift.
    LeaseWithoutMargin,
    /// Rounds from before a token give a lease once the handover is given up.
    TokenRoundCounts,
    /// One voter's evidence is enough for the word of the others.
    EvidenceOfOne,
    /// A voter that has just restarted believes that it has heard nothing since a token.
    TokenTrustedAtStart,
    /// A master writes a membership before it has committed anything in its own epoch.
    MembershipBeforeOwnEntry,
    /// The answer to one question about an index answers all.
    AnyIndexTaken,
    /// A replica does not wait until it has applied what it was told.
    IndexNotWaitedFor,
    /// A master tells how far a member lags by its disk, not by its store.
    LagOfDurable,
    /// A member whose link stands was heard just now.
    ContactByLink,
    /// A member that is not connected could take over.
    EligibleUnseen,
    /// A write is called committed once its place is, whoever holds it.
    FateOfThePlace,
    /// What a reader of a replica is told counts from when the proof came, not from when it was asked for.
    StalenessFromProof,
    /// A node that starts takes the last entry's time for log time.
    LogTimeFromLastEntry,
}

/// Which bug is planted in this node, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

#[cfg(feature = "planted-bugs")]
impl Planted {
    /// Plants `bug`.
    pub const fn bug(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    fn is(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

macro_rules! question {
    ($name:ident, $bug:ident) => {
        #[doc = concat!("Whether `", stringify!($bug), "` is planted.")]
        #[cfg(feature = "planted-bugs")]
        pub fn $name(self) -> bool {
            self.is(Bug::$bug)
        }

        #[doc = concat!("Never: `", stringify!($bug), "` is not in this build.")]
        #[cfg(not(feature = "planted-bugs"))]
        pub const fn $name(self) -> bool {
            false
        }
    };
}

impl Planted {
    question!(ack_before_durable, AckBeforeDurable);
    question!(torn_tail_accepted, TornTailAccepted);
    question!(fsync_error_ignored, FsyncErrorIgnored);
    question!(snapshot_index_off_by_one, SnapshotIndexOffByOne);
    question!(wal_cut_before_snapshot_durable, WalCutBeforeSnapshotDurable);
    question!(discarded_tail_not_reported, DiscardedTailNotReported);
    question!(retry_applied_twice, RetryAppliedTwice);
    question!(idempotency_table_missing_from_snapshot, IdempotencyTableMissingFromSnapshot);
    question!(vote_before_durable, VoteBeforeDurable);
    question!(log_freshness_by_length, LogFreshnessByLength);
    question!(lease_ignored, LeaseIgnored);
    question!(read_without_round, ReadWithoutRound);
    question!(config_sent_before_durable, ConfigSentBeforeDurable);
    question!(commit_of_earlier_epoch, CommitOfEarlierEpoch);
    question!(commit_before_own_sync, CommitBeforeOwnSync);
    question!(expiry_by_local_clock, ExpiryByLocalClock);
    question!(lag_zero_without_master, LagZeroWithoutMaster);
    question!(unbounded_tail, UnboundedTail);
    question!(snapshot_rename_not_synced, SnapshotRenameNotSynced);
    question!(damage_taken_for_tail, DamageTakenForTail);
    question!(proof_outlives_mastership, ProofOutlivesMastership);
    question!(zeros_taken_for_empty, ZerosTakenForEmpty);
    question!(shared_entries_dropped, SharedEntriesDropped);
    question!(loser_waits_long, LoserWaitsLong);
    question!(early_chunks_untold, EarlyChunksUntold);
    question!(stale_epoch_followed, StaleEpochFollowed);
    question!(no_step_down_on_higher_epoch, NoStepDownOnHigherEpoch);
    question!(word_forgotten_at_start, WordForgottenAtStart);
    question!(word_not_kept, WordNotKept);
    question!(lease_from_answer, LeaseFromAnswer);
    question!(lease_after_handover, LeaseAfterHandover);
    question!(late_token_taken, LateTokenTaken);
    question!(late_receipt_not_clipped, LateReceiptNotClipped);
    question!(wiped_node_keeps_its_id, WipedNodeKeepsItsId);
    question!(read_before_own_epoch, ReadBeforeOwnEpoch);
    question!(commit_alone, CommitAlone);
    question!(spares_count, SparesCount);
    question!(unsynced_acks_count, UnsyncedAcksCount);
    question!(elected_by_half, ElectedByHalf);
    question!(memberships_overlap, MembershipsOverlap);
    question!(office_before_own_promise, OfficeBeforeOwnPromise);
    question!(snapshot_gone_too_soon, SnapshotGoneTooSoon);
    question!(discarded_state_sent, DiscardedStateSent);
    question!(old_log_goes_on, OldLogGoesOn);
    question!(moved_members_ignored, MovedMembersIgnored);
    question!(pending_told_refused, PendingToldRefused);
    question!(sent_on_too_soon, SentOnTooSoon);
    question!(never_stands_in, NeverStandsIn);
    question!(pause_by_wall_clock, PauseByWallClock);
    question!(promotion_over_majority, PromotionOverMajority);
    question!(learnt_address_ignored, LearntAddressIgnored);
    question!(good_address_overwritten, GoodAddressOverwritten);
    question!(only_own_dials_asked, OnlyOwnDialsAsked);
    question!(first_member_never_dialled, FirstMemberNeverDialled);
    question!(rivals_raced, RivalsRaced);
    question!(waiting_clocks_agree, WaitingClocksAgree);
    question!(silence_taken_for_an_answer, SilenceTakenForAnAnswer);
    question!(wrong_master_address_believed, WrongMasterAddressBelieved);
    question!(own_heartbeat_counts, OwnHeartbeatCounts);
    question!(evidence_from_elsewhere, EvidenceFromElsewhere);
    question!(restored_node_is_nobody, RestoredNodeIsNobody);
    question!(nonce_not_drawn, NonceNotDrawn);
    question!(quarantine_forgotten, QuarantineForgotten);
    question!(copy_admitted, CopyAdmitted);
    question!(tail_before_promise, TailBeforePromise);
    question!(deadline_before_tail, DeadlineBeforeTail);
    question!(local_waits_for_majority, LocalWaitsForMajority);
    question!(record_length_unchecked, RecordLengthUnchecked);
    question!(room_unwatched, RoomUnwatched);
    question!(entries_taken_without_room, EntriesTakenWithoutRoom);
    question!(chunks_taken_without_room, ChunksTakenWithoutRoom);
    question!(short_by_what_it_keeps, ShortByWhatItKeeps);
    question!(unsettled_unbounded, UnsettledUnbounded);
    question!(rounds_behind_bulk, RoundsBehindBulk);
    question!(anybody_is_named, AnybodyIsNamed);
    question!(membership_before_forgotten, MembershipBeforeForgotten);
    question!(lease_kept_with_hanging_disk, LeaseKeptWithHangingDisk);
    question!(handover_waits_for_own_disk, HandoverWaitsForOwnDisk);
    question!(eligible_with_hanging_disk, EligibleWithHangingDisk);
    question!(log_time_jumps_ahead, LogTimeJumpsAhead);
    question!(log_time_waits, LogTimeWaits);
    question!(expired_shown_in_silence, ExpiredShownInSilence);
    question!(sweep_starved, SweepStarved);
    question!(sweep_unbounded, SweepUnbounded);
    question!(forgotten_taken_for_shared, ForgottenTakenForShared);
    question!(later_voters_count, LaterVotersCount);
    question!(position_by_number_alone, PositionByNumberAlone);
    question!(opinion_on_evidence_alone, OpinionOnEvidenceAlone);
    question!(unknown_told_refused, UnknownToldRefused);
    question!(refusals_told_again, RefusalsToldAgain);
    question!(force_without_effect, ForceWithoutEffect);
    question!(progress_ignored, ProgressIgnored);
    question!(freed_at_once, FreedAtOnce);
    question!(sent_counts_as_held, SentCountsAsHeld);
    question!(chunks_unbounded, ChunksUnbounded);
    question!(version_names_two, VersionNamesTwo);
    question!(lease_without_margin, LeaseWithoutMargin);
    question!(token_round_counts, TokenRoundCounts);
    question!(evidence_of_one, EvidenceOfOne);
    question!(token_trusted_at_start, TokenTrustedAtStart);
    question!(membership_before_own_entry, MembershipBeforeOwnEntry);
    question!(any_index_taken, AnyIndexTaken);
    question!(index_not_waited_for, IndexNotWaitedFor);
    question!(lag_of_durable, LagOfDurable);
    question!(contact_by_link, ContactByLink);
    question!(eligible_unseen, EligibleUnseen);
    question!(emptied_member_ignored, EmptiedMemberIgnored);
    question!(founds_in_haste, FoundsInHaste);
    question!(unsent_membership_counts, UnsentMembershipCounts);
    question!(leaves_unsaved, LeavesUnsaved);
    question!(fate_of_the_place, FateOfThePlace);
    question!(staleness_from_proof, StalenessFromProof);
    question!(log_time_from_last_entry, LogTimeFromLastEntry);
}

//! The store against a naive model: the same commands, the same outcomes, the same state.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use synap_core::command::{Command, Condition, Fingerprint, Outcome, Pair, StartKind, Ticket, Value, ValueKind};
use synap_core::position::Index;
use synap_core::store::{Applied, Item, Prior, Store, StoreView, WINDOW};
use synap_core::time::WallMs;
use synap_core::version::Version;

/// The rules once more, as plainly as can be.
#[derive(Clone, Debug, Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, Entry>,
    /// By a ticket's key: what was asked first, where, and what it gave.
    results: BTreeMap<Vec<u8>, (Ticket, Index, Outcome)>,
    log_time: u64,
    /// Versions are indices, counted from here.
    base: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Vec<u8>,
    kind: ValueKind,
    version: u64,
    expires_at: Option<u64>,
}

impl Model {
    /// What a command meets: an expired key is removed by it.
    fn live(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.visible(key);
        if entry.is_none() {
            self.keys.remove(key);
        }
        entry
    }

    /// What a reader meets.
    fn visible(&self, key: &[u8]) -> Option<Entry> {
        let entry = self.keys.get(key)?;
        entry.expires_at.is_none_or(|at| at > self.log_time).then(|| entry.clone())
    }

    fn write(&mut self, index: u64, pair: &Pair) {
        let expires_at = pair.ttl_ms.and_then(|ttl| self.log_time.checked_add(ttl));
        let entry = Entry {
            value: pair.value.bytes.to_vec(),
            kind: pair.value.kind,
            version: self.base + index,
            expires_at,
        };
        self.keys.insert(pair.key.to_vec(), entry);
    }

    fn apply(&mut self, index: u64, at: u64, command: &Command) -> (Outcome, Prior) {
        self.log_time = self.log_time.max(at);
        let version = |entry: &Option<Entry>| Version(entry.as_ref().map_or(0, |e| e.version));
        match command {
            Command::Set { pair, condition } => {
                let old = self.live(&pair.key);
                let actual = version(&old);
                let prior = Prior::One(actual);
                let written = match condition {
                    Condition::Always => true,
                    Condition::Absent => old.is_none(),
                    Condition::Present => old.is_some(),
                    Condition::Version(v) if *v == actual => true,
                    Condition::Version(_) => return (Outcome::VersionMismatch { actual }, prior),
                };
                if written {
                    self.write(index, pair);
                }
                let version = if written { Version(self.base + index) } else { actual };
                (Outcome::Set { written, version, old: old.map(|old| old.item(&pair.key)) }, prior)
            }
            Command::Delete { key } => {
                let old = self.live(key);
                self.keys.remove(&key[..]);
                (Outcome::Deleted { existed: old.is_some() }, Prior::One(version(&old)))
            }
            Command::Incr { key, by } => {
                let old = self.live(key);
                let prior = Prior::One(version(&old));
                let start = match &old {
                    None => Some(0),
                    Some(old) => std::str::from_utf8(&old.value).ok().and_then(|text| text.parse::<i64>().ok()),
                };
                let Some(sum) = start.and_then(|start| start.checked_add(*by)) else {
                    return (Outcome::NotAnInteger, prior);
                };
                let (kind, expires_at) = old.map_or((ValueKind::Json, None), |old| (old.kind, old.expires_at));
                let entry =
                    Entry { value: sum.to_string().into_bytes(), kind, version: self.base + index, expires_at };
                self.keys.insert(key.to_vec(), entry);
                (Outcome::Number(sum), prior)
            }
            Command::Expire { key, ttl_ms } => {
                let old = self.live(key);
                let prior = Prior::One(version(&old));
                let Some(old) = old else { return (Outcome::Touched(false), prior) };
                if *ttl_ms == 0 {
                    self.keys.remove(&key[..]);
                } else {
                    let expires_at = self.log_time.checked_add(*ttl_ms);
                    self.keys.insert(key.to_vec(), Entry { version: self.base + index, expires_at, ..old });
                }
                (Outcome::Touched(true), prior)
            }
            Command::Persist { key } => {
                let old = self.live(key);
                let prior = Prior::One(version(&old));
                let touched = old.as_ref().is_some_and(|old| old.expires_at.is_some());
                if let (Some(old), true) = (old, touched) {
                    self.keys.insert(key.to_vec(), Entry { version: self.base + index, expires_at: None, ..old });
                }
                (Outcome::Touched(touched), prior)
            }
            Command::Batch { pairs } => {
                let prior = pairs.iter().map(|pair| version(&self.live(&pair.key))).collect();
                pairs.iter().for_each(|pair| self.write(index, pair));
                (Outcome::Batch { written: pairs.len() as u64 }, Prior::Many(prior))
            }
            Command::Sweep { keys } => {
                for key in keys {
                    self.live(key);
                }
                (Outcome::Internal, Prior::Unknown)
            }
            Command::Once { ticket, command } => self.once(index, at, ticket, command),
            Command::If { condition, command } => self.only_if(index, at, *condition, command),
            Command::EpochStart { spread: 0, .. } | Command::Config(_) => (Outcome::Internal, Prior::Unknown),
            Command::EpochStart { spread, .. } => {
                let part = ((1 << 53) - 1 - self.base - index) / (1 << 25);
                self.base += part + u64::from(*spread) % part;
                (Outcome::Internal, Prior::Unknown)
            }
        }
    }

    fn only_if(&mut self, index: u64, at: u64, condition: Condition, command: &Command) -> (Outcome, Prior) {
        let actual = command.single_key().and_then(|key| self.live(key)).map_or(0, |entry| entry.version);
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => actual == 0,
            Condition::Present => actual > 0,
            Condition::Version(wanted) => wanted.0 == actual,
        };
        if holds {
            return self.apply(index, at, command);
        }
        let actual = Version(actual);
        (Outcome::VersionMismatch { actual }, Prior::One(actual))
    }

    fn once(&mut self, index: u64, at: u64, ticket: &Ticket, command: &Command) -> (Outcome, Prior) {
        if let Some((asked, first, outcome)) = self.results.get(&ticket.key[..]).cloned() {
            let outcome = if asked.fingerprint == ticket.fingerprint {
                Outcome::Replayed { first, outcome: Box::new(outcome), old_dropped: false }
            } else {
                Outcome::KeyReused { first }
            };
            return (outcome, Prior::Unknown);
        }
        let (outcome, prior) = self.apply(index, at, command);
        let remembered = match outcome.clone() {
            Outcome::Set { written, version, old: _ } if !ticket.wants_old => {
                Outcome::Set { written, version, old: None }
            }
            other => other,
        };
        self.results.insert(ticket.key.to_vec(), (ticket.clone(), Index(index), remembered));
        (outcome, prior)
    }

    fn live_items(&self) -> Vec<Item> {
        self.keys.keys().filter_map(|key| self.visible(key).map(|entry| entry.item(key))).collect()
    }

    fn agrees_with(&self, view: &StoreView) {
        assert_eq!(view.scan(b"", None).collect::<Vec<_>>(), self.live_items());
        assert_eq!(view.log_time(), WallMs(self.log_time));
        for (key, entry) in &self.keys {
            assert_eq!(view.get(key).is_some(), entry.expires_at.is_none_or(|at| at > self.log_time));
        }
    }
}

impl Entry {
    fn item(&self, key: &[u8]) -> Item {
        Item::new(key, self.kind, &self.value, Version(self.version), self.expires_at.map(WallMs))
    }
}

/// Few keys, so that they meet; some long ones, so that separators do not fit into a node.
fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        6 => (0_u16..400).prop_map(|n| Bytes::from(format!("key:{n}"))),
        2 => vec(0_u8..3, 0..5).prop_map(Bytes::from),
        1 => (0_u8..40).prop_map(|n| Bytes::from([&[b'k'; 40][..], &[n]].concat())),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(Bytes::from),
        (-3_i64..3).prop_map(|n| Bytes::from(n.to_string())),
        prop_oneof![Just(i64::MAX), Just(i64::MIN)].prop_map(|n| Bytes::from(n.to_string())),
    ];
    let kind = prop_oneof![Just(ValueKind::Bytes), Just(ValueKind::Json)];
    (kind, bytes).prop_map(|(kind, bytes)| Value { kind, bytes })
}

fn pair() -> impl Strategy<Value = Pair> {
    let ttl_ms = prop_oneof![4 => Just(None), 4 => (0_u64..50).prop_map(Some), 1 => Just(Some(u64::MAX))];
    (key(), value(), ttl_ms).prop_map(|(key, value, ttl_ms)| Pair { key, value, ttl_ms })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Always),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => (0_u64..100).prop_map(|version| Condition::Version(Version(version))),
    ]
}

/// Few keys and two requests, so that there are retries and slips.
fn ticket() -> impl Strategy<Value = Ticket> {
    (0_u8..8, any::<bool>(), any::<bool>()).prop_map(|(key, other, wants_old)| Ticket {
        key: Bytes::from(vec![key]),
        fingerprint: Fingerprint(u128::from(other)),
        wants_old,
    })
}

fn command() -> impl Strategy<Value = Command> {
    let plain_or_if =
        prop_oneof![4 => plain().prop_filter("a client's", Command::is_plain_client), 1 => only_if()];
    let once =
        (ticket(), plain_or_if).prop_map(|(ticket, command)| Command::Once { ticket, command: Box::new(command) });
    prop_oneof![5 => plain(), 1 => once, 1 => only_if()]
}

fn only_if() -> impl Strategy<Value = Command> {
    let condition = condition().prop_filter("a condition", |condition| *condition != Condition::Always);
    (condition, plain().prop_filter("on one key", Command::takes_condition))
        .prop_map(|(condition, command)| Command::If { condition, command: Box::new(command) })
}

fn plain() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => (pair(), condition()).prop_map(|(pair, condition)| Command::Set { pair, condition }),
        3 => key().prop_map(|key| Command::Delete { key }),
        2 => (key(), -3_i64..3).prop_map(|(key, by)| Command::Incr { key, by }),
        2 => (key(), 0_u64..30).prop_map(|(key, ttl_ms)| Command::Expire { key, ttl_ms }),
        1 => key().prop_map(|key| Command::Persist { key }),
        1 => vec(pair(), 0..100).prop_map(|pairs| Command::Batch { pairs }),
        1 => vec(key(), 0..100).prop_map(|keys| Command::Sweep { keys }),
        1 => any::<u32>().prop_map(|spread| Command::EpochStart { kind: StartKind::Restart, spread }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_model_does(commands in vec((command(), 0_u64..10), 0..300)) {
        let (mut store, mut model) = (Store::default(), Model::default());
        let mut frozen = Vec::new();
        let mut at = 1_000;
        for (n, (command, step)) in commands.iter().enumerate() {
            let index = n as u64 + 1;
            at += step;
            let Applied { outcome, prior } = store.apply(Index(index), WallMs(at), command);
            prop_assert_eq!((outcome, prior), model.apply(index, at, command));
            if n % 16 == 0 {
                frozen.push((store.view(), model.clone()));
            }
        }
        store.check();
        model.agrees_with(&store.view());
        prop_assert_eq!(store.keys(), model.keys.len() as u64);
        // What readers were given is as it was.
        for (view, then) in &frozen {
            then.agrees_with(view);
        }
    }

    #[test]
    fn scans_what_the_model_scans(pairs in vec(pair(), 0..300), prefix in key(), after in key()) {
        let store = filled(&pairs);
        let view = store.view();
        let all: Vec<Item> = view.scan(b"", None).collect();
        let prefix = &prefix[..prefix.len().min(5)];
        let wanted: Vec<Item> = all.iter().filter(|item| item.key().starts_with(prefix)).cloned().collect();
        prop_assert_eq!(view.scan(prefix, None).collect::<Vec<_>>(), wanted.clone());
        let wanted: Vec<Item> = wanted.into_iter().filter(|item| item.key() > &after[..]).collect();
        prop_assert_eq!(view.scan(prefix, Some(&after)).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn expired_keys_come_earliest_first(pairs in vec(pair(), 0..100), at in 0_u64..60, max in 0_usize..20) {
        let store = filled(&pairs);
        let view = store.view();
        let mut due: Vec<(WallMs, Vec<u8>)> = pairs
            .iter()
            .filter_map(|pair| Some((view.get(&pair.key)?.expires_at()?, pair.key.to_vec())))
            .collect();
        due.sort();
        due.dedup();
        // Those without a time to live at all are hidden from the view, and count as well.
        let dead = store.expired(WallMs(0), usize::MAX).len();
        prop_assert_eq!(store.next_expiry().is_some(), dead + due.len() > 0);
        let wanted: Vec<Vec<u8>> =
            due.iter().take_while(|(expires_at, _)| *expires_at <= WallMs(at)).map(|(_, key)| key.clone()).collect();
        let all = store.expired(WallMs(at), usize::MAX);
        prop_assert_eq!(&all[dead.min(all.len())..], &wanted[..]);
        let some = store.expired(WallMs(at), max);
        prop_assert_eq!(&some[..], &all[..max.min(all.len())]);
    }

    #[test]
    fn equal_states_are_equal_whatever_the_way(mut pairs in vec(pair(), 0..200), seed in any::<u64>()) {
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        pairs.dedup_by(|a, b| a.key == b.key);
        let straight = filled(&pairs);
        // The same writes under the same indices in another order, with a detour.
        let mut detour = Store::default();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|n| (*n as u64).wrapping_mul(seed | 1));
        for pair in pairs.iter().take(pairs.len() / 2) {
            let pair = Pair { ttl_ms: Some(7), ..pair.clone() };
            detour.apply(Index(1_000), WallMs(0), &Command::Set { pair, condition: Condition::Always });
        }
        for n in order {
            let set = Command::Set { pair: pairs[n].clone(), condition: Condition::Always };
            detour.apply(Index(n as u64 + 1), WallMs(0), &set);
        }
        prop_assert_eq!(straight.hash(), detour.hash());
        prop_assert_eq!(&straight, &detour);
        if let Some(pair) = pairs.first() {
            detour.apply(Index(1_001), WallMs(0), &Command::Delete { key: pair.key.clone() });
            prop_assert_ne!(straight.hash(), detour.hash());
            prop_assert_ne!(&straight, &detour);
        }
    }
}

fn filled(pairs: &[Pair]) -> Store {
    let mut store = Store::default();
    for (n, pair) in pairs.iter().enumerate() {
        let set = Command::Set { pair: pair.clone(), condition: Condition::Always };
        store.apply(Index(n as u64 + 1), WallMs(0), &set);
    }
    store
}

fn set(store: &mut Store, index: u64, at: u64, key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Applied {
    let value = Value { kind: ValueKind::Bytes, bytes: Bytes::copy_from_slice(value) };
    let pair = Pair { key: Bytes::copy_from_slice(key), value, ttl_ms };
    store.apply(Index(index), WallMs(at), &Command::Set { pair, condition: Condition::Always })
}

/// Grows to several levels and shrinks to nothing, in four orders, with a view alive throughout.
#[test]
fn thousands_of_keys_come_and_go() {
    const KEYS: u64 = 20_000;
    type Order = fn(u64) -> u64;
    let orders: [Order; 4] = [|n| n, |n| KEYS - 1 - n, |n| n * 7_919 % KEYS, |n| n / 2 + n % 2 * (KEYS / 2)];
    for insert in orders {
        for remove in orders {
            let mut store = Store::default();
            for n in 0..KEYS {
                set(&mut store, n + 1, 0, format!("{:08}", insert(n)).as_bytes(), b"v", None);
            }
            store.check();
            let full = store.view();
            let mut left = KEYS;
            for n in 0..KEYS {
                let key = Bytes::from(format!("{:08}", remove(n)));
                let applied = store.apply(Index(KEYS + n), WallMs(0), &Command::Delete { key });
                assert_eq!(applied.outcome, Outcome::Deleted { existed: true });
                left -= 1;
                if n % 5_000 == 0 {
                    store.check();
                    assert_eq!(store.view().scan(b"", None).count() as u64, left);
                }
            }
            assert_eq!(store, Store::default());
            assert_eq!(full.scan(b"", None).count() as u64, KEYS);
        }
    }
}

#[test]
fn a_set_without_a_time_to_live_takes_the_expiry_away() {
    let mut store = Store::default();
    set(&mut store, 1, 0, b"k", b"1", Some(10));
    assert_eq!(store.next_expiry(), Some(WallMs(10)));
    set(&mut store, 2, 5, b"k", b"2", None);
    assert_eq!(store.next_expiry(), None);
    assert_eq!(store.view().get(b"k").map(|item| item.expires_at()), Some(None));
}

#[test]
fn a_key_is_there_until_its_time_and_not_at_it() {
    let mut store = Store::default();
    set(&mut store, 1, 100, b"k", b"1", Some(10));
    set(&mut store, 2, 109, b"other", b"", None);
    assert!(store.view().get(b"k").is_some());
    set(&mut store, 3, 110, b"other", b"", None);
    assert!(store.view().get(b"k").is_none());
    // Hidden, and still held until it is swept.
    assert_eq!(store.keys(), 2);
    let keys = store.expired(WallMs(110), 10);
    store.apply(Index(4), WallMs(110), &Command::Sweep { keys });
    assert_eq!((store.keys(), store.next_expiry()), (1, None));
}

fn once(key: &str, command: Command) -> Command {
    let fingerprint = Fingerprint::of(&[format!("{command:?}").as_bytes()]);
    let ticket = Ticket { key: Bytes::copy_from_slice(key.as_bytes()), fingerprint, wants_old: false };
    Command::Once { ticket, command: Box::new(command) }
}

#[test]
fn a_retry_is_answered_as_the_first_was_and_does_nothing() {
    let incr = || Command::Incr { key: Bytes::from_static(b"n"), by: 3 };
    let mut store = Store::default();
    assert_eq!(store.apply(Index(1), WallMs(1), &once("a", incr())).outcome, Outcome::Number(3));
    let before = store.clone();
    let first = Outcome::Number(3);
    let replayed = Outcome::Replayed { first: Index(1), outcome: Box::new(first), old_dropped: false };
    assert_eq!(store.apply(Index(2), WallMs(1), &once("a", incr())).outcome, replayed);
    assert_eq!(store, before);
    let other = Command::Incr { key: Bytes::from_static(b"n"), by: 4 };
    assert_eq!(
        store.apply(Index(3), WallMs(1), &once("a", other)).outcome,
        Outcome::KeyReused { first: Index(1) }
    );
    assert_eq!(store, before);
    assert_eq!(store.apply(Index(4), WallMs(1), &once("b", incr())).outcome, Outcome::Number(6));
    store.check();
}

#[test]
fn results_belong_to_the_state() {
    let delete = || Command::Delete { key: Bytes::from_static(b"k") };
    let (mut with, mut without) = (Store::default(), Store::default());
    with.apply(Index(1), WallMs(1), &once("a", delete()));
    without.apply(Index(1), WallMs(1), &delete());
    assert_ne!(with, without);
    assert_ne!(with.hash(), without.hash());
    assert!(with.memory_bytes() > without.memory_bytes());
    assert_eq!(without.memory_bytes(), 0);
}

#[test]
fn the_window_holds_the_newest_results_and_no_more() {
    let incr =
        |number: u64| once(&format!("{number:036}"), Command::Incr { key: Bytes::from_static(b"n"), by: 1 });
    let mut store = Store::default();
    let last = WINDOW.results_max + 1_000;
    for number in 1..=last {
        store.apply(Index(number), WallMs(number), &incr(number));
    }
    assert_eq!(store.results(), WINDOW.results_max);
    assert!(store.memory_bytes() <= WINDOW.bytes_max, "{} bytes of short results", store.memory_bytes());
    println!("{} bytes a result", store.memory_bytes() / store.results());
    let outcome = |number: u64| store.clone().apply(Index(last + 1), WallMs(last), &incr(number)).outcome;
    assert!(matches!(outcome(1_001), Outcome::Replayed { first: Index(1_001), .. }));
    assert_eq!(outcome(1_000), Outcome::Number(last as i64 + 1), "forgotten, and done anew");
    store.check();
}

#[test]
fn a_result_is_forgotten_after_a_day_of_log_time() {
    let incr = || once("a", Command::Incr { key: Bytes::from_static(b"n"), by: 1 });
    let mut store = Store::default();
    store.apply(Index(1), WallMs(0), &incr());
    let last = WINDOW.age_ms_max - 1;
    assert!(matches!(store.apply(Index(2), WallMs(last), &incr()).outcome, Outcome::Replayed { .. }));
    assert_eq!(store.apply(Index(3), WallMs(last + 1), &incr()).outcome, Outcome::Number(2));
    store.check();
}

#[test]
fn a_sweep_spares_a_key_that_was_written_anew() {
    let mut store = Store::default();
    set(&mut store, 1, 0, b"k", b"1", Some(10));
    let keys = store.expired(WallMs(10), 10);
    set(&mut store, 2, 10, b"k", b"2", None);
    store.apply(Index(3), WallMs(10), &Command::Sweep { keys });
    assert!(store.view().get(b"k").is_some());
}

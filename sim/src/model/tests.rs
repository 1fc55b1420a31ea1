//! The model and the store of the core, side by side over long random logs: where they part, one of them is wrong.

use bytes::Bytes;
use synap_core::command::{Command, Condition, Fingerprint, Pair, StartKind, Ticket, Value, ValueKind};
use synap_core::position::Index;
use synap_core::store::Store;
use synap_core::time::WallMs;
use synap_core::version::Version;

use super::{Cell, Model, Told};
use crate::dice::Dice;

const HOUR_MS: u64 = 3_600_000;

/// Draws the commands of a log.
struct Author {
    dice: Dice,
    tickets: Vec<(Ticket, Command)>,
}

impl Author {
    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.dice.below(6)))
    }

    fn value(&mut self) -> Value {
        let texts =
            ["", "a", "7", "-3", "+5", "007", " 7", "9223372036854775807", "-9223372036854775808", "[1,2]"];
        let kind = if self.dice.chance(500) { ValueKind::Json } else { ValueKind::Bytes };
        let long = self.dice.chance(10);
        let bytes = if long { Bytes::from(vec![b'x'; 70_000]) } else { Bytes::from(*self.dice.pick(&texts)) };
        Value { kind, bytes }
    }

    fn ttl_ms(&mut self) -> u64 {
        *self.dice.pick(&[1, 2, 10, 1_000, HOUR_MS, 30 * HOUR_MS, u64::MAX - 5, u64::MAX])
    }

    fn pair(&mut self) -> Pair {
        let ttl_ms = if self.dice.chance(400) { Some(self.ttl_ms()) } else { None };
        Pair { key: self.key(), value: self.value(), ttl_ms }
    }

    fn plain(&mut self, index: u64, base: u64) -> Command {
        match self.dice.below(12) {
            0..=2 => Command::Set { pair: self.pair(), condition: Condition::Always },
            3 => Command::Set { pair: self.pair(), condition: Condition::Absent },
            4 => Command::Set { pair: self.pair(), condition: Condition::Present },
            5 => {
                let version = base + index.saturating_sub(self.dice.below(12));
                let version = Version(version * self.dice.below(2));
                Command::Set { pair: self.pair(), condition: Condition::Version(version) }
            }
            6 => Command::Delete { key: self.key() },
            7 | 8 => Command::Incr { key: self.key(), by: *self.dice.pick(&[1, -1, 9, i64::MAX, i64::MIN, 0]) },
            9 => {
                Command::Expire { key: self.key(), ttl_ms: if self.dice.chance(200) { 0 } else { self.ttl_ms() } }
            }
            10 => Command::Persist { key: self.key() },
            _ => Command::Batch { pairs: (0..self.dice.between(1, 4)).map(|_| self.pair()).collect() },
        }
    }

    fn next(&mut self, index: u64, base: u64) -> Command {
        if self.dice.chance(30) {
            return Command::EpochStart { kind: StartKind::Restart, spread: self.dice.any() as u32 };
        }
        if !self.tickets.is_empty() && self.dice.chance(150) {
            let (ticket, command) = self.dice.pick(&self.tickets).clone();
            let other = self.dice.chance(200);
            let fingerprint = if other { Fingerprint(u128::from(index)) } else { ticket.fingerprint };
            return Command::Once { ticket: Ticket { fingerprint, ..ticket }, command: Box::new(command) };
        }
        if self.dice.chance(100) {
            return Command::Sweep { keys: (0..self.dice.below(4)).map(|_| self.key()).collect() };
        }
        let mut command = self.plain(index, base);
        if command.takes_condition() && self.dice.chance(300) {
            let version = Version(base + index.saturating_sub(self.dice.below(12)));
            let condition = *self.dice.pick(&[Condition::Absent, Condition::Present, Condition::Version(version)]);
            command = Command::If { condition, command: Box::new(command) };
        }
        if self.dice.chance(300) {
            let key = Bytes::from(format!("i{}", self.dice.below(60)));
            let fingerprint = Fingerprint(u128::from(self.dice.any()));
            let ticket = Ticket { key, fingerprint, wants_old: self.dice.chance(500) };
            self.tickets.push((ticket.clone(), command.clone()));
            return Command::Once { ticket, command: Box::new(command) };
        }
        command
    }

    /// How much later the next entry is stamped. At times exactly where a time to live ends.
    fn step_ms(&mut self) -> u64 {
        match self.dice.below(40) {
            0 => HOUR_MS,
            1 => 24 * HOUR_MS,
            2 => 24 * HOUR_MS - 1,
            3 => 1_000,
            _ => self.dice.below(3),
        }
    }
}

/// The two, after one more entry.
fn agree(index: u64, command: &Command, told: &Told, applied: &Told, model: &Model, store: &Store) {
    assert_eq!(told, applied, "{index}: {command:?} gave");
    let view = store.view();
    let held: Vec<(Bytes, Cell)> =
        view.scan(b"", None).map(|item| (Bytes::copy_from_slice(item.key()), Cell::from(&item))).collect();
    let live = model.cells().iter().filter(|(_, cell)| cell.lives(model.log_time()));
    let expected: Vec<(Bytes, Cell)> = live.map(|(key, cell)| (key.clone(), cell.clone())).collect();
    assert_eq!(held, expected, "after {index}: {command:?}");
    assert_eq!((store.keys(), store.results()), (model.cells().len() as u64, model.remembered()), "after {index}");
    assert_eq!(store.log_time().0, model.log_time());
    assert_eq!(store.hash().0, model.digest(), "after {index}: {command:?}");
}

#[test]
fn the_store_does_what_the_model_does() {
    let mut again = 0;
    let mut forgotten = 0;
    for seed in 0..60 {
        let mut author = Author { dice: Dice::new(seed), tickets: Vec::new() };
        let (mut model, mut store) = (Model::default(), Store::default());
        let mut at = 1_000;
        for index in 1..400 {
            at += author.step_ms();
            let command = author.next(index, store.version_base().0);
            let told = model.apply(index, at, &command);
            let applied = Told::from(&store.apply(Index(index), WallMs(at), &command).outcome);
            agree(index, &command, &told, &applied, &model, &store);
            again += u64::from(matches!(told, Told::Again { .. } | Told::Reused { .. }));
            let asked_before = |(ticket, _): &(Ticket, Command)| matches!(&command, Command::Once { ticket: it, .. } if it.key == ticket.key);
            forgotten += u64::from(
                author.tickets.iter().filter(|known| asked_before(known)).count() > 1
                    && !matches!(told, Told::Again { .. } | Told::Reused { .. }),
            );
        }
        store.check();
    }
    assert!(again > 500, "retries are met: {again}");
    assert!(forgotten > 100, "so are those that come after the window: {forgotten}");
}

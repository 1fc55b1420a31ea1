//! Whatever stands in a configuration file, it is read or refused in words: nothing panics, hangs or grows.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Faults, Loaded, Sources, complete, layers, load};

const MASTER: &str = include_str!("../../../configs/master.yaml");
const CLUSTER: &str = include_str!("../../../configs/cluster-node1.yaml");

/// What a hand, an editor or a broken disk may do to a text.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index),
    Drop(Index, usize),
    Insert(Index, String),
    Twice(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let snippet =
        prop_oneof!["[\\[\\]{}:,&*#|>?!%@`'\"\\- \n\t]{1,4}", "[a-z_]{1,9}", "[0-9eE+.-]{1,20}", any::<String>()];
    prop_oneof![
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Change::Drop(at, length)),
        (any::<Index>(), snippet).prop_map(|(at, text)| Change::Insert(at, text)),
        (any::<Index>(), 1_usize..60).prop_map(|(at, length)| Change::Twice(at, length)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for change in changes {
        let place = |at: &Index| at.index(letters.len() + 1);
        match change {
            Change::Cut(at) => letters.truncate(place(at)),
            Change::Drop(at, length) => {
                let from = place(at);
                let upto = (from + length).min(letters.len());
                letters.drain(from..upto);
            }
            Change::Insert(at, text) => {
                let at = place(at);
                letters.splice(at..at, text.chars());
            }
            Change::Twice(at, length) => {
                let from = place(at);
                let upto = (from + length).min(letters.len());
                let part = letters[from..upto].to_vec();
                letters.splice(from..from, part);
            }
        }
    }
    letters.into_iter().collect()
}

fn read(text: &str) -> Result<Loaded, Faults> {
    let mut layers = layers::Layers::new();
    layers.file(Path::new("synap.yaml"), text);
    let (schema, origins) = layers.build().map_err(Faults)?;
    complete(schema, origins)
}

fn check(text: &str) {
    match read(text) {
        Ok(loaded) => {
            // What is accepted can be told, and what is told is accepted again.
            let told = loaded.to_yaml();
            assert!(read(&told).is_ok(), "{told}");
            let _ = loaded.settings();
        }
        Err(faults) => assert!(!faults.0.is_empty() && !faults.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_configuration_is_read_or_refused(
        cluster in any::<bool>(),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        check(&changed(if cluster { CLUSTER } else { MASTER }, &changes));
    }

    #[test]
    fn arbitrary_text_is_read_or_refused(text in any::<String>()) {
        check(&text);
    }
}

#[test]
fn what_nests_without_end_is_refused() {
    for text in ["[", "{a: ", "- ", "? "] {
        check(&format!("server: {}", text.repeat(20_000)));
        check(&text.repeat(20_000));
    }
}

#[test]
fn what_unfolds_without_end_is_refused() {
    let mut text = String::from("server: {}\na: &a [x, x, x, x, x, x, x, x, x]\n");
    for (one, next) in ('a'..'p').zip('b'..) {
        let nine = [format!("*{one}").as_str(); 9].join(", ");
        text.push_str(&format!("{next}: &{next} [{nine}]\n"));
    }
    assert!(read(&text).is_err());
}

#[test]
fn an_endless_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("long.yaml");
    fs::write(&file, "# a comment that goes on\n".repeat(100_000)).unwrap();
    let refused = load(Sources { file: Some(file), ..Sources::default() }).unwrap_err().to_string();
    assert!(refused.contains("longer than"), "{refused}");
}

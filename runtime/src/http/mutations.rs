//! Whatever a client sends as query, path or body, it is understood or refused in words: nothing panics, and nothing
//! that is kept is longer than what was sent.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use synap_core::command::ValueKind;
use synap_core::store::Item;
use synap_core::version::Version;

use super::problem::Problem;
use super::query::{ReadQuery, WriteQuery, path_encode, path_key};
use super::{body, json, route};

/// As the bodies of writes are: borrowed keys, and values as they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// Any JSON.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

/// A refusal is a problem whose body is JSON.
fn is_told(problem: &Problem) {
    let told: Value = serde_json::from_slice(&problem.body()).expect("a problem is JSON");
    assert!(told["detail"].is_string() && told["code"].is_string(), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_comes_back_as_it_was_put_in(key in any::<String>(), value in value(), pretty in any::<bool>()) {
        let document = serde_json::json!({ "key": key, "value": value });
        let text = if pretty { serde_json::to_vec_pretty(&document) } else { serde_json::to_vec(&document) };
        let sent = Bytes::from(text.unwrap());
        let read: Body<'_> = body::parse(&sent).unwrap();
        prop_assert_eq!(&*read.key, &key);
        let kept = json::value_in(read.value, &sent).unwrap();
        prop_assert!(kept.bytes.len() <= sent.len());
        prop_assert_eq!(kept.kind == ValueKind::Bytes, value.is_string());
        let item = Item::new(key.as_bytes(), kept.kind, &kept.bytes, Version(1), None);
        let mut out = Vec::new();
        json::push_value(&mut out, &item);
        // As text, since numbers are kept to the letter; strings may be escaped in more than one way.
        if value.is_string() {
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), value);
        } else {
            prop_assert_eq!(out, serde_json::to_vec(&value).unwrap());
        }
    }

    #[test]
    fn a_damaged_body_is_understood_or_refused(value in value(), at in any::<Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&serde_json::json!({ "key": "k", "value": value })).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let sent = Bytes::from(text);
        match body::parse::<Body<'_>>(&sent) {
            Ok(read) => match json::value_in(read.value, &sent) {
                Ok(kept) => prop_assert!(kept.bytes.len() <= sent.len()),
                Err(problem) => is_told(&problem),
            },
            Err(problem) => is_told(&problem),
        }
    }

    #[test]
    fn arbitrary_bodies_are_understood_or_refused(sent in any::<Vec<u8>>()) {
        let sent = Bytes::from(sent);
        if let Err(problem) = body::parse::<Body<'_>>(&sent) {
            is_told(&problem);
        }
    }

    #[test]
    fn arbitrary_queries_are_understood_or_refused(
        query in prop_oneof![any::<String>(), "([a-z_]{1,16}=[0-9a-z:%+.-]{0,12}&){0,4}"],
        more in any::<bool>(),
    ) {
        if let Err(problem) = ReadQuery::parse(Some(&query), more) {
            is_told(&problem);
        }
        if let Err(problem) = WriteQuery::parse(Some(&query), more) {
            is_told(&problem);
        }
    }

    #[test]
    fn any_key_can_stand_in_a_path(key in prop::collection::vec(any::<u8>(), 1..60), path in any::<String>()) {
        let encoded = path_encode(&key);
        prop_assert_eq!(&*path_key(&encoded, 60).unwrap(), &key[..]);
        let whole = format!("/kv/get/{encoded}");
        let (_, rest) = route::find(&whole);
        prop_assert_eq!(rest, encoded);
        let _ = route::find(&path);
    }
}

#[test]
fn what_nests_deeply_is_kept_or_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let middle = if close == "}" { "1" } else { "" };
        let nested = format!("{}{middle}{}", open.repeat(50_000), close.repeat(50_000));
        let sent = Bytes::from(format!("{{\"key\":\"k\",\"value\":{nested}}}"));
        let read: Body<'_> = body::parse(&sent).unwrap();
        assert_eq!(json::value_in(read.value, &sent).unwrap().bytes.len(), nested.len());
        let broken = Bytes::from(format!("{{\"key\":\"k\",\"value\":{}", open.repeat(50_000)));
        is_told(&body::parse::<Body<'_>>(&broken).err().expect("it has no end"));
    }
}

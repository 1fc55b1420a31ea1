//! What the documents list is what the program has: every metric, every key of the configuration with its default, and
//! nothing else. Rules and boards ask only for metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;

use synap_tests::cluster::Cluster;
use synap_tests::document;
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;
use tempfile::TempDir;

#[test]
fn every_metric_is_explained_and_every_explained_metric_is_there() {
    let shown = shown_metrics();
    let explained = metric_names(&document::read("docs/monitoring.md"));
    let unexplained: Vec<_> = shown.difference(&explained).collect();
    assert!(unexplained.is_empty(), "docs/monitoring.md does not explain {unexplained:?}");
    let invented: Vec<_> = explained.difference(&shown).collect();
    assert!(invented.is_empty(), "docs/monitoring.md explains what is not shown: {invented:?}");
}

#[test]
fn rules_and_boards_ask_for_metrics_that_exist() {
    let shown = shown_metrics();
    for file in ["configs/prometheus-rules.yml", "configs/prometheus-rules-test.yml", "configs/grafana.json"] {
        let asked = metric_names(&document::read(file));
        assert!(!asked.is_empty(), "{file} asks for something");
        let missing: Vec<_> = asked.difference(&shown).collect();
        assert!(missing.is_empty(), "{file} asks for what is not shown: {missing:?}");
    }
    let board: serde_json::Value =
        serde_json::from_str(&document::read("configs/grafana.json")).expect("the board is JSON");
    assert!(board["panels"].as_array().is_some_and(|panels| panels.len() > 10), "the board has panels");
}

#[test]
fn every_alert_is_explained() {
    let explained = document::read("docs/monitoring.md");
    let rules = document::read("configs/prometheus-rules.yml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!alerts.is_empty(), "there are alerts");
    for alert in alerts {
        assert!(explained.contains(&format!("`{alert}`")), "docs/monitoring.md does not explain {alert}");
    }
}

#[test]
fn every_key_is_explained_with_its_default() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("synap.yaml");
    fs::write(&file, "server:\n").expect("a file can be written");
    let printed = shell::synap(["check-config", file.to_str().expect("a path")]).good();
    let explained = document::read("docs/configuration.md");
    let keys = effective_keys(&printed);
    assert!(keys.len() > 30, "the whole configuration is printed:\n{printed}");
    for (key, default) in &keys {
        let row = explained.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md does not explain {key}"));
        let told = row.split('|').nth(2).unwrap_or_default().trim().trim_matches('`');
        // What is derived from other keys is told in words.
        assert!(told == default || told == "null", "{key} is {default} by default, not {told}");
    }
}

#[test]
fn the_shipped_configurations_are_good() {
    for entry in fs::read_dir(synap_tests::binary::repository().join("configs")).expect("a directory") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let checked = shell::synap(["check-config", path.to_str().expect("a path")]);
            assert_eq!(checked.code, 0, "{name}: {}", checked.stderr);
        }
    }
}

#[test]
fn every_test_that_the_incidents_name_is_there() {
    let told = document::read("docs/incidents.md");
    let named: Vec<(&str, &str)> = told.split('`').filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 10, "tests are named: {named:?}");
    for (file, function) in named {
        let text = document::read(&format!("tests/tests/{file}"));
        assert!(text.contains(&format!("fn {function}(")), "docs/incidents.md names {file}::{function}");
    }
}

/// Every metric of ours that a master or a replica shows once both have done something.
fn shown_metrics() -> BTreeSet<String> {
    let mut cluster = Cluster::start(1);
    cluster.servers[0].set("k", "v");
    cluster.await_converged();
    reject_a_peer(&cluster.servers[0]);
    let texts = cluster.servers.iter().map(|server| server.get("/metrics").with(200).text());
    let declared = |text: String| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        names.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    texts.flat_map(declared).filter(|name| name.starts_with("synap_")).collect()
}

/// Some metrics have no sample before somebody has given cause for one.
fn reject_a_peer(server: &Server) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.replication)).expect("the port answers");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a few bytes can be sent");
    wait::until_true("the peer is rejected", || {
        server.metrics().value("synap_replication_peers_rejected_total", &[]).is_some()
    });
}

/// Every name that begins as our metrics do, wherever it stands in a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("synap_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

/// Keys in full, with their values, of what `check-config` prints.
fn effective_keys(printed: &str) -> Vec<(String, String)> {
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut keys = Vec::new();
    for line in printed.lines() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, rest)) = line.trim_start().split_once(':') else { continue };
        path.retain(|(outer, _)| *outer < indent);
        let value = rest.split('#').next().unwrap_or_default().trim().trim_matches('"');
        if value.is_empty() {
            path.push((indent, key));
        } else {
            let sections = path.iter().map(|(_, section)| *section);
            let full: Vec<&str> = sections.chain([key]).collect();
            keys.push((full.join("."), value.to_owned()));
        }
    }
    keys
}

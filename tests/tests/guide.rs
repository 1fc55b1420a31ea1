//! The replication guide, line by line: its two YAML files load as they stand, its curl lines print what it says.
//! Only addresses are substituted, since here one machine plays all the hosts.

use std::path::Path;

use synap_tests::document::{self, Block};
use synap_tests::server::Server;
use synap_tests::shell;
use synap_tests::wait;
use tempfile::TempDir;

const GUIDE: &str = "docs/guides/replication.md";

#[test]
fn the_guide_does_what_it_says() {
    let guide = document::blocks(&document::read(GUIDE));
    let directory = TempDir::new().expect("a temporary directory can be made");
    let hosts = start_as_the_guide_says(&guide, directory.path());

    // Usage pattern: write to the master, read from any replica.
    let written = run_block(&guide, "Write to Master", &hosts);
    assert!(written[0].contains(r#""success":true"#), "{written:?}");
    for (replica, name) in ["replica1", "replica2", "replica3"].iter().enumerate() {
        wait::until_true(&format!("{name} has the write"), || hosts[replica + 1].value("user:1").is_some());
    }
    assert_eq!(run_block(&guide, "Read from Replicas", &hosts), [r#""John Doe""#; 3]);

    // Monitoring: each line greps something, and what it greps is true.
    for printed in run_block(&guide, "Check Replication Status", &hosts) {
        assert!(printed.contains("synap_replication_connected"), "{printed}");
    }
    let lags = run_block(&guide, "Replication Lag", &hosts);
    assert_eq!(sample(&lags[0], "synap_replication_lag_operations"), 0.0, "{lags:?}");
    assert_eq!(sample(&lags[1], "synap_replication_lag_ms"), 0.0, "{lags:?}");
    for host in &hosts {
        for metric in ["replication_lag_operations", "replication_lag_ms"] {
            let line = format!("curl --silent http://localhost:{}/metrics | grep {metric}", host.http);
            let printed = shell::bash(&line, directory.path()).good();
            assert!(printed.lines().any(|line| !line.starts_with('#')), "{metric} on {}: {printed}", host.name);
        }
    }
    let on_master = hosts[0].get("/metrics").text();
    let labelled = on_master.lines().filter(|line| line.starts_with("synap_replication_lag_operations{")).count();
    assert_eq!(labelled, 3, "the master shows each replica's lag:\n{on_master}");
}

#[test]
fn the_shipped_files_are_the_guides() {
    let guide = document::blocks(&document::read(GUIDE));
    let (master, replica) = files(&guide);
    assert_eq!(document::read("configs/master.yaml"), master);
    assert_eq!(document::read("configs/replica.yaml"), replica);
}

/// A master and three replicas, each in a directory of its own.
fn start_as_the_guide_says(guide: &[Block], directory: &Path) -> Vec<Server> {
    let (master_file, replica_file) = files(guide);
    let mut hosts: Vec<Server> =
        ["master-host", "replica1", "replica2", "replica3"].map(|name| Server::new(name, directory)).into();
    let master_port = hosts[0].replication;
    for (number, host) in hosts.iter_mut().enumerate() {
        let file = if number == 0 { master_file } else { replica_file };
        let file = substitute(file, "port: 15500", &format!("port: {}", host.http));
        let file = if number == 0 {
            substitute(&file, "\"0.0.0.0:15501\"", &format!("\"0.0.0.0:{master_port}\""))
        } else {
            // The file leaves a replica's own port at its default, which four hosts can have and one machine cannot.
            host.arguments = vec!["--replica-listen".into(), format!("0.0.0.0:{}", host.replication)];
            substitute(&file, "\"master-host:15501\"", &format!("\"localhost:{master_port}\""))
        };
        host.configure(&file);
        host.spawn();
    }
    hosts[0].await_master();
    for host in &mut hosts {
        host.await_probe("/readyz");
    }
    hosts
}

/// The master's and the replica's file.
fn files(guide: &[Block]) -> (&str, &str) {
    let yaml: Vec<&Block> = guide.iter().filter(|block| block.language == "yaml").collect();
    assert_eq!(yaml.len(), 2, "the guide shows two files");
    (&yaml[0].text, &yaml[1].text)
}

/// Runs each line of the shell block under a heading; what each printed.
fn run_block(guide: &[Block], heading: &str, hosts: &[Server]) -> Vec<String> {
    let block = guide.iter().find(|block| block.heading == heading && block.language == "bash");
    let block = block.unwrap_or_else(|| panic!("the guide has no commands under {heading:?}"));
    let commands = document::commands(&block.text);
    commands.iter().map(|command| shell::bash(&addressed(command, hosts), &hosts[0].directory).good()).collect()
}

fn addressed(command: &str, hosts: &[Server]) -> String {
    hosts.iter().fold(command.to_owned(), |line, host| {
        line.replace(&format!("{}:15500", host.name), &format!("localhost:{}", host.http))
    })
}

/// The one sample of an unlabelled metric among greped lines.
fn sample(greped: &str, name: &str) -> f64 {
    let line = greped.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no sample of {name}: {greped}"));
    line.trim().parse().expect("a sample is a number")
}

fn substitute(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the guide's file says {from}");
    text.replace(from, to)
}

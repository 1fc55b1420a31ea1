//! The rules of the configuration, one test each, and a table of bad YAML with what is said about it.

use std::path::Path;
use std::time::Duration;

use synap_core::config::{Address, Concern, FsyncMode, RoleHint};

use super::schema::{FailoverMode, Role};
use super::{Fault, Faults, Flag, Loaded, Origin, complete, known_keys, layers, variable_name};

fn load_with(text: &str, environment: &[(&str, &str)], flags: Vec<Flag>) -> Result<Loaded, Faults> {
    let mut layers = layers::Layers::new();
    layers.file(Path::new("synap.yaml"), text);
    layers.environment(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    layers.flags(flags);
    let (schema, origins) = layers.build().map_err(Faults)?;
    complete(schema, origins)
}

fn load(text: &str) -> Result<Loaded, Faults> {
    load_with(text, &[], Vec::new())
}

fn good(text: &str) -> Loaded {
    load(text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn repository_file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_byte_order_mark_is_no_document() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("synap.yaml");
    std::fs::write(&file, "\u{feff}server:\n  port: 7000\n").unwrap();
    assert_eq!(super::read(&file).unwrap(), "server:\n  port: 7000\n");
}

/// Each bad text with everything that is said about it.
const BAD: &[(&str, &str)] = &[
    ("", "synap.yaml: server: missing; it is the one section that must be there (an empty one will do)"),
    (
        "logging: { level: info }\n",
        "synap.yaml: server: missing; it is the one section that must be there (an empty one will do)",
    ),
    ("- a\n- b\n", "synap.yaml:1: not a configuration: keys with values are wanted, such as `server:`"),
    (
        "server:\nreplication:\n  hearbeat_interval_ms: 5\n",
        "synap.yaml:3: replication.hearbeat_interval_ms: unknown key; did you mean replication.heartbeat_interval_ms?",
    ),
    ("sever:\nserver:\n", "synap.yaml:1: sever: unknown key; did you mean server?"),
    ("server:\n  role: master\n", "synap.yaml:2: server.role: unknown key; did you mean replication.role?"),
    ("server:\n  colour: red\n", "synap.yaml:2: server.colour: unknown key"),
    (
        "server:\npersistence:\n  wal: { enabled: true, fsync: always }\n",
        "synap.yaml:3: persistence.wal.fsync: unknown key",
    ),
    (
        "server:\n  prot: 1\n  hots: x\n",
        "synap.yaml:2: server.prot: unknown key; did you mean server.port?\nsynap.yaml:3: server.hots: unknown key; did you mean server.host?",
    ),
    (
        "server:\n  port: many\n",
        "synap.yaml:2: server.port: text given: \"many\", a port from 1 to 65535 is wanted",
    ),
    (
        "server:\n  port: 70000\n",
        "synap.yaml:2: server.port: number given: `70000`, a port from 1 to 65535 is wanted",
    ),
    (
        "server:\nreplication:\n  role:\n",
        "synap.yaml:3: replication.role: nothing given, one of the words that docs/configuration.md lists is wanted",
    ),
    ("server:\n  port:\n", "synap.yaml:2: server.port: nothing given, a port from 1 to 65535 is wanted"),
    ("server:\n  port: 0\n", "synap.yaml:2: server.port: 0 is not within 1 to 65535"),
    ("server:\n  host: 5\n", "synap.yaml:2: server.host: number given: `5`, text is wanted"),
    ("server:\n  host: [a]\n", "synap.yaml:2: server.host: a list given, text is wanted"),
    ("server:\n  host: \"\"\n", "synap.yaml:2: server.host: \"\" names no host"),
    ("server:\n  host: \"a:1\"\n", "synap.yaml:2: server.host: the port belongs into server.port"),
    ("server: 5\n", "synap.yaml:1: server: a section with keys below it is wanted, not 5"),
    ("server:\n  host: a\n  host: b\n", "synap.yaml:3: server.host: given twice, first on line 2"),
    (
        "server:\n  port: 1\nserver:\n  port: 2\n",
        "synap.yaml:3: server: given twice, first on line 1\nsynap.yaml:4: server.port: given twice, first on line 2",
    ),
    (
        "server:\nreplication:\n  role: slave\n",
        "synap.yaml:3: replication.role: unknown variant `slave`, expected one of `master`, `replica`, `standalone`",
    ),
    (
        "server:\nreplication:\n  role: replica\n",
        "synap.yaml:3: replication.role: a replica needs replication.master_address, HOST:PORT of its master's replica_listen_address",
    ),
    (
        "server:\nreplication: { role: replica, master_address: \"m\" }\n",
        "synap.yaml:2: replication.master_address: \"m\" has no port: HOST:PORT is wanted",
    ),
    (
        "server:\nreplication: { role: replica, master_address: \"0.0.0.0:1\" }\n",
        "synap.yaml:2: replication.master_address: a wildcard tells nobody where to connect",
    ),
    (
        "server:\n  advertise_address: \"::\"\n",
        "synap.yaml:2: server.advertise_address: a wildcard tells nobody where to connect",
    ),
    (
        "server:\nreplication:\n  replica_listen_address: \"0.0.0.0:15500\"\n",
        "synap.yaml:3: replication.replica_listen_address: port 15500 is taken by server.port already",
    ),
    (
        "server:\nreplication:\n  heartbeat_interval_ms: 0\n",
        "synap.yaml:3: replication.heartbeat_interval_ms: 0 is not within 1 to 3600000",
    ),
    (
        "server:\nreplication:\n  heartbeat_interval_ms: -5\n",
        "synap.yaml:3: replication.heartbeat_interval_ms: number given: `-5`, a whole number from 0 on is wanted",
    ),
    (
        "server:\nreplication:\n  failover:\n    election_timeout_ms: 1000\n",
        "synap.yaml:4: replication.failover.election_timeout_ms: 1000 must be longer than replication.heartbeat_interval_ms, 1000, or healthy masters are replaced",
    ),
    (
        "server:\nreplication:\n  enabled: yep\n",
        "synap.yaml:3: replication.enabled: text given: \"yep\", true or false is wanted",
    ),
    (
        "server:\nreplication:\n  write_concern: most\n",
        "synap.yaml:3: replication.write_concern: text given: \"most\", expected async, local, quorum or a number of replicas from 1 on",
    ),
    (
        "server:\nreplication:\n  write_concern: 0\n",
        "synap.yaml:3: replication.write_concern: number given: `0`, expected async, local, quorum or a number of replicas from 1 on",
    ),
    (
        "server:\npersistence:\n  wal: { fsync_interval_ms: 0, segment_bytes_max: 1 }\n",
        "synap.yaml:3: persistence.wal.fsync_interval_ms: 0 is not within 1 to 3600000\nsynap.yaml:3: persistence.wal.segment_bytes_max: 1 is not within 65536 to 281474976710656",
    ),
    (
        "server:\npersistence:\n  snapshot: { interval_secs: 0, wal_bytes: 0, max_snapshots: 0 }\n",
        "synap.yaml:3: persistence.snapshot.interval_secs: 0 is not within 1 to 31622400\nsynap.yaml:3: persistence.snapshot.wal_bytes: 0 is not within 1 to 281474976710656\nsynap.yaml:3: persistence.snapshot.max_snapshots: 0 is not within 1 to 1000",
    ),
    ("server:\npersistence:\n  data_dir: \"\"\n", "synap.yaml:3: persistence.data_dir: a directory is wanted"),
    (
        "server:\nlimits:\n  key_bytes_max: 65536\n  value_bytes_max: 0\n  connections_max: 0\n",
        "synap.yaml:3: limits.key_bytes_max: 65536 is not within 1 to 65535\nsynap.yaml:4: limits.value_bytes_max: 0 is not within 1 to 67108864\nsynap.yaml:5: limits.connections_max: 0 is not within 1 to 1000000",
    ),
    (
        "server:\nreplication:\n  node_name: \"a\\nb\"\n",
        "synap.yaml:3: replication.node_name: 1 to 255 bytes without control characters are wanted",
    ),
    (
        "server:\nreplication:\n  failover: { voters_max: 0, priority: 5000 }\n",
        "synap.yaml:3: replication.failover.priority: 5000 is not within 0 to 1000\nsynap.yaml:3: replication.failover.voters_max: 0 is not within 1 to 64",
    ),
    (
        "server:\nlogging:\n  level: loud\n",
        "synap.yaml:3: logging.level: unknown variant `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
    ),
];

#[test]
fn each_fault_is_told_with_file_line_and_key() {
    for (text, expected) in BAD {
        match load(text) {
            Ok(_) => panic!("was taken:\n{text}"),
            Err(faults) => assert_eq!(&faults.to_string(), expected, "for\n{text}"),
        }
    }
}

#[test]
fn broken_yaml_is_told_with_its_line() {
    let Err(Faults(faults)) = load("server:\n  host: \"a\n  port: [1\n") else { panic!("was taken") };
    let [Fault { origin: Origin::File { line: Some(_), .. }, key: None, what }] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert!(what.starts_with("not readable as YAML"), "{what}");
}

#[test]
fn the_guides_files_load_and_mean_what_the_guide_says() {
    let master = good(&repository_file("configs/master.yaml"));
    assert_eq!(master.warnings, []);
    let settings = master.settings();
    assert_eq!(settings.http_bind, "0.0.0.0:15500");
    assert_eq!(settings.replication_bind.as_deref(), Some("0.0.0.0:15501"));
    assert_eq!(settings.core.role, RoleHint::Master);
    assert_eq!(settings.core.heartbeat_interval, Duration::from_secs(1));
    assert_eq!(settings.core.election_timeout, Duration::from_secs(2));
    assert_eq!(settings.core.fsync, FsyncMode::Always);

    let replica = good(&repository_file("configs/replica.yaml")).settings();
    assert_eq!(replica.core.role, RoleHint::Replica);
    assert_eq!(replica.core.master_address.as_deref(), Some("master-host:15501"));
    assert_eq!(replica.core.reconnect_delay_max, Duration::from_secs(5));
    assert_eq!(replica.replication_bind.as_deref(), Some("0.0.0.0:15501"), "replicas listen too");
}

#[test]
fn every_example_in_configs_loads() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).expect("configs/").map(|entry| entry.expect("an entry").path()) {
        if entry.extension().is_some_and(|extension| extension == "yaml")
            && !entry.file_name().is_some_and(|name| name.to_string_lossy().contains("prometheus"))
        {
            good(&std::fs::read_to_string(&entry).expect("readable"));
            seen += 1;
        }
    }
    assert!(seen >= 2, "master.yaml and replica.yaml at least");
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let text = "server:\n  port: 1\nreplication:\n  role: master\n";
    let environment = [("SYNAP__SERVER__PORT", "2"), ("SYNAP__REPLICATION__ROLE", "standalone"), ("PATH", "/bin")];
    let flag = Flag { name: "--port", key: "server.port", value: 3.into() };
    let loaded = load_with(text, &environment, vec![flag]).expect("good");
    assert_eq!(loaded.schema.server.port, 3);
    assert_eq!(loaded.origins["server.port"], Origin::Flag("--port"));
    assert_eq!(loaded.schema.replication.role, Role::Standalone);
    assert_eq!(loaded.origins["replication.role"], Origin::Environment("SYNAP__REPLICATION__ROLE".into()));
    assert_eq!(loaded.origins["limits.key_bytes_max"], Origin::Default);
}

#[test]
fn a_variable_is_read_as_what_its_key_wants() {
    let environment = [
        ("SYNAP__REPLICATION__NODE_NAME", "17"),
        ("SYNAP__REPLICATION__WRITE_CONCERN", "2"),
        ("SYNAP__REPLICATION__AUTO_RECONNECT", "false"),
        ("SYNAP__REPLICATION__FAILOVER__ELECTION_TIMEOUT_MS", ""),
        ("SYNAP__SERVER__ADVERTISE_ADDRESS", ""),
        ("SYNAP__PERSISTENCE__WAL__FSYNC_MODE", "periodic"),
    ];
    let loaded = load_with("server:\n", &environment, Vec::new()).expect("good");
    assert_eq!(loaded.schema.replication.node_name.as_deref(), Some("17"));
    assert_eq!(loaded.settings().core.write_concern, Concern::Replicas(2));
    assert!(!loaded.schema.replication.auto_reconnect);
    assert_eq!(loaded.schema.replication.failover.election_timeout_ms, Some(2000));
    assert_eq!(loaded.schema.server.advertise_address, None);
    assert_eq!(loaded.settings().core.fsync, FsyncMode::Periodic(Duration::from_secs(1)));
}

#[test]
fn a_bad_variable_is_told_by_its_name() {
    for (name, value, expected) in [
        (
            "SYNAP__REPLICATION__ROEL",
            "master",
            "environment SYNAP__REPLICATION__ROEL: replication.roel: unknown variable; did you mean SYNAP__REPLICATION__ROLE?",
        ),
        ("SYNAP__XYZZY", "1", "environment SYNAP__XYZZY: xyzzy: unknown variable"),
        (
            "SYNAP__SERVER__PORT",
            "high",
            "environment SYNAP__SERVER__PORT: server.port: text given: \"high\", a port from 1 to 65535 is wanted",
        ),
    ] {
        let faults = load_with("server:\n", &[(name, value)], Vec::new()).expect_err("was taken");
        assert_eq!(faults.to_string(), expected);
    }
}

#[test]
fn without_a_log_failover_is_manual() {
    for (text, how) in [
        ("server:\npersistence:\n  enabled: false\n", "implied by persistence.enabled: false"),
        ("server:\npersistence:\n  wal: { enabled: false }\n", "implied by persistence.wal.enabled: false"),
    ] {
        let loaded = good(text);
        assert_eq!(loaded.schema.replication.failover.mode, FailoverMode::Manual);
        assert_eq!(loaded.origins["replication.failover.mode"], Origin::Derived(how));
        assert_eq!(loaded.warnings, []);
    }
    let said = good("server:\npersistence: { enabled: false }\nreplication:\n  failover:\n    mode: auto\n");
    assert_eq!(said.schema.replication.failover.mode, FailoverMode::Manual);
    assert_eq!(said.warnings.len(), 1, "who asked for auto is told");
}

#[test]
fn automatic_failover_without_always_is_warned_of() {
    let text = "server:\npersistence:\n  wal:\n    fsync_mode: never\n";
    let [warning] = good(text).warnings.try_into().expect("one warning");
    assert!(warning.to_string().starts_with("synap.yaml:4: persistence.wal.fsync_mode: automatic failover"));
    assert_eq!(good(&format!("{text}replication: {{ failover: {{ mode: manual }} }}\n")).warnings, []);
}

#[test]
fn replication_switched_off_is_standalone() {
    for text in [
        "server:\nreplication: { enabled: false, role: replica }\n",
        "server:\nreplication: { role: standalone, master_address: \"m:1\" }\n",
    ] {
        let settings = good(text).settings();
        assert_eq!(settings.core.role, RoleHint::Standalone);
        assert_eq!(settings.core.replication, None);
        assert_eq!(settings.core.master_address, None);
        assert_eq!(settings.replication_bind, None);
    }
}

#[test]
fn where_others_are_told_to_connect() {
    let http = |server: &str| good(&format!("server: {server}\n")).settings().core.http;
    let at = |host: Option<&str>, port| Address { host: host.map(str::to_owned), port };
    assert_eq!(http("{}"), at(None, 15500));
    assert_eq!(http("{ host: 10.0.0.1 }"), at(Some("10.0.0.1"), 15500));
    assert_eq!(http("{ host: \"[::]\" }"), at(None, 15500));
    assert_eq!(http("{ advertise_address: a }"), at(Some("a"), 15500));
    assert_eq!(http("{ advertise_address: \"[::1]:7\" }"), at(Some("::1"), 7));
    let text = "server:\nreplication: { advertise_address: r, replica_listen_address: \"10.0.0.1:9\" }\n";
    assert_eq!(good(text).settings().core.replication, Some(at(Some("r"), 9)));
    assert_eq!(good("server: { host: \"::1\" }\n").settings().http_bind, "[::1]:15500");
}

#[test]
fn a_master_that_does_not_listen_is_allowed_and_warned_of() {
    let loaded = good("server:\nreplication:\n  replica_listen_address: null\n");
    assert_eq!(loaded.settings().replication_bind, None);
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn the_printed_configuration_says_where_each_value_came_from_and_loads_again() {
    let first = good("server:\n  port: 7\nreplication: { node_name: \"n # 1\", write_concern: 2 }\n");
    let text = first.to_yaml();
    let line = |key: &str| text.lines().find(|line| line.trim_start().starts_with(key)).expect("printed");
    assert!(line("port: 7").ends_with("# synap.yaml:2"));
    assert!(line("node_name: \"n # 1\"").ends_with("# synap.yaml:3"));
    assert!(line("heartbeat_interval_ms: 1000").ends_with("# default"));
    assert!(line("election_timeout_ms: 2000").ends_with("# default: 2 x heartbeat_interval_ms"));
    assert_eq!(good(&text).schema, first.schema);
}

#[test]
fn every_key_and_its_default_stands_in_the_documentation() {
    let text = repository_file("docs/configuration.md");
    let defaults = layers::leaves(&layers::mapping(&super::Schema::default()));
    assert_eq!(defaults.len(), known_keys().len());
    for (key, value) in defaults {
        let row = format!("| `{key}` | `{}` |", layers::plain(&value));
        assert!(text.contains(&row), "docs/configuration.md lacks {row}");
    }
    assert!(text.contains(&variable_name("replication.role")));
}

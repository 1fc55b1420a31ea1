//! The measured server, as the guide configures it: every promise synced, heartbeats of a second.

use serde_json::{Value, json};

use synap_tests::cluster::Cluster;
use synap_tests::server::Server;

use crate::keys;

/// A cluster of one master and `replicas` replicas. With three nodes and more it arms itself.
pub(crate) fn cluster(replicas: usize, mut change: impl FnMut(&mut Value)) -> Cluster {
    Cluster::start_with(replicas, |_, config| configure(config, &mut change))
}

/// The same, configured and not started.
pub(crate) fn prepared(replicas: usize, mut change: impl FnMut(&mut Value)) -> Cluster {
    Cluster::prepare(replicas, |_, config| configure(config, &mut change))
}

fn configure(config: &mut Value, change: &mut impl FnMut(&mut Value)) {
    config["replication"]["heartbeat_interval_ms"] = json!(1000);
    config["replication"]["failover"] = json!({ "mode": "auto" });
    config["logging"] = json!({ "level": "warn" });
    change(config);
}

/// Writes keys 0 to `count`, many at once, with values of 100 bytes.
pub(crate) fn fill(server: &Server, count: u64) {
    const TOGETHER: u64 = 1000;
    let mut client = server.client();
    let value = keys::value();
    let mut first = 0;
    while first < count {
        let upto = (first + TOGETHER).min(count);
        let pairs: Vec<Value> =
            (first..upto).map(|number| json!({ "key": keys::key(number), "value": value })).collect();
        client.post("/kv/mset?concern=local", &json!({ "pairs": pairs })).expect("an answer").with(200);
        first = upto;
    }
}

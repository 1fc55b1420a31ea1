//! The accept loop of the replication port.

use std::sync::Arc;
use std::time::Duration;

use synap_core::ids::LinkId;
use tokio::sync::Semaphore;

use super::{Shared, link};
use crate::net::Net;

/// Pause after the system gave no connection, for want of file descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts peers for as long as it is polled.
pub(super) async fn run<N: Net>(shared: Shared<N>, listener: N::Listener) {
    let places = Arc::new(Semaphore::new(shared.settings.accepted_max));
    let mut accepted: u64 = 0;
    loop {
        let (stream, peer) = match shared.net.accept(&listener).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted from other nodes");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.rejections.note(peer.ip(), "there are too many connections of other nodes", None);
            continue;
        };
        let link = LinkId::accepted(accepted);
        accepted += 1;
        let task_shared = shared.clone();
        shared.spawn(async move {
            link::accepted(&task_shared, link, stream, peer).await;
            drop(place);
        });
    }
}

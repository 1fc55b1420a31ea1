//! The look at the names at which nodes are dialled: whether they stand for an address here. Looking also makes the network
//! remember what they stand for, for when nobody answers such a question any more. Owns when that is looked at; what it means is
//! the node's affair.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::net::{Net, host_of, is_name};

use super::{LinkReport, Shared, Told};

/// While a name stands for nothing: somebody may be correcting it.
const SOON: Duration = Duration::from_secs(5);

/// While all stand for something.
const NOW_AND_THEN: Duration = Duration::from_secs(60);

/// Tells which names stand for nothing, when that changes: this node's own, and those in the addresses of `members`. But at the
/// start only what two looks have shown is told, since a name service may fail once.
pub(super) async fn watch<N: Net>(shared: Shared<N>, own: Vec<String>, mut members: watch::Receiver<Vec<String>>) {
    let mut told = Vec::new();
    let mut before: Option<Vec<String>> = None;
    loop {
        let mut names: BTreeSet<String> = own.iter().cloned().collect();
        names.extend(members.borrow_and_update().iter().map(|address| host_of(address).to_owned()));
        names.retain(|name| is_name(name) && !name.is_empty());
        let Some(unresolved) = look(&shared, &names).await else { return };
        let is_sure = unresolved.is_empty() || before.as_ref().is_none_or(|before| *before == unresolved);
        if is_sure && unresolved != told {
            told.clone_from(&unresolved);
            // A driver that is gone wants no news.
            let _ = shared.reports.send(LinkReport(Told::Unresolved(unresolved.clone()))).await;
        }
        let again = async {
            match (names.is_empty(), unresolved.is_empty()) {
                (true, _) => pending().await,
                (false, true) => sleep(NOW_AND_THEN).await,
                (false, false) => sleep(SOON).await,
            }
        };
        tokio::select! {
            () = again => {}
            changed = members.changed() => if changed.is_err() { return },
        }
        before = Some(unresolved);
    }
}

/// Those that stand for nothing, or about which nobody answers for as long as a dial may take; none if names do not change here.
async fn look<N: Net>(shared: &Shared<N>, names: &BTreeSet<String>) -> Option<Vec<String>> {
    let mut unresolved = Vec::new();
    for name in names {
        let looked = timeout(shared.settings.connect_timeout, shared.net.resolves(name)).await;
        if !looked.unwrap_or(Some(false))? {
            unresolved.push(name.clone());
        }
    }
    Some(unresolved)
}

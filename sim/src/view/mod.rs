//! A run as one HTML file: lanes per node and client, arrows for messages, disk syncs, epochs as bands, faults as
//! spans, operations with their outcome, and each node's state at any event. The file needs nothing but a browser.
//!
//! Owns what goes into the page. How it is drawn is in `model.js` (from records to shapes), `drawing.js` and
//! `controls.js` (what a person does with it).

mod cut;

use serde::Serialize;

use crate::plan::{Plan, to_text};
use crate::run::Verdict;
use crate::trace::{Record, Step};

/// What the page's scripts are given.
#[derive(Debug, Serialize)]
struct Page<'a> {
    what: &'a str,
    failed: bool,
    failed_at: u64,
    oracle: String,
    cause: &'a str,
    script: String,
    nodes: usize,
    clients: usize,
    end: u64,
    left_out: usize,
    records: Vec<Record>,
}

/// The page. `what` names the run for people; of a long trace only the last `records_max` records are drawn, with
/// what is needed to understand them.
pub fn page(
    what: &str,
    plan: &Plan,
    verdict: &Verdict,
    trace: Vec<Record>,
    records_max: usize,
) -> Result<String, Box<dyn std::error::Error>> {
    let all = trace.len();
    let records = cut::last(trace, records_max);
    let end = records.last().map_or(0, |record| record.at);
    let clients = records.iter().filter_map(client_of).max().map_or(0, |client| client + 1);
    let (oracle, cause) = verdict.told();
    let page = Page {
        what,
        failed: !verdict.is_good(),
        failed_at: verdict.at().unwrap_or(end).min(end),
        oracle,
        cause,
        script: to_text(plan)?,
        nodes: plan.nodes(),
        clients,
        end,
        left_out: all - records.len(),
        records,
    };
    // No text of a run may end the element that it stands in.
    let run = serde_json::to_string(&page)?.replace("</", "<\\/").replace("<!--", "<\\!--");
    let title = format!("synap-sim {what}").replace('&', "&amp;").replace('<', "&lt;");
    let parts = [
        ("{{title}}", title.as_str()),
        ("{{style}}", include_str!("page.css")),
        ("{{model}}", include_str!("model.js")),
        ("{{drawing}}", include_str!("drawing.js")),
        ("{{controls}}", include_str!("controls.js")),
        ("{{run}}", &run),
    ];
    Ok(fill(include_str!("page.html"), &parts))
}

/// Puts each part in its place. What a part holds is never taken for a place.
fn fill(page: &str, parts: &[(&str, &str)]) -> String {
    let next = parts.iter().filter_map(|(name, text)| Some((page.find(name)?, *name, *text))).min();
    match next {
        Some((at, name, text)) => format!("{}{text}{}", &page[..at], fill(&page[at + name.len()..], parts)),
        None => page.to_owned(),
    }
}

fn client_of(record: &Record) -> Option<usize> {
    match &record.step {
        Step::Asked { client, .. } => *client,
        _ => None,
    }
}

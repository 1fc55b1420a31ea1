//! The page that draws a run: one file that asks for nothing else, holds the whole run, and comes to life in a
//! browser.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use synap_sim::plan::Plan;
use synap_sim::view::page;

/// A run with a bit of everything: a partition that loses messages, a power cut, a promotion that opens an epoch, and
/// a planted bug that an oracle sees at its end.
const SCRIPT: &str = "
seed: 5
planted: ack_before_durable
faults:
- {at_ms: 300, for_ms: 100, what: !partition [0]}
- {at_ms: 500, for_ms: 100, what: !power_cut 2}
";

fn drawn(script: &str) -> (String, Value) {
    let plan: Plan = serde_yaml::from_str(script).expect("a plan");
    let plan = plan.with_end();
    let report = synap_sim::fast::run(&plan, true);
    let trace = report.trace.expect("the trace was asked for");
    let page = page("a </script> test", &plan, &report.verdict, trace, 100_000).expect("a page");
    let (_, rest) = page.split_once("id=\"run\">").expect("the run is in it");
    let (run, _) = rest.split_once("</script>").expect("it ends");
    let run = serde_json::from_str(run).expect("the run is JSON");
    (page, run)
}

fn count(run: &Value, step: &str) -> usize {
    let records = run["records"].as_array().expect("records");
    records.iter().filter(|record| record["step"] == step).count()
}

#[test]
fn the_page_asks_for_nothing_outside_itself() {
    let (page, _) = drawn(SCRIPT);
    let scripts: String = page.split("<script").filter(|part| !part.contains("id=\"run\"")).collect();
    for outside in ["http:", "https:", "//cdn", " src=", " href=", "@import", "url(", "fetch(", "import("] {
        assert!(!scripts.contains(outside), "the page asks for {outside}");
    }
    assert!(!page.contains("{{"), "a part of the page is missing");
    assert_eq!(page.matches("</script>").count(), 2, "no text of the run ends the script that it stands in");
}

#[test]
fn the_page_holds_the_run_up_to_its_first_error() {
    let (_, run) = drawn(SCRIPT);
    assert_eq!((&run["nodes"], &run["clients"], &run["failed"]), (&3.into(), &2.into(), &true.into()));
    assert!(run["oracle"].as_str().expect("a name").starts_with("INV-2"), "{}", run["oracle"]);
    assert!(run["script"].as_str().expect("a script").contains("planted: ack_before_durable"));
    for step in ["started", "stands", "batch", "disk", "sent", "heard", "link", "asked"] {
        assert!(count(&run, step) > 0, "no record of {step}");
    }
    let last = run["records"].as_array().and_then(|records| records.last()).expect("a last record");
    assert_eq!(last["step"], "sent", "the run ends with the ack that was too early");
    assert_eq!(last["kind"], "ack");
}

#[test]
fn a_good_run_shows_its_faults_and_what_they_lost() {
    let (_, run) = drawn(&SCRIPT.replace("planted: ack_before_durable\n", ""));
    assert_eq!(run["failed"], false);
    assert_eq!((count(&run, "fault_began"), count(&run, "fault_ended")), (2, 2));
    assert_eq!(count(&run, "ended"), 1);
    assert!(count(&run, "sent") > count(&run, "heard"), "a partition and a power cut lose messages");
}

/// Looks at the page with a real browser, where there is one: continuous integration installs it.
#[test]
fn the_page_comes_to_life_in_a_browser() {
    let Some(browser) = browser() else { return };
    let (page, run) = drawn(SCRIPT);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join("view.html");
    std::fs::write(&file, page).expect("written");
    let profile = folder.join("view-profile");
    let out = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--window-size=1600,1000", "--virtual-time-budget=3000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("the browser runs");
    let dom = String::from_utf8_lossy(&out.stdout);
    let told = |name: &str| {
        let (_, rest) = dom.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("{name} is not told"));
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    assert_eq!(told("ready"), "yes", "the page's scripts ran to their end");
    assert_eq!(told("lanes"), "5", "three nodes and two clients");
    assert_eq!(told("arrows"), count(&run, "heard").to_string());
    assert_eq!(told("epochs"), "1");
    let records = run["records"].as_array().expect("records").len();
    assert_eq!(told("error"), (records - 1).to_string(), "the page opens at the first error");
    assert!(dom.contains("INV-2") && dom.contains(">n2<") && dom.contains(">c1<"), "verdict and lanes have names");
}

fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success()))
}

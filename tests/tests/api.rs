//! `docs/api.md` and `docs/openapi.yaml` say what a server answers: the lines of curl print what stands beside them, and both have the same
//! routes, methods and codes as the server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use synap_tests::cluster;
use synap_tests::document;
use synap_tests::server::Server;
use synap_tests::shell;
use tempfile::TempDir;

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

#[test]
fn every_route_is_shown_by_example_and_does_what_is_shown() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let server = lone_server(directory.path());
    let here = format!("localhost:{}", server.http);
    let examples = examples();
    for (line, told) in &examples {
        let line = line.replace("curl", "curl --silent").replace("localhost:15500", &here);
        let printed = shell::bash(&line, directory.path()).good();
        assert!(fits(&printed, told), "{line}\nprints  {printed}\nand not {told}");
    }
    let shown: BTreeSet<String> = examples.iter().map(|(line, _)| route_of(line)).collect();
    for (path, _) in operations(&description()).keys() {
        let stem = path.split('{').next().unwrap_or_default();
        assert!(shown.iter().any(|route| route.starts_with(stem)), "no line of curl shows {path}");
    }
}

#[test]
fn the_description_has_the_routes_of_the_list() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let server = lone_server(directory.path());
    let served = server.get("/openapi.yaml").with(200).text();
    assert_eq!(served, document::read("docs/openapi.yaml"));
    let described = operations(&description());
    let list = server.get("/").with(200).text();
    let mut listed = BTreeMap::new();
    for line in list.lines() {
        let Some((methods, rest)) = line.split_once(" /") else { continue };
        let Some((path, about)) = rest.split_once(' ') else { continue };
        if !methods.trim().split(", ").all(|method| METHODS.contains(&method.to_lowercase().as_str())) {
            continue;
        }
        let sentences = about.trim().split_inclusive('.').map(str::trim);
        for (method, sentence) in methods.trim().split(", ").zip(sentences) {
            listed.insert((format!("/{path}"), method.to_lowercase()), sentence.to_owned());
        }
    }
    let described: BTreeMap<_, _> = described
        .iter()
        .map(|((path, method), summary)| ((path.clone(), (*method).to_owned()), summary.clone()))
        .collect();
    assert_eq!(listed, described);
}

#[test]
fn the_description_has_the_codes_of_the_table() {
    let description = description();
    let codes = &description["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let described: BTreeSet<&str> = codes.as_array().expect("codes").iter().filter_map(Value::as_str).collect();
    let api = document::read("docs/api.md");
    let table = api.split("| code | status | when |").nth(1).expect("there is a table of codes");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(described, told);
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let description = description();
    let mut open = vec![&description];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.trim_start_matches('#');
                    assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                open.extend(object.values());
            }
            Value::Array(array) => open.extend(array),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// A master that nobody follows.
fn lone_server(directory: &Path) -> Server {
    let mut server = Server::new("n1", directory);
    server.configure(&cluster::config(&server, None).to_string());
    server.spawn();
    server.await_master();
    server
}

/// The lines of curl, each with what it prints.
fn examples() -> Vec<(String, String)> {
    let blocks = document::blocks(&document::read("docs/api.md"));
    let block = blocks.iter().find(|block| block.heading == "By example").expect("there are examples");
    let mut examples: Vec<(String, String)> = Vec::new();
    for line in block.text.lines() {
        match line.strip_prefix("# ") {
            Some(told) => examples.last_mut().expect("what is printed follows a line").1 = told.to_owned(),
            None => examples.push((line.to_owned(), String::new())),
        }
    }
    assert!(examples.iter().all(|(_, told)| !told.is_empty()), "each line says what it prints");
    examples
}

/// Whether a text is as it is told, with anything where `...` stands.
fn fits(text: &str, told: &str) -> bool {
    let parts: Vec<&str> = told.split("...").collect();
    let [first, between @ .., last] = &parts[..] else { return text.trim_end() == told };
    let Some(mut rest) = text.trim_end().strip_prefix(first) else { return false };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The path of a line of curl.
fn route_of(line: &str) -> String {
    let path = line.split("localhost:15500").nth(1).unwrap_or_default();
    path.split([' ', '?', '\'']).next().unwrap_or_default().to_owned()
}

fn description() -> Value {
    serde_yaml::from_str(&document::read("docs/openapi.yaml")).expect("the description is YAML")
}

/// Path and method of every operation, with its summary.
fn operations(description: &Value) -> BTreeMap<(String, &'static str), String> {
    let paths = description["paths"].as_object().expect("there are paths");
    let mut operations = BTreeMap::new();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(summary) = item[method]["summary"].as_str() {
                operations.insert((path.clone(), method), summary.to_owned());
            }
        }
    }
    operations
}

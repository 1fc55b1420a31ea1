//! Links between the repository's documents lead somewhere: to a file that is there, and to a heading that is in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use synap_tests::binary;

#[test]
fn every_link_in_the_documents_resolves() {
    let mut broken = Vec::new();
    let documents = documents();
    assert!(documents.len() > 10, "the documents are found: {documents:?}");
    for document in &documents {
        let text = fs::read_to_string(document).expect("a document can be read");
        broken.extend(links(&text).filter_map(|link| fault(document, &link)));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What is wrong with a link; none if it is good, or leads out of the repository.
fn fault(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let directory = document.parent().expect("a document lies in a directory");
    let target = if path.is_empty() { document.to_path_buf() } else { directory.join(path) };
    if !target.exists() {
        return Some(format!("{}: {link} leads nowhere", document.display()));
    }
    let heading = heading?;
    let text = fs::read_to_string(&target).expect("a document can be read");
    let there = headings(&text).contains(heading);
    (!there).then(|| format!("{}: {link}: there is no such heading", document.display()))
}

/// All Markdown files that belong to the project.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![binary::repository()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ours = !name.starts_with('.') && !["target", "synap-dev", "data"].contains(&name);
            if path.is_dir() && ours {
                directories.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The targets of `[text](target)`, outside code.
fn links(markdown: &str) -> impl Iterator<Item = String> {
    let mut targets = Vec::new();
    for line in prose(markdown) {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once("](") {
            let (target, tail) = after.split_once(')').unwrap_or((after, ""));
            targets.push(target.to_owned());
            rest = tail;
        }
    }
    targets.into_iter()
}

/// The anchors of headings, as code hosts make them: small letters, hyphens for spaces, nothing else.
fn headings(markdown: &str) -> BTreeSet<String> {
    let lines = prose(markdown).filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    lines.map(anchor).collect()
}

/// The lines that stand in no fenced block.
fn prose(markdown: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    markdown.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

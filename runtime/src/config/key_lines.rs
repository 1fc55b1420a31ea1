//! On which line each key of a YAML text stands. The values themselves are read by `serde_yaml`, which does not
//! tell; this pass looks at the places only.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// Deeper than `serde_yaml` goes, so that it is the one to refuse what nests further.
const DEPTH_MAX: usize = 300;

/// Lines of keys, by full path (`replication.role`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    lines: BTreeMap<String, usize>,
    /// Keys that stand more than once, in order.
    pub(super) duplicates: Vec<Duplicate>,
}

/// A key that stands more than once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) first_line: usize,
}

impl Marks {
    /// Reads the places off `text`. Where the text is no YAML, or nests without end, it stops: `serde_yaml` says what is
    /// wrong.
    pub(super) fn of(text: &str) -> Self {
        let mut marks = Self::default();
        let mut open: Vec<Level> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            marks.take(&mut open, &event, span.start.line());
            if open.len() > DEPTH_MAX {
                break;
            }
        }
        marks
    }

    /// The line of `key`, or of the nearest section above it that has one (the content may stand at an anchor).
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        match self.lines.get(key) {
            Some(line) => Some(*line),
            None => self.line(key.rsplit_once('.')?.0),
        }
    }

    fn take(&mut self, open: &mut Vec<Level>, event: &Event<'_>, line: usize) {
        match event {
            Event::Scalar(text, ..) => match open.last_mut() {
                Some(Level::Keys { prefix }) => {
                    let key = join(prefix, text);
                    open.push(Level::Value { key: key.clone() });
                    self.mark(key, line);
                }
                _ => value_ends(open),
            },
            Event::Alias(_) => value_ends(open),
            Event::MappingStart(..) => {
                let prefix = match open.last() {
                    None => String::new(),
                    Some(Level::Value { key }) => key.clone(),
                    Some(Level::Keys { prefix }) => join(prefix, "?"),
                    Some(Level::Items { key }) => join(key, "[]"),
                };
                open.push(Level::Keys { prefix });
            }
            Event::SequenceStart(..) => {
                let key = match open.last() {
                    Some(Level::Value { key } | Level::Items { key }) => key.clone(),
                    Some(Level::Keys { prefix }) => prefix.clone(),
                    None => String::new(),
                };
                open.push(Level::Items { key });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                value_ends(open);
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
    }

    fn mark(&mut self, key: String, line: usize) {
        // Items of a sequence share a path, and no known key lies below one.
        if key.contains("[]") {
            return;
        }
        match self.lines.get(&key) {
            Some(&first_line) => self.duplicates.push(Duplicate { key, line, first_line }),
            None => {
                self.lines.insert(key, line);
            }
        }
    }
}

/// Where the pass stands: innermost last.
enum Level {
    /// In a mapping, before a key.
    Keys { prefix: String },
    /// After a key, before its value.
    Value { key: String },
    /// In a sequence.
    Items { key: String },
}

fn value_ends(open: &mut Vec<Level>) {
    if matches!(open.last(), Some(Level::Value { .. })) {
        open.pop();
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, key: &str) -> Option<usize> {
        Marks::of(text).line(key)
    }

    #[test]
    fn block_flow_quotes_and_comments_are_all_seen() {
        let text = "# first\nserver:\n  host: \"a: b\" # c: d\n  port: 1\npersistence:\n  wal: { enabled: true,\n    fsync_mode: \"never\" }\n  'data_dir': x\n";
        assert_eq!(line(text, "server"), Some(2));
        assert_eq!(line(text, "server.host"), Some(3));
        assert_eq!(line(text, "server.port"), Some(4));
        assert_eq!(line(text, "persistence.wal.enabled"), Some(6));
        assert_eq!(line(text, "persistence.wal.fsync_mode"), Some(7));
        assert_eq!(line(text, "persistence.data_dir"), Some(8));
    }

    #[test]
    fn a_multi_line_value_hides_no_key() {
        let text = "server:\n  host: |\n    port: 7\n  port: 5\n";
        assert_eq!(line(text, "server.port"), Some(4));
    }

    #[test]
    fn what_stands_at_an_anchor_is_marked_where_it_is_used() {
        assert_eq!(line("a: &x { b: 1 }\nc: *x\nd: 1\n", "c.b"), Some(2));
        assert_eq!(line("a: &x { b: 1 }\nc: *x\nd: 1\n", "d"), Some(3));
    }

    #[test]
    fn sequences_and_odd_keys_do_not_shift_what_follows() {
        let text = "a: [1, { x: 1 }, [2]]\n? [complex]\n: 1\nb:\n  - x: 1\n  - x: 2\nc: 3\n";
        let marks = Marks::of(text);
        assert_eq!(marks.line("c"), Some(7));
        assert_eq!(marks.duplicates, []);
    }

    #[test]
    fn a_key_that_stands_twice_is_told_with_both_lines() {
        let marks = Marks::of("server:\n  port: 1\n  host: x\n  port: 2\n");
        assert_eq!(marks.duplicates, [Duplicate { key: "server.port".into(), line: 4, first_line: 2 }]);
    }
}

//! Puts defaults, file, environment and flags over one another, key by key, and remembers who said what.
//!
//! Decides which keys exist (those of [`Schema::default`]) and leaves what their values mean to `rules`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::fault::{Fault, Origin};
use super::key_lines::Marks;
use super::nearest::nearest;
use super::schema::Schema;

/// What every variable begins with.
const VARIABLE_PREFIX: &str = "SYNAP__";

/// A flag of the command line that stands for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// As it is typed: `--port`.
    pub name: &'static str,
    /// The key's full path.
    pub key: &'static str,
    /// What was given.
    pub value: Value,
}

/// The layers, merged: for each key its value and who said it. In the order of the documentation.
#[derive(Debug)]
pub(super) struct Layers {
    known: Vec<String>,
    values: BTreeMap<String, (Value, Origin)>,
    faults: Vec<Fault>,
}

impl Layers {
    /// Defaults only.
    pub(super) fn new() -> Self {
        let mut layers = Self { known: Vec::new(), values: BTreeMap::new(), faults: Vec::new() };
        for (key, value) in leaves(&defaults()) {
            layers.known.push(key.clone());
            layers.values.insert(key, (value, Origin::Default));
        }
        layers
    }

    /// Lays a file's text over what is there.
    pub(super) fn file(&mut self, file: &Path, text: &str) {
        let marks = Marks::of(text);
        if !marks.duplicates.is_empty() {
            return self.refuse_duplicates(file, &marks);
        }
        match serde_yaml::from_str::<Value>(text) {
            Ok(Value::Mapping(content)) => {
                self.section(&FilePass { file, marks: &marks }, "", &defaults(), &content);
                if !content.contains_key("server") {
                    self.faults.push(missing_server(file));
                }
            }
            Ok(Value::Null) => self.faults.push(missing_server(file)),
            Ok(_) => self.faults.push(Fault {
                origin: Origin::File { file: file.to_owned(), line: Some(1) },
                key: None,
                what: "not a configuration: keys with values are wanted, such as `server:`".to_owned(),
            }),
            Err(error) => self.faults.push(Fault {
                origin: Origin::File { file: file.to_owned(), line: error.location().map(|place| place.line()) },
                key: None,
                what: format!("not readable as YAML: {error}"),
            }),
        }
    }

    /// Lays the variables that begin with `SYNAP__` over what is there.
    pub(super) fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let ours = variables.into_iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX));
        // Sorted, so that faults come in the same order each time.
        for (name, text) in ours.collect::<BTreeMap<_, _>>() {
            let key = name[VARIABLE_PREFIX.len()..].replace("__", ".").to_lowercase();
            let origin = Origin::Environment(name);
            if self.known.contains(&key) {
                let value = variable_value(&key, &text);
                self.values.insert(key, (value, origin));
            } else {
                let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
                let what = match nearest(&key, &known) {
                    Some(meant) => format!("unknown variable; did you mean {}?", variable_name(meant)),
                    None => "unknown variable".to_owned(),
                };
                self.faults.push(Fault { origin, key: Some(key), what });
            }
        }
    }

    /// Lays flags over what is there.
    pub(super) fn flags(&mut self, flags: impl IntoIterator<Item = Flag>) {
        for flag in flags {
            self.values.insert(flag.key.to_owned(), (flag.value, Origin::Flag(flag.name)));
        }
    }

    /// The typed whole, with the origin of each key; or everything that is wrong with it.
    pub(super) fn build(self) -> Result<(Schema, BTreeMap<String, Origin>), Vec<Fault>> {
        let Self { known: _, values, mut faults } = self;
        let typed = serde_path_to_error::deserialize::<_, Schema>(tree(&values));
        let origins: BTreeMap<String, Origin> =
            values.into_iter().map(|(key, (_, origin))| (key, origin)).collect();
        match typed {
            Ok(schema) if faults.is_empty() => Ok((schema, origins)),
            Ok(_) => Err(faults),
            Err(error) => {
                let key = error.path().to_string();
                let origin = origins.get(&key).cloned().unwrap_or(Origin::Default);
                let what = in_plain_words(&error.into_inner().to_string());
                faults.push(Fault { origin, key: Some(key), what });
                Err(faults)
            }
        }
    }

    fn section(&mut self, pass: &FilePass<'_>, path: &str, known: &Mapping, content: &Mapping) {
        for (key, value) in content {
            let Some(name) = key.as_str() else {
                let what = "a key must be a word".to_owned();
                self.faults.push(Fault { origin: pass.origin(path), key: Some(plain(key)), what });
                continue;
            };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match (known.get(name), value) {
                (None, _) => self.refuse_unknown(pass, path),
                (Some(Value::Mapping(below)), Value::Mapping(content)) => {
                    self.section(pass, &path, below, content);
                }
                (Some(Value::Mapping(_)), Value::Null) => {}
                (Some(Value::Mapping(_)), other) => {
                    let what = format!("a section with keys below it is wanted, not {}", plain(other));
                    self.faults.push(Fault { origin: pass.origin(&path), key: Some(path), what });
                }
                (Some(_), value) => {
                    let origin = pass.origin(&path);
                    self.values.insert(path, (value.clone(), origin));
                }
            }
        }
    }

    fn refuse_unknown(&mut self, pass: &FilePass<'_>, path: String) {
        let sections = sections(&self.known);
        let known: Vec<&str> = sections.iter().chain(&self.known).map(String::as_str).collect();
        let what = match nearest(&path, &known) {
            Some(meant) => format!("unknown key; did you mean {meant}?"),
            None => "unknown key".to_owned(),
        };
        self.faults.push(Fault { origin: pass.origin(&path), key: Some(path), what });
    }

    fn refuse_duplicates(&mut self, file: &Path, marks: &Marks) {
        for duplicate in &marks.duplicates {
            self.faults.push(Fault {
                origin: Origin::File { file: file.to_owned(), line: Some(duplicate.line) },
                key: Some(duplicate.key.clone()),
                what: format!("given twice, first on line {}", duplicate.first_line),
            });
        }
    }
}

/// The variable that stands for a key: `SYNAP__REPLICATION__ROLE`.
pub fn variable_name(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Every key that has a value, by full path, in the order of the documentation.
pub fn known_keys() -> Vec<String> {
    leaves(&defaults()).into_iter().map(|(key, _)| key).collect()
}

/// A schema's keys and values, by full path, in order.
pub(super) fn leaves(content: &Mapping) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in content {
        let name = plain(key);
        match value {
            Value::Mapping(below) => {
                found.extend(leaves(below).into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => found.push((name, value.clone())),
        }
    }
    found
}

/// A schema as a tree.
pub(super) fn mapping(schema: &Schema) -> Mapping {
    match serde_yaml::to_value(schema) {
        Ok(Value::Mapping(content)) => content,
        other => unreachable!("a schema is a mapping of plain values, not {other:?}"),
    }
}

struct FilePass<'a> {
    file: &'a Path,
    marks: &'a Marks,
}

impl FilePass<'_> {
    fn origin(&self, key: &str) -> Origin {
        Origin::File { file: PathBuf::from(self.file), line: self.marks.line(key) }
    }
}

fn defaults() -> Mapping {
    mapping(&Schema::default())
}

fn missing_server(file: &Path) -> Fault {
    Fault {
        origin: Origin::File { file: file.to_owned(), line: None },
        key: Some("server".to_owned()),
        what: "missing; it is the one section that must be there (an empty one will do)".to_owned(),
    }
}

fn sections(keys: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for key in keys {
        let mut rest = key.as_str();
        while let Some((section, _)) = rest.rsplit_once('.') {
            if !found.iter().any(|known| known == section) {
                found.push(section.to_owned());
            }
            rest = section;
        }
    }
    found
}

/// A variable is text; it is read as what its key wants. Empty means unset where a key may be unset.
fn variable_value(key: &str, text: &str) -> Value {
    let as_yaml = serde_yaml::from_str::<Value>(text).ok();
    let candidates = [text.is_empty().then_some(Value::Null), Some(Value::String(text.to_owned())), as_yaml];
    let fallback = Value::String(text.to_owned());
    candidates.into_iter().flatten().find(|value| fits(key, value)).unwrap_or(fallback)
}

fn fits(key: &str, value: &Value) -> bool {
    let mut values: BTreeMap<String, (Value, Origin)> =
        leaves(&defaults()).into_iter().map(|(key, value)| (key, (value, Origin::Default))).collect();
    values.insert(key.to_owned(), (value.clone(), Origin::Default));
    serde_yaml::from_value::<Schema>(tree(&values)).is_ok()
}

fn tree(values: &BTreeMap<String, (Value, Origin)>) -> Value {
    let mut root = Mapping::new();
    for (key, (value, _)) in values {
        let mut names: Vec<&str> = key.split('.').collect();
        let leaf = names.pop().unwrap_or_default();
        insert(&mut root, &names, leaf, value.clone());
    }
    Value::Mapping(root)
}

fn insert(section: &mut Mapping, path: &[&str], leaf: &str, value: Value) {
    let Some((first, rest)) = path.split_first() else {
        section.insert(Value::String(leaf.to_owned()), value);
        return;
    };
    let below =
        section.entry(Value::String((*first).to_owned())).or_insert_with(|| Value::Mapping(Mapping::new()));
    if let Value::Mapping(below) = below {
        insert(below, rest, leaf, value);
    }
}

/// A value as one line of YAML.
pub(super) fn plain(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default().trim_end().to_owned()
}

/// serde's words, for people who do not know Rust's types.
fn in_plain_words(message: &str) -> String {
    // The path and place that some messages repeat: both are told already, and better.
    let message = message.split_once(" at line ").map_or(message, |(message, _)| message);
    [
        ("invalid type: unit value", "nothing given"),
        ("invalid type: ", "not "),
        ("invalid value: ", "not "),
        ("expected u16", "a port from 1 to 65535 is wanted"),
        ("expected u32", "a whole number from 0 to 4294967295 is wanted"),
        ("expected u64", "a whole number from 0 on is wanted"),
        ("expected a boolean", "true or false is wanted"),
        ("expected a string", "text is wanted"),
        ("expected a Value::Tagged enum", "one of the words that docs/configuration.md lists is wanted"),
        ("not string", "text given:"),
        ("not integer", "number given:"),
        ("not boolean", "true or false given:"),
        ("not floating point", "fraction given:"),
        ("not sequence", "a list given"),
        ("not map", "keys given"),
    ]
    .iter()
    .fold(message.to_owned(), |message, (theirs, ours)| message.replace(theirs, ours))
}

//! Golden files: what is written today is what was written when the version got its number. One line for each thing,
//! its name and its bytes. `UPDATE=1` rewrites them; a changed line needs a new version number, or a word in the commit
//! on why no file or peer of the old kind exists.

extern crate std;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use std::path::Path;

/// Compares lines with the file of that name; gives the bytes of each line, as the file has them.
pub(crate) fn compare(file: &str, story: &str, lines: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut text = format!("# {story}\n");
    for (name, bytes) in lines {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{name} {hex}\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (now, then) in text.lines().zip(golden.lines()) {
        assert_eq!(now, then, "{file}");
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{file} has other lines");
    bytes(&golden)
}

/// What a version wrote that is only read today: the bytes of each line of its file.
pub(crate) fn of_an_older_version(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    bytes(&std::fs::read_to_string(path).unwrap())
}

fn bytes(golden: &str) -> Vec<Vec<u8>> {
    golden.lines().filter(|line| !line.starts_with('#')).map(bytes_of).collect()
}

fn bytes_of(line: &str) -> Vec<u8> {
    let hex = line.rsplit(' ').next().unwrap();
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

//! What goes to standard output. A reader that has had enough (`| head`) is no failure.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use super::exit::Failed;
use super::table;

/// Writes one piece of text as it is.
pub(super) fn text(text: impl Display) -> Result<(), Failed> {
    bytes(text.to_string().as_bytes())
}

/// Writes one line.
pub(super) fn line(text: impl Display) -> Result<(), Failed> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes a remark: on a terminal its lines end between words.
pub(super) fn remark(text: impl AsRef<str>) -> Result<(), Failed> {
    line(table::prose(text.as_ref(), &std::io::stdout()))
}

/// Writes a remark to standard error, since standard output is for other programs.
pub(super) fn aside(text: impl AsRef<str>) {
    // Nobody reads it: there is no other place to say so.
    let _ = writeln!(std::io::stderr(), "{}", table::prose(text.as_ref(), &std::io::stderr()));
}

/// Writes bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failed> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failed::running(format!("standard output: {error}"))),
    }
}

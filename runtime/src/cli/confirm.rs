//! The operator's word, once the consequences have been named.

use std::io::{IsTerminal, Write};

use super::exit::{Exit, Failed};
use super::table;

/// Asks on the terminal; without one, somebody must have said `--yes`.
pub(super) fn confirm(consequences: &str, question: &str) -> Result<(), Failed> {
    if !std::io::stdin().is_terminal() {
        return Err(Failed::new(Exit::Usage, format!("{consequences}\nNobody is here to confirm: say --yes")));
    }
    let mut answer = String::new();
    let asked =
        write!(std::io::stderr(), "{}\n{question} Type yes: ", table::prose(consequences, &std::io::stderr()));
    let read =
        asked.and_then(|()| std::io::stderr().flush()).and_then(|()| std::io::stdin().read_line(&mut answer));
    read.map_err(|error| Failed::running(format!("the terminal: {error}")))?;
    match answer.trim() {
        "yes" | "y" => Ok(()),
        _ => Err(Failed::running("nothing was done")),
    }
}

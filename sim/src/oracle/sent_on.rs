//! Who is sent on to a master finds one that serves: a chain of redirects never ends at one that has not begun to, and never
//! comes back.

use crate::oracle::{Fact, Ground, Oracle};

/// Counts who was sent on.
#[derive(Debug, Default)]
pub(super) struct SentOn {
    compared: u64,
}

impl Oracle for SentOn {
    fn name(&self) -> &'static str {
        "who is sent on finds a master that serves"
    }

    fn see(&mut self, _: &Ground<'_>, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::SentOn { node, to, opens } = fact else { return Ok(()) };
        self.compared += 1;
        if *opens {
            return Err(format!(
                "n{node} sends a client on to n{to}, which has committed nothing in its epoch yet"
            ));
        }
        Ok(())
    }

    fn compared(&self) -> u64 {
        self.compared
    }
}

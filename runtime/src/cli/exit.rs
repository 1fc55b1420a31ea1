//! How the program ends: its exit codes, all of them, and the error that carries one.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, after `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Good,
    /// 1: failed while running.
    Failure,
    /// 2: the command line makes no sense.
    Usage,
    /// 4: what was asked for is not there.
    NotFound,
    /// 65: the data is of another version of the program.
    Version,
    /// 66: a data directory that was used holds no data any more.
    Emptied,
    /// 74: corruption, or the disk failed.
    Data,
    /// 75: another process is in the way; trying again later can help.
    Temporary,
    /// 78: the configuration makes no sense.
    Configuration,
    /// 143: a second signal ended a graceful stop at once.
    Impatient,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The code that the process ends with.
    pub exit: Exit,
    /// For people; may have several lines.
    pub message: String,
}

/// What a command gives.
pub type Outcome = Result<Exit, Failed>;

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 4,
            Self::Version => 65,
            Self::Emptied => 66,
            Self::Data => 74,
            Self::Temporary => 75,
            Self::Configuration => 78,
            Self::Impatient => 143,
        }
    }
}

impl Failed {
    /// Failed so.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// Failed while running.
    pub fn running(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failure, message)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

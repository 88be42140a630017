//! How a command ends, and the exit status for it.

use std::io;

/// The status of a command that did what was asked.
pub(crate) const STATUS_YES: u8 = 0;
/// The status of a "no": faults, a refusal.
pub(crate) const STATUS_NO: u8 = 1;
/// The status of a command line that means nothing.
pub(crate) const STATUS_USAGE: u8 = 2;

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line means nothing.
    Usage(String),
    /// Manifests, question or daemon: one line for each thing that is wrong.
    Refused(Vec<String>),
    /// Standard output takes no more.
    Output(io::Error),
}

impl Failure {
    /// A refusal of one line.
    pub(crate) fn refused(line: impl ToString) -> Self {
        Self::Refused(vec![line.to_string()])
    }
}

impl From<io::Error> for Failure {
    /// Only writing to standard output fails with a bare I/O error.
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

//! `sluicectl`: check rule sets, push them, and ask who reaches whom and why.
//!
//! `args` is the command line and `run` carries it out, one module of `commands` for each.
//! `judge` answers questions from manifests (`offline`) or from the running daemon
//! (`daemon`); `doctor` asks kernel and drivers itself. All printing goes through `output`, which
//! lets no control character out of a name or a label (`text`). A library, so that a test can run
//! a command beside a daemon; its one function is the program. Exit status: 0 yes, 1 no or
//! refused, 2 a command line that means nothing.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod daemon;
mod failure;
mod judge;
mod offline;
mod output;
mod progress;
mod run;
mod text;

pub use run::run;

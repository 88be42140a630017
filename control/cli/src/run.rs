//! From the command line to the exit status.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::commands;
use crate::failure::{Failure, STATUS_NO, STATUS_USAGE, STATUS_YES};
use crate::output::Output;
use crate::text::{printable, printable_lines};

/// Runs the command that `arguments` are, the program's own name first, and gives its status.
pub fn run<Word>(arguments: impl IntoIterator<Item = Word>) -> u8
where
    Word: Into<OsString> + Clone,
{
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let mut output = Output::new(arguments.output);
    let ended = dispatch(&arguments, &mut output);
    // What was answered before a failure is printed too.
    let flushed = output.flush();
    match ended.and_then(|()| flushed.map_err(Failure::from)) {
        Ok(()) => STATUS_YES,
        Err(failure) => report(failure),
    }
}

/// Prints a line to standard error. If nobody reads that either, there is nobody to tell.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

fn dispatch(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let connection = &arguments.connection;
    match &arguments.command {
        Command::Check(it) => commands::check::run(it, output),
        Command::Apply(it) => commands::apply::run(it, connection, output),
        Command::Diff(it) => commands::diff::run(it, connection, output),
        Command::Reach(it) => commands::reach::run(it, connection, output),
        Command::Explain(it) => commands::explain::run(it, connection, output),
        Command::Status(_) => commands::status::run(connection, output),
        Command::Ports(it) => commands::ports::run(it, connection, output),
        Command::Counters(it) => commands::counters::run(it, connection, output),
        Command::Top(it) => commands::top::run(it, connection, output),
        Command::Doctor(it) => commands::doctor::run(it, connection, output),
        Command::Capture(it) => commands::capture::run(it, connection, output),
    }
}

fn report(failure: Failure) -> u8 {
    match failure {
        Failure::Usage(line) => {
            complain(&format!("error: {line}"));
            STATUS_USAGE
        }
        Failure::Refused(lines) => {
            for line in lines {
                complain(&line);
            }
            STATUS_NO
        }
        // Whoever read has seen enough, as `head` does: no error.
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => STATUS_YES,
        Failure::Output(error) => {
            complain(&format!("error: cannot write to standard output: {error}"));
            STATUS_NO
        }
    }
}

/// Prints help, version or what is wrong with the command line.
fn usage(error: &clap::Error) -> u8 {
    if error.use_stderr() {
        // clap repeats the values that it was given, whatever is in them.
        let _ = io::stderr().write_all(printable_lines(&error.render().to_string()).as_bytes());
        STATUS_USAGE
    } else {
        let _ = error.print();
        STATUS_YES
    }
}

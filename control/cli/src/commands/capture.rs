//! `capture`: frames as the daemon drops them.

mod pcapng;
mod summary;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sluice_api::backend::{CaptureOrder, DroppedFrame};
use sluice_api::text::rfc3339;

use self::pcapng::{NO_PORT, PcapngFile};
use crate::args::{Capture as Arguments, Connection};
use crate::daemon::{Capturing, Daemon};
use crate::failure::Failure;
use crate::output::Output;
use crate::run::complain;
use crate::text::{count, printable};

/// How many frames there were. What JSON shows of a capture that went to a file.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Tally {
    captured: u64,
    missed: u64,
}

pub(crate) fn run(
    arguments: &Arguments,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    check(arguments, output)?;
    let order = CaptureOrder {
        count: arguments.count,
        snap_len: arguments.snap_len,
        duration: Duration::from_secs(arguments.duration),
        ports: arguments.ports.clone(),
        reasons: arguments.reasons.clone(),
    };
    let daemon = Daemon::connect(connection)?;
    let mut file = match &arguments.write {
        Some(path) => Some(create(path, &order, &daemon)?),
        None => None,
    };
    let capture = daemon.capture(&order)?;
    if let Some(file) = &mut file {
        file.begin()?;
    }
    let frames = count(order.count.into(), "dropped frame", "dropped frames");
    complain(&format!("capturing {frames}, for {} s at most", order.duration.as_secs()));
    let mut tally = Tally::default();
    let ended = follow(capture, file.as_mut(), output, &mut tally);
    // Whatever ended it: what there is, is whole, and this is how much it is.
    complain(&in_words(tally));
    ended?;
    if arguments.write.is_some() && output.is_json() {
        output.json(&tally)?;
    }
    Ok(())
}

/// What clap cannot say.
fn check(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let usage = |problem: &str| Err(Failure::Usage(problem.to_owned()));
    if !arguments.drops {
        return usage("only dropped frames can be captured; say so with --drops");
    }
    if arguments.write.as_deref().is_some_and(is_stdout) {
        if output.is_json() {
            return usage("-w - and -o json both want standard output; leave one out");
        }
        if io::stdout().is_terminal() {
            return usage("-w - writes no text, and this is a terminal; name a file, or a pipe");
        }
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// A file with an interface for each port that is there and wanted.
fn create(path: &Path, order: &CaptureOrder, daemon: &Daemon) -> Result<PcapngFile, Failure> {
    let names = daemon.ports()?.into_iter().map(|port| port.spec.interface);
    let wanted = names.filter(|name| order.ports.is_empty() || order.ports.contains(name));
    let path = (!is_stdout(path)).then_some(path);
    PcapngFile::create(path, order.snap_len, wanted)
}

/// Takes frames until the capture is over.
fn follow(
    mut capture: Capturing<'_>,
    mut file: Option<&mut PcapngFile>,
    output: &mut Output,
    tally: &mut Tally,
) -> Result<(), Failure> {
    while let Some(captured) = capture.next()? {
        tally.missed = captured.missed;
        for frame in &captured.frames {
            match &mut file {
                Some(file) => file.write(frame)?,
                None if output.is_json() => output.json(frame)?,
                None => output.line(line(frame))?,
            }
            tally.captured += 1;
        }
        // Somebody watches.
        output.flush()?;
    }
    Ok(())
}

fn line(frame: &DroppedFrame) -> String {
    let DroppedFrame { time, port, reason, len, data, .. } = frame;
    let port = printable(port.as_deref().unwrap_or(NO_PORT));
    let bytes = count((*len).into(), "byte", "bytes");
    let summary = summary::of(data);
    format!("{} {port} {}: {summary}, {bytes}", rfc3339(*time), printable(reason))
}

fn in_words(Tally { captured, missed }: Tally) -> String {
    let advice = if missed > 0 { "; narrow it with --port or --reason" } else { "" };
    format!("{} captured, {missed} missed{advice}", count(captured, "frame", "frames"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_line_says_when_where_why_and_what() {
        let frame = DroppedFrame {
            time: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 1),
            port: Some("v\u{1b}[2J".into()),
            reason: "bad\n".into(),
            worker: 0,
            len: 1,
            data: vec![0],
        };
        assert_eq!(
            line(&frame),
            "2023-11-14T22:13:20.000000001Z v\\u{1b}[2J bad\\u{a}: no Ethernet header, 1 byte"
        );
        let gone = DroppedFrame { port: None, reason: "tx_full".into(), len: 60, ..frame };
        assert!(line(&gone).ends_with(" (gone) tx_full: no Ethernet header, 60 bytes"));
    }

    #[test]
    fn what_was_missed_comes_with_advice() {
        let tally = |captured, missed| in_words(Tally { captured, missed });
        assert_eq!(tally(1, 0), "1 frame captured, 0 missed");
        assert_eq!(tally(2, 3), "2 frames captured, 3 missed; narrow it with --port or --reason");
    }
}

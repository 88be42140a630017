//! Questions about the rule set in force, both ways.

use sluice_policy::explain::{ExplainError, Question, Who};
use sluice_policy::model::{Fault, Protocol};
use sluice_policy::reach::Family;

use super::report::{Path, Report, gather};
use super::to_wire;
use crate::wire;

/// Questions of one request at most.
pub(crate) const QUESTIONS_MAX: usize = 10_000;

/// Ports of one reach request at most: each costs a decision for every pair of pods.
pub(crate) const REACH_PORTS_MAX: usize = 64;

/// The question at `place`.
pub(crate) fn question(place: usize, asked: &wire::Question) -> Result<Question, Vec<Fault>> {
    let mut report = Report::new("request");
    let list = Path::Top("questions");
    let at = list.item(place);
    let from = who(&mut report, &at.field("from"), &asked.from);
    let to = who(&mut report, &at.field("to"), &asked.to);
    let protocol = report.protocol(&at.field("protocol"), asked.protocol);
    let port = report.port(&at.field("port"), asked.port);
    let read = (|| Some(Question { from: from?, to: to?, protocol: protocol?, port: port? }))();
    report.finish(read)
}

pub(crate) fn question_to_wire(question: &Question) -> wire::Question {
    wire::Question {
        from: question.from.to_string(),
        to: question.to.to_string(),
        protocol: to_wire::protocol(question.protocol).into(),
        port: question.port.into(),
    }
}

pub(crate) type ReachQuestion = (Vec<(Protocol, u16)>, Option<Family>);

pub(crate) fn reach(request: &wire::ReachRequest) -> Result<ReachQuestion, Vec<Fault>> {
    const WANTED: &str = "any, IPv4 or IPv6";
    let mut report = Report::new("request");
    let list = Path::Top("ports");
    let count = request.ports.len();
    let ports = if (1..=REACH_PORTS_MAX).contains(&count) {
        gather(request.ports.iter().enumerate().map(|(place, it)| {
            let at = list.item(place);
            let protocol = report.protocol(&at.field("protocol"), it.protocol);
            let port = report.port(&at.field("port"), it.port);
            Some((protocol?, port?))
        }))
    } else {
        report.fault(&list, format!("there are {count}; want 1 to {REACH_PORTS_MAX}"))
    };
    let at = Path::Top("family");
    let family = match wire::Family::try_from(request.family) {
        Ok(wire::Family::Any) => Some(None),
        Ok(wire::Family::V4) => Some(Some(Family::V4)),
        Ok(wire::Family::V6) => Some(Some(Family::V6)),
        Ok(wire::Family::Unspecified) => report.unspecified(&at, WANTED),
        Err(_) => report.unknown(&at, request.family, WANTED),
    };
    report.finish(ports.zip(family))
}

pub(crate) fn reach_to_wire(
    ports: &[(Protocol, u16)],
    family: Option<Family>,
) -> wire::ReachRequest {
    let family = match family {
        None => wire::Family::Any,
        Some(Family::V4) => wire::Family::V4,
        Some(Family::V6) => wire::Family::V6,
    };
    let ports = ports.iter().map(|&(protocol, port)| wire::ReachPort {
        protocol: to_wire::protocol(protocol).into(),
        port: port.into(),
    });
    wire::ReachRequest { ports: ports.collect(), family: family.into() }
}

fn who(report: &mut Report, at: &Path<'_>, text: &str) -> Option<Who> {
    text.parse().map_or_else(|error: ExplainError| report.fault(at, error.to_string()), Some)
}

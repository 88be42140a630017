//! Previews of commits, both ways.

use sluice_policy::diff::{Diff, VerdictChange};
use sluice_policy::model::Fault;

use super::answers::{port, verdict, verdict_to_wire};
use super::content::{content, content_to_wire};
use super::report::{Path, Report};
use super::{Malformed, commit};
use crate::backend::{
    DIFF_LIMIT_DEFAULT, DIFF_LIMIT_MAX, DiffOrder, DyingConnection, Preview, Refused,
};
use crate::wire;
use crate::wire::commit_request::Content as Sent;
use crate::wire::diff_request::Content;
use crate::wire::diff_response::Outcome;

pub(crate) fn order(request: wire::DiffRequest) -> Result<DiffOrder, Vec<Fault>> {
    let mut report = Report::new("request");
    let limit = match usize::try_from(request.limit) {
        Ok(0) => Some(DIFF_LIMIT_DEFAULT),
        Ok(limit) if limit <= DIFF_LIMIT_MAX => Some(limit),
        _ => {
            let problem = format!("it is {}; want {DIFF_LIMIT_MAX} at most", request.limit);
            report.fault(&Path::Top("limit"), problem)
        }
    };
    let sent = request.content.map(|it| match it {
        Content::Snapshot(it) => Sent::Snapshot(it),
        Content::Delta(it) => Sent::Delta(it),
    });
    let base_revision = request.base_revision;
    let content = content(&mut report, sent, base_revision);
    let order = content.zip(limit);
    report.finish(order.map(|(content, limit)| DiffOrder { content, base_revision, limit }))
}

pub(crate) fn order_to_wire(order: &DiffOrder) -> wire::DiffRequest {
    let content = match content_to_wire(&order.content) {
        Sent::Snapshot(it) => Content::Snapshot(it),
        Sent::Delta(it) => Content::Delta(it),
    };
    wire::DiffRequest {
        content: Some(content),
        base_revision: order.base_revision,
        // A limit that does not fit is too large in any case, and the daemon says so.
        limit: u32::try_from(order.limit).unwrap_or(u32::MAX),
    }
}

pub(crate) fn outcome_to_wire(outcome: Result<Preview, Refused>) -> wire::DiffResponse {
    let outcome = match outcome {
        Ok(preview) => Outcome::Preview(preview_to_wire(preview)),
        Err(refused) => Outcome::Nack(commit::refused_to_wire(refused)),
    };
    wire::DiffResponse { outcome: Some(outcome) }
}

pub(crate) fn outcome(response: wire::DiffResponse) -> Result<Result<Preview, Refused>, Malformed> {
    match response.outcome {
        Some(Outcome::Preview(it)) => preview(it).map(Ok),
        Some(Outcome::Nack(nack)) => Ok(Err(commit::refused(nack))),
        None => Err("the diff has neither preview nor nack".into()),
    }
}

fn preview_to_wire(it: Preview) -> wire::Preview {
    wire::Preview {
        running_revision: it.running_revision,
        verdicts: it.diff.verdicts.into_iter().map(verdict_change_to_wire).collect(),
        verdicts_total: it.diff.verdicts_total,
        pods_added: it.diff.pods_added,
        pods_removed: it.diff.pods_removed,
        access_lists: it.diff.access_lists,
        connections: it.connections.into_iter().map(connection_to_wire).collect(),
        connections_total: it.connections_total,
        connections_live: it.connections_live,
    }
}

fn preview(it: wire::Preview) -> Result<Preview, Malformed> {
    Ok(Preview {
        running_revision: it.running_revision,
        diff: Diff {
            verdicts: it.verdicts.into_iter().map(verdict_change).collect::<Result<_, _>>()?,
            verdicts_total: it.verdicts_total,
            pods_added: it.pods_added,
            pods_removed: it.pods_removed,
            access_lists: it.access_lists,
        },
        connections: it.connections.into_iter().map(connection).collect::<Result<_, _>>()?,
        connections_total: it.connections_total,
        connections_live: it.connections_live,
    })
}

fn verdict_change_to_wire(it: VerdictChange) -> wire::VerdictChange {
    let span =
        |(first, last): (u16, u16)| wire::PortSpan { first: first.into(), last: last.into() };
    wire::VerdictChange {
        from: it.from,
        to: it.to,
        protocol: it.protocol,
        ports: it.ports.map(span),
        before: verdict_to_wire(it.before),
        after: verdict_to_wire(it.after),
        family: it.family,
    }
}

fn verdict_change(it: wire::VerdictChange) -> Result<VerdictChange, Malformed> {
    let span = |it: wire::PortSpan| Ok::<_, Malformed>((port(it.first)?, port(it.last)?));
    Ok(VerdictChange {
        from: it.from,
        to: it.to,
        protocol: it.protocol,
        ports: it.ports.map(span).transpose()?,
        before: verdict(it.before)?,
        after: verdict(it.after)?,
        family: it.family,
    })
}

fn connection_to_wire(it: DyingConnection) -> wire::DyingConnection {
    wire::DyingConnection {
        from: it.from,
        to: it.to,
        source: it.source.to_string(),
        destination: it.destination.to_string(),
        protocol: it.protocol,
        source_port: it.source_port.map(Into::into),
        destination_port: it.destination_port.map(Into::into),
        reason: it.reason,
    }
}

fn connection(it: wire::DyingConnection) -> Result<DyingConnection, Malformed> {
    let address = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is no IP address"));
    Ok(DyingConnection {
        from: it.from,
        to: it.to,
        source: address(&it.source)?,
        destination: address(&it.destination)?,
        protocol: it.protocol,
        source_port: it.source_port.map(port).transpose()?,
        destination_port: it.destination_port.map(port).transpose()?,
        reason: it.reason,
    })
}

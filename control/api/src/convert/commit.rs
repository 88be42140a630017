//! Commits, both ways.

use sluice_policy::model::Fault;

use super::content::{content, content_to_wire};
use super::report::{Path, Report};
use super::{Malformed, faults_from_wire, faults_to_wire};
use crate::backend::{CommitOrder, Committed, Refused};
use crate::wire;

/// Bytes of a version at most.
const VERSION_LEN_MAX: usize = 256;

pub(crate) fn order(request: wire::CommitRequest) -> Result<CommitOrder, Vec<Fault>> {
    let mut report = Report::new("request");
    if request.version.len() > VERSION_LEN_MAX {
        let problem =
            format!("it has {} bytes; want {VERSION_LEN_MAX} at most", request.version.len());
        report.fault::<()>(&Path::Top("version"), problem);
    }
    let content = content(&mut report, request.content, request.base_revision);
    let order = content.map(|content| CommitOrder {
        version: request.version,
        base_revision: request.base_revision,
        allow_shrink: request.allow_shrink,
        content,
    });
    report.finish(order)
}

pub(crate) fn order_to_wire(order: &CommitOrder) -> wire::CommitRequest {
    wire::CommitRequest {
        version: order.version.clone(),
        base_revision: order.base_revision,
        allow_shrink: order.allow_shrink,
        content: Some(content_to_wire(&order.content)),
    }
}

pub(crate) fn outcome_to_wire(outcome: Result<Committed, Refused>) -> wire::CommitResponse {
    use wire::commit_response::Outcome;
    let outcome = match outcome {
        Ok(done) => Outcome::Ack(wire::Ack {
            revision: done.revision,
            version: done.version,
            objects: done.objects,
            applied_in_ns: done.applied_in_ns,
        }),
        Err(refused) => Outcome::Nack(refused_to_wire(refused)),
    };
    wire::CommitResponse { outcome: Some(outcome) }
}

pub(crate) fn outcome(
    response: wire::CommitResponse,
) -> Result<Result<Committed, Refused>, Malformed> {
    use wire::commit_response::Outcome;
    match response.outcome {
        Some(Outcome::Ack(ack)) => Ok(Ok(Committed {
            revision: ack.revision,
            version: ack.version,
            objects: ack.objects,
            applied_in_ns: ack.applied_in_ns,
        })),
        Some(Outcome::Nack(nack)) => Ok(Err(refused(nack))),
        None => Err("the commit has neither ack nor nack".into()),
    }
}

pub(super) fn refused_to_wire(refused: Refused) -> wire::Nack {
    wire::Nack {
        faults: faults_to_wire(refused.faults),
        running_revision: refused.running_revision,
    }
}

pub(super) fn refused(nack: wire::Nack) -> Refused {
    Refused { faults: faults_from_wire(nack.faults), running_revision: nack.running_revision }
}

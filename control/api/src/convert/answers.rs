//! Status and answers about the rule set in force, both ways.

use std::path::PathBuf;

use sluice_policy::explain::{Denial, Explanation, Side, Verdict};
use sluice_policy::model::Protocol;
use sluice_policy::reach::{PortReach, Reach};

use super::{Malformed, faults_from_wire, faults_to_wire, to_wire};
use crate::backend::{ObjectCounts, Refusal, Source, Status, WorkerStatus};
use crate::wire;

pub(crate) fn status_to_wire(status: Status) -> wire::StatusResponse {
    let source = match status.source {
        Source::Files(directory) => {
            wire::status_response::Source::Files(directory.to_string_lossy().into_owned())
        }
        Source::Api => wire::status_response::Source::Api(wire::ApiSource {}),
    };
    let worker = |it: WorkerStatus| wire::WorkerStatus {
        index: it.index,
        core: it.core,
        revision: it.revision,
        connections: it.connections,
        evicted: it.evicted,
    };
    wire::StatusResponse {
        revision: status.revision,
        version: status.version,
        source: Some(source),
        objects: Some(wire::ObjectCounts {
            namespaces: status.objects.namespaces,
            pods: status.objects.pods,
            nodes: status.objects.nodes,
            network_policies: status.objects.network_policies,
            cluster_network_policies: status.objects.cluster_network_policies,
            access_lists: status.objects.access_lists,
        }),
        workers: status.workers.into_iter().map(worker).collect(),
        uptime_seconds: status.uptime_seconds,
        health: status.health,
        last_refusal: status.last_refusal.map(|it| wire::Refusal {
            version: it.version,
            faults: faults_to_wire(it.faults),
            age_seconds: it.age_seconds,
        }),
    }
}

pub(crate) fn status(status: wire::StatusResponse) -> Result<Status, Malformed> {
    let source = match status.source {
        Some(wire::status_response::Source::Files(directory)) => {
            Source::Files(PathBuf::from(directory))
        }
        Some(wire::status_response::Source::Api(wire::ApiSource {})) => Source::Api,
        None => return Err("the status has no source".into()),
    };
    let objects = status.objects.unwrap_or_default();
    let worker = |it: wire::WorkerStatus| WorkerStatus {
        index: it.index,
        core: it.core,
        revision: it.revision,
        connections: it.connections,
        evicted: it.evicted,
    };
    Ok(Status {
        revision: status.revision,
        version: status.version,
        source,
        objects: ObjectCounts {
            namespaces: objects.namespaces,
            pods: objects.pods,
            nodes: objects.nodes,
            network_policies: objects.network_policies,
            cluster_network_policies: objects.cluster_network_policies,
            access_lists: objects.access_lists,
        },
        workers: status.workers.into_iter().map(worker).collect(),
        uptime_seconds: status.uptime_seconds,
        health: status.health,
        last_refusal: status.last_refusal.map(|it| Refusal {
            version: it.version,
            faults: faults_from_wire(it.faults),
            age_seconds: it.age_seconds,
        }),
    })
}

pub(crate) fn answer_to_wire(answer: Result<Explanation, String>) -> wire::Answer {
    use wire::answer::Answer;
    let answer = match answer {
        Ok(it) => Answer::Explanation(wire::Explanation {
            protocol: protocol_to_wire(&it.protocol),
            port: it.port.into(),
            verdict: verdict_to_wire(it.verdict),
            access_list: it
                .access_list
                .map(|it| wire::AccessDenial { name: it.name, priority: it.priority }),
            egress: Some(side_to_wire(it.egress)),
            ingress: Some(side_to_wire(it.ingress)),
            from: it.from,
            to: it.to,
        }),
        Err(problem) => Answer::Problem(problem),
    };
    wire::Answer { answer: Some(answer) }
}

pub(crate) fn answer(answer: wire::Answer) -> Result<Result<Explanation, String>, Malformed> {
    use wire::answer::Answer;
    let it = match answer.answer {
        Some(Answer::Explanation(it)) => it,
        Some(Answer::Problem(problem)) => return Ok(Err(problem)),
        None => return Err("a question has neither explanation nor problem".into()),
    };
    Ok(Ok(Explanation {
        from: it.from,
        to: it.to,
        port: port(it.port)?,
        protocol: protocol(it.protocol)?,
        verdict: verdict(it.verdict)?,
        access_list: it.access_list.map(|it| Denial { name: it.name, priority: it.priority }),
        egress: side(it.egress)?,
        ingress: side(it.ingress)?,
    }))
}

pub(crate) fn reach_to_wire(reach: Reach) -> wire::ReachResponse {
    let matrix = |it: PortReach| wire::ReachMatrix {
        protocol: protocol_to_wire(&it.protocol),
        port: it.port.into(),
        egress: it.egress,
        ingress: it.ingress,
        verdict: it.verdict,
    };
    wire::ReachResponse { pods: reach.pods, ports: reach.ports.into_iter().map(matrix).collect() }
}

pub(crate) fn reach(reach: wire::ReachResponse) -> Result<Reach, Malformed> {
    let matrix = |it: wire::ReachMatrix| {
        Ok(PortReach {
            port: port(it.port)?,
            protocol: protocol(it.protocol)?,
            egress: it.egress,
            ingress: it.ingress,
            verdict: it.verdict,
        })
    };
    let ports = reach.ports.into_iter().map(matrix).collect::<Result<_, Malformed>>()?;
    Ok(Reach { pods: reach.pods, ports })
}

fn side_to_wire(it: Side) -> wire::Side {
    wire::Side {
        verdict: verdict_to_wire(it.verdict),
        reason: it.reason,
        policy: it.policy,
        rule: it.rule,
        tier: it.tier,
        kind: it.kind,
        rule_name: it.rule_name,
    }
}

fn side(side: Option<wire::Side>) -> Result<Side, Malformed> {
    let it = side.ok_or("an explanation lacks an end")?;
    Ok(Side {
        verdict: verdict(it.verdict)?,
        reason: it.reason,
        tier: it.tier,
        kind: it.kind,
        policy: it.policy,
        rule: it.rule,
        rule_name: it.rule_name,
    })
}

pub(super) fn verdict_to_wire(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Allow => wire::Verdict::Allow,
        Verdict::Drop => wire::Verdict::Drop,
    }
    .into()
}

pub(super) fn verdict(number: i32) -> Result<Verdict, Malformed> {
    match wire::Verdict::try_from(number) {
        Ok(wire::Verdict::Allow) => Ok(Verdict::Allow),
        Ok(wire::Verdict::Drop) => Ok(Verdict::Drop),
        Ok(wire::Verdict::Unspecified) | Err(_) => Err(format!("unknown verdict {number}")),
    }
}

/// Answers carry the protocol as text that was a [`Protocol`] before.
fn protocol_to_wire(text: &str) -> i32 {
    text.parse().map_or(wire::Protocol::Unspecified, to_wire::protocol).into()
}

fn protocol(number: i32) -> Result<String, Malformed> {
    let protocol = match wire::Protocol::try_from(number) {
        Ok(wire::Protocol::Tcp) => Protocol::Tcp,
        Ok(wire::Protocol::Udp) => Protocol::Udp,
        Ok(wire::Protocol::Sctp) => Protocol::Sctp,
        Ok(wire::Protocol::Unspecified) | Err(_) => {
            return Err(format!("unknown protocol {number}"));
        }
    };
    Ok(protocol.to_string())
}

pub(super) fn port(number: u32) -> Result<u16, Malformed> {
    u16::try_from(number).map_err(|_| format!("{number} is no port number"))
}

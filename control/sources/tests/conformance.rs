//! The NetworkPolicy cases of Kubernetes' own end-to-end suite, on the whole way from manifest
//! text through compilation to the table's decision, for IPv4 and for IPv6.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT};
use sluice_policy::compile::{CompileOptions, compile};
use sluice_sources::conformance::{Cluster, Expectation, Family, Suite};

#[test]
fn kubernetes_end_to_end_cases_over_ipv4() {
    run(Family::V4);
}

#[test]
fn kubernetes_end_to_end_cases_over_ipv6() {
    run(Family::V6);
}

fn run(family: Family) {
    let Some(suite) = Suite::read_or_skip() else { return };
    let mut wrong = Vec::new();
    for case in &suite.cases {
        let mut cluster = suite.cluster(case, family);
        for step in &case.steps {
            let expectations = cluster.step(step);
            if !expectations.is_empty() {
                let answers = answers_that_differ(&cluster, &expectations);
                wrong.extend(answers.iter().map(|answer| format!("{}: {answer}", case.name)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn answers_that_differ(cluster: &Cluster<'_>, expectations: &[Expectation]) -> Vec<String> {
    let table = compile(&cluster.rules(), &CompileOptions::default()).unwrap();
    let mut wrong = Vec::new();
    for Expectation { from, to, protocol, port, allowed } in expectations {
        let decision = table.decide(&Attempt {
            network: NetworkId::DEFAULT,
            source: cluster.address(from),
            destination: cluster.address(to),
            protocol: protocol.number(),
            source_port: Some(DYNAMIC_PORT),
            port: Some(*port),
        });
        if decision.allows() != *allowed {
            wrong.push(format!("{from} to {to} {protocol} {port}: {decision:?}"));
        }
    }
    wrong
}

//! Answers arrive as they were.

use sluice_policy::explain::{Denial, Explanation, Side, Verdict};

use crate::convert::{answers, capture, diff};
use crate::wire;

#[test]
fn an_explanation_arrives_with_all_that_it_says() {
    let by_rule = Side {
        verdict: Verdict::Drop,
        reason: "rule 2 of guard denies it".into(),
        tier: Some("Admin".into()),
        kind: Some("ClusterNetworkPolicy".into()),
        policy: Some("guard".into()),
        rule: Some(2),
        rule_name: Some("no metadata service".into()),
    };
    let by_none = Side {
        verdict: Verdict::Allow,
        reason: "10.0.0.9 is outside the cluster; policies select only pods".into(),
        tier: None,
        kind: None,
        policy: None,
        rule: None,
        rule_name: None,
    };
    let explanation = Explanation {
        from: "10.0.0.9".into(),
        to: "shop/web".into(),
        port: 80,
        protocol: "TCP".into(),
        verdict: Verdict::Drop,
        access_list: Some(Denial { name: "edge".into(), priority: 20 }),
        egress: by_none,
        ingress: by_rule,
    };
    let wire = answers::answer_to_wire(Ok(explanation.clone()));
    assert_eq!(answers::answer(wire), Ok(Ok(explanation)));
}

/// Answers are read leniently, but never guessed at.
#[test]
fn a_preview_that_says_too_little_is_malformed() {
    let verdict = wire::VerdictChange { before: 1, after: 2, ..wire::VerdictChange::default() };
    let connection = wire::DyingConnection {
        source: "10.0.0.1".into(),
        destination: "::1".into(),
        ..wire::DyingConnection::default()
    };
    let span = wire::PortSpan { first: 0, last: 65_536 };
    let read = |verdict: wire::VerdictChange, connection: wire::DyingConnection| {
        let preview = wire::Preview {
            verdicts: vec![verdict],
            connections: vec![connection],
            ..wire::Preview::default()
        };
        let outcome = Some(wire::diff_response::Outcome::Preview(preview));
        diff::outcome(wire::DiffResponse { outcome })
    };
    read(verdict.clone(), connection.clone()).unwrap().unwrap();
    for wrong in [
        wire::VerdictChange { before: 0, ..verdict.clone() },
        wire::VerdictChange { after: 3, ..verdict.clone() },
        wire::VerdictChange { ports: Some(span), ..verdict.clone() },
    ] {
        read(wrong, connection.clone()).unwrap_err();
    }
    for wrong in [
        wire::DyingConnection { source: String::new(), ..connection.clone() },
        wire::DyingConnection { destination: "shop/web".into(), ..connection.clone() },
        wire::DyingConnection { source_port: Some(65_536), ..connection.clone() },
        wire::DyingConnection { destination_port: Some(u32::MAX), ..connection.clone() },
    ] {
        read(verdict.clone(), wrong).unwrap_err();
    }
    diff::outcome(wire::DiffResponse { outcome: None }).unwrap_err();
}

#[test]
fn a_captured_frame_that_shows_more_than_it_has_is_malformed() {
    let read = |len, data: &[u8]| {
        let frame = wire::DroppedFrame { len, data: data.to_vec(), ..Default::default() };
        capture::captured(wire::CaptureResponse { frames: vec![frame], missed: 0 })
    };
    read(3, &[1, 2, 3]).unwrap();
    read(2, &[1, 2, 3]).unwrap_err();
}

//! Answers arrive as they were.

use sluice_policy::explain::{Explanation, Side, Verdict};

use crate::convert::answers;

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
        egress: by_none,
        ingress: by_rule,
    };
    let wire = answers::answer_to_wire(Ok(explanation.clone()));
    assert_eq!(answers::answer(wire), Ok(Ok(explanation)));
}

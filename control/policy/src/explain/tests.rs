//! Sentences and their JSON.

use super::*;
use crate::compile::{CompileOptions, compile};
use crate::model::{
    LabelSelector, NetworkPolicy, Node, Peer, Pod, PolicyPort, PolicyType, Port, Rule, RuleSet,
};

/// shop/web, shop/db (IPv4 and IPv6), shop/batch, shop/six (IPv6 only), shop/new (no address), and
/// node n1, which runs shop/web. shop/db is isolated, and admits TCP 5432 from shop/web.
fn table() -> Table {
    let mut rules = RuleSet::default();
    for (name, addresses) in [
        ("web", &["10.0.0.1", "fd00::1"][..]),
        ("db", &["fd00::2", "10.0.0.2"]),
        ("batch", &["10.0.0.3"]),
        ("six", &["fd00::4"]),
        ("new", &[]),
    ] {
        let mut pod = Pod::new("shop", name).with_label("app", name);
        pod.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        pod.node = (name == "web").then(|| "n1".to_owned());
        rules.insert(pod).unwrap();
    }
    let node = Node { name: "n1".to_owned(), ..Node::default() };
    rules.insert(Node { addresses: vec!["192.0.2.1".parse().unwrap()], ..node }).unwrap();
    let peer = Peer::Selectors { pods: Some(LabelSelector::label("app", "web")), namespaces: None };
    let port = PolicyPort { protocol: Protocol::Tcp, port: Port::Number(5432) };
    let rule = Rule { peers: vec![peer].into(), ports: vec![port].into() };
    let db = LabelSelector::label("app", "db");
    let types = [PolicyType::Ingress];
    for (name, list) in [("db", vec![rule]), ("deny-all", vec![])] {
        let policy = NetworkPolicy::new("shop", name, db.clone(), &types, Some(list), None);
        rules.insert(policy).unwrap();
    }
    compile(&rules, &CompileOptions::default()).unwrap()
}

fn ask(from: &str, to: &str, port: u16) -> Result<Explanation, ExplainError> {
    let question = Question { from: from.parse()?, to: to.parse()?, protocol: Protocol::Tcp, port };
    explain(&table(), &question)
}

#[test]
fn the_json_is_exact() {
    let explanation = ask("shop/web", "shop/db", 5432).unwrap();
    assert_eq!(
        serde_json::to_value(&explanation).unwrap(),
        serde_json::json!({
            "from": "shop/web", "to": "shop/db", "port": 5432, "protocol": "TCP",
            "verdict": "allow",
            "egress": {"verdict": "allow", "reason": "no policy selects shop/web for egress",
                "tier": null, "kind": null, "policy": null, "rule": null, "rule_name": null},
            "ingress": {"verdict": "allow", "reason": "rule 0 of NetworkPolicy shop/db admits it",
                "tier": "NetworkPolicy", "kind": "NetworkPolicy", "policy": "shop/db", "rule": 0,
                "rule_name": null},
        })
    );
}

#[test]
fn each_reason_has_its_sentence() {
    for (from, to, egress, ingress) in [
        (
            "shop/batch",
            "shop/db",
            "no policy selects shop/batch for egress",
            "no rule of shop/db or shop/deny-all admits TCP 80 from shop/batch",
        ),
        ("shop/web", "10.0.0.1", "shop/web talks to itself", "shop/web talks to itself"),
        (
            "192.0.2.1",
            "shop/web",
            "a pod and the node that it runs on always reach each other",
            "a pod and the node that it runs on always reach each other",
        ),
        (
            "192.0.2.1",
            "203.0.113.9",
            "node n1 is a node; policies select only pods",
            "203.0.113.9 is outside the cluster; policies select only pods",
        ),
        (
            "192.0.2.1",
            "shop/db",
            "node n1 is a node; policies select only pods",
            "no rule of shop/db or shop/deny-all admits TCP 80 from node n1",
        ),
    ] {
        let found = ask(from, to, 80).unwrap();
        assert_eq!(
            (found.egress.reason.as_str(), found.ingress.reason.as_str()),
            (egress, ingress)
        );
    }
    let text = ask("shop/batch", "shop/db", 80).unwrap().to_string();
    assert!(
        text.starts_with(
            "drop: TCP 80 from shop/batch to shop/db\n  egress of shop/batch: allow: "
        )
    );
}

#[test]
fn a_common_ip_version_is_chosen() {
    assert!(ask("shop/six", "shop/db", 80).is_ok());
    assert!(ask("::ffff:10.0.0.3", "shop/db", 80).is_ok());
    assert!(matches!(ask("shop/batch", "shop/six", 80), Err(ExplainError::NoCommonFamily { .. })));
}

#[test]
fn questions_without_an_answer_say_why() {
    for (who, expected) in [
        ("shop/nobody", "no pod shop/nobody in the rule set"),
        ("shop/new", "pod shop/new has no address yet"),
        ("10.0.0.0/8", "\"10.0.0.0/8\" is an address block"),
        ("web", "\"web\" is neither an IP address nor namespace/pod"),
        ("a/b/c", "\"a/b/c\" is neither"),
    ] {
        let error = ask(who, "shop/db", 80).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

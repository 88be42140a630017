//! The commands on manifests, as programs and people call them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is how a failure is reported"
)]

mod common;

use common::{Run, Scene, sluicectl};
use serde_json::{Value, json};
use sluice_core::drop::DropReason;

/// A shop whose database is closed to all but the web server.
const SHOP: &str = r"apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
status: {podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: bank}
status: {podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
";

const FAULTY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n\
                      spec:\n  ingress:\n  - from:\n    - ipBlock:\n        \
                      cidr: 10.0.0.0/16\n        except:\n        \
                      - 10.1.0.0/24\n    ports:\n    - port: 70000\n";

const TYPO: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  lables: {app: web}\n";

fn explain(scene: &Scene, from: &str, to: &str, port: &str, format: &str) -> Run {
    scene.run(&["explain", "--from", from, "--to", to, "--port", port, "-o", format])
}

#[test]
fn reach_has_the_exact_shape_and_order() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let run = scene.run(&["reach", "--port", "80/TCP", "--port", "5432/TCP", "-o", "json"]);
    assert_eq!(run.status, 0);
    assert_eq!(
        run.stdout,
        concat!(
            r#"{"pods":["bank/web","shop/db","shop/web"],"ports":["#,
            r#"{"port":80,"protocol":"TCP","egress":["...","...","..."],"#,
            r#""ingress":[".X.","...",".X."],"verdict":[".X.","...",".X."]},"#,
            r#"{"port":5432,"protocol":"TCP","egress":["...","...","..."],"#,
            r#""ingress":[".X.","...","..."],"verdict":[".X.","...","..."]}]}"#,
            "\n"
        )
    );
}

#[test]
fn reach_asks_for_port_80_unless_told() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let reach = scene.run(&["reach", "--family", "6", "-o", "json"]).json();
    assert_eq!(reach["ports"][0]["port"], 80);
    assert_eq!(reach["ports"][0]["verdict"], json!([".X.", "XXX", ".X."]));
}

#[test]
fn reach_for_people_numbers_rows_and_columns() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let run = scene.run(&["reach"]);
    assert_eq!(
        run.stdout,
        "TCP 80: 7 of 9 pairs allowed   . allow  X drop   row: from  column: to\n\
         \x20           012\n\
         0 bank/web  .X.\n\
         1 shop/db   ...\n\
         2 shop/web  .X.\n"
    );
}

#[test]
fn explain_has_the_exact_shape() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let run = explain(&scene, "shop/web", "shop/db", "5432/TCP", "json");
    assert_eq!(run.status, 0);
    assert_eq!(
        run.stdout,
        concat!(
            r#"{"from":"shop/web","to":"shop/db","port":5432,"protocol":"TCP","verdict":"allow","#,
            r#""egress":{"verdict":"allow","reason":"no policy selects shop/web for egress","#,
            r#""tier":null,"kind":null,"policy":null,"rule":null,"rule_name":null},"#,
            r#""ingress":{"verdict":"allow","reason":"rule 0 of NetworkPolicy shop/db admits it","tier":"NetworkPolicy","#,
            r#""kind":"NetworkPolicy","policy":"shop/db","rule":0,"rule_name":null}}"#,
            "\n"
        )
    );
}

#[test]
fn explain_of_a_dropped_connection_says_why_and_is_no_failure() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let run = explain(&scene, "10.0.0.3", "shop/db", "5432/TCP", "table");
    assert_eq!(run.status, 0);
    assert_eq!(
        run.stdout,
        "drop: TCP 5432 from 10.0.0.3 to shop/db\n  \
         egress of 10.0.0.3: allow: no policy selects bank/web for egress\n  \
         ingress of shop/db: drop: no rule of shop/db admits TCP 5432 from bank/web\n"
    );
    assert_eq!(run.stderr, "");
}

#[test]
fn explain_of_an_unknown_pod_is_refused() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let run = explain(&scene, "shop/nobody", "shop/db", "5432/TCP", "json");
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("no pod shop/nobody in the rule set"), "{}", run.stderr);
}

#[test]
fn the_node_decides_about_pods_that_name_none() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n\
                status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n";
    let scene = Scene::new(&[("shop.yaml", SHOP), ("node.yaml", node)]);
    let question =
        ["explain", "--from", "192.0.2.1", "--to", "shop/db", "--port", "80", "-o", "json"];
    assert_eq!(scene.run(&question).json()["verdict"], "drop");
    let run = scene.run(&[&question[..], &["--node", "n1"]].concat());
    assert_eq!(run.json()["verdict"], "allow");
}

#[test]
fn a_batch_is_answered_line_by_line_in_order() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let questions = "\
        {\"from\":\"bank/web\",\"to\":\"shop/db\",\"port\":5432,\"protocol\":\"TCP\"}\n\n\
        {\"from\":\"shop/web\",\"to\":\"shop/db\",\"port\":\"5432/TCP\"}";
    for arguments in [["explain", "--batch", "-"], ["explain", "--batch", "questions"]] {
        std::fs::write(scene.path().join("questions"), questions).unwrap();
        let run = scene.run_with(&arguments, questions);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""));
        let answers = run.json_lines();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0]["verdict"], "drop");
        assert_eq!(answers[0]["from"], "bank/web");
        assert_eq!(answers[1]["verdict"], "allow");
    }
}

#[test]
fn a_question_that_means_nothing_has_an_error_line_and_the_others_their_answers() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let long = format!("{{\"from\":\"{}\"}}", "x".repeat(70_000));
    let questions = format!(
        "{long}\nnonsense\n{{\"from\":\"a/\u{1b}b\",\"to\":\"shop/db\",\"port\":\"1/TCP\"}}\n\
         {{\"from\":\"shop/web\",\"to\":\"shop/db\",\"port\":\"5432/TCP\"}}\n"
    );
    let questions = questions.replace('\u{1b}', "\\u001b");
    let run = scene.run_with(&["explain", "--batch", "-"], &questions);
    assert_eq!(run.status, 1);
    assert_eq!(run.stderr, "3 of 4 questions could not be answered\n");
    assert!(!run.stdout.contains('\u{1b}'));
    let answers = run.json_lines();
    let keys = |answer: &Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(answers[..3].iter().all(|answer| keys(answer) == ["error"]), "{answers:?}");
    assert!(answers[2]["error"].as_str().unwrap().starts_with("no pod a/\u{1b}b"));
    assert_eq!(answers[3]["verdict"], "allow");
}

#[test]
fn check_of_a_sound_rule_set_is_a_summary() {
    let scene = Scene::new(&[("a/shop.yaml", SHOP)]);
    let run = scene.run(&["check"]);
    assert_eq!(run.status, 0);
    assert_eq!(run.stdout, "ok: 1 namespace, 3 pods, 0 nodes, 1 network policy\n");
    let report = scene.run(&["check", "-o", "json"]).json();
    let objects = json!({
        "namespaces": 1, "pods": 3, "nodes": 0, "network_policies": 1,
        "cluster_network_policies": 0, "access_lists": 0,
    });
    assert_eq!(report, json!({"ok": true, "objects": objects, "faults": [], "warnings": []}));
}

#[test]
fn check_says_all_faults_with_file_and_line() {
    let scene = Scene::new(&[("a.yaml", FAULTY), ("b.json", "{\"kind\":")]);
    for format in ["table", "json"] {
        let run = scene.run(&["check", "-o", format]);
        assert_eq!(run.status, 1);
        let stderr = scene.relative(&run.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert!(
            lines[0].starts_with(
                "a.yaml:13: NetworkPolicy default/p: spec.ingress[0].ports[0].port: 70000"
            ),
            "{stderr}"
        );
        assert!(lines[1].starts_with("b.json:"), "{stderr}");
        assert_eq!(run.stdout.is_empty(), format == "table");
    }
    let report = scene.run(&["check", "-o", "json"]).json();
    assert_eq!(report["ok"], false);
    let fault = &report["faults"][0];
    assert_eq!(fault["line"], 13);
    assert_eq!(fault["object"], "NetworkPolicy default/p");
    assert_eq!(fault["field"], "spec.ingress[0].ports[0].port");
    assert!(fault["file"].as_str().unwrap().ends_with("a.yaml"));
    assert!(fault["problem"].as_str().unwrap().starts_with("70000"));
    assert_eq!(report["faults"][1]["object"], Value::Null);
}

#[test]
fn unknown_fields_are_warned_of_or_refused_if_strict() {
    let scene = Scene::new(&[("a.yaml", TYPO)]);
    let run = scene.run(&["check"]);
    assert_eq!(run.status, 0);
    let stderr = scene.relative(&run.stderr);
    assert!(
        stderr.starts_with("warning: a.yaml:5: Pod default/web: metadata.lables: "),
        "{stderr}"
    );
    assert_eq!(run.stdout, "ok: 0 namespaces, 1 pod, 0 nodes, 0 network policies; 1 warning\n");
    let json = scene.run(&["check", "-o", "json"]);
    assert_eq!(json.json()["warnings"][0]["field"], "metadata.lables");
    assert_eq!(json.stderr, "");

    let strict = scene.run(&["check", "--strict"]);
    assert_eq!(strict.status, 1);
    let stderr = scene.relative(&strict.stderr);
    assert!(stderr.starts_with("a.yaml:5: Pod default/web: metadata.lables: "), "{stderr}");
}

#[test]
fn questions_to_faulty_manifests_are_refused_with_the_faults() {
    let scene = Scene::new(&[("a.yaml", FAULTY)]);
    for arguments in [
        &["reach", "-o", "json"][..],
        &["explain", "--from", "a/b", "--to", "c/d", "--port", "80", "-o", "json"],
        &["explain", "--batch", "/dev/null"],
    ] {
        let run = scene.run(arguments);
        assert_eq!((run.status, run.stdout.as_str()), (1, ""));
        assert!(scene.relative(&run.stderr).starts_with("a.yaml:13: "), "{}", run.stderr);
    }
}

#[test]
fn names_with_control_characters_are_escaped() {
    let hostile = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"x\\e[2J\\nok: fine\"\n  \
                   labels: {\"a\\x9bb\": \"v\"}\n";
    let scene = Scene::new(&[("a.yaml", hostile)]);
    for arguments in [&["check"][..], &["check", "-o", "json"], &["reach"]] {
        let run = scene.run(arguments);
        assert_eq!(run.status, 1);
        for text in [&run.stdout, &run.stderr] {
            let deceptive = |it: char| it.is_control() && it != '\n';
            assert!(!text.contains(deceptive), "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("ok")), "{text:?}");
        }
        assert!(run.stderr.contains("x\\u{1b}[2J\\u{a}ok: fine"), "{}", run.stderr);
    }
}

#[test]
fn a_command_line_that_means_nothing_has_status_2() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    for arguments in [
        &["check"][..],
        &["frobnicate"],
        &["reach", "--port", "http/TCP"],
        &["reach", "--port", "0/TCP"],
        &["reach", "--family", "5"],
        &["reach", "--node", "n1"],
        &["explain", "--from", "a/b", "--to", "c/d"],
        &["explain", "--from", "a", "--to", "c/d", "--port", "80"],
        &["explain", "--from", "10.0.0.0/8", "--to", "c/d", "--port", "80"],
        &["explain", "--batch", "-", "--port", "80"],
    ] {
        let run = sluicectl(arguments, "");
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{arguments:?}");
    }
    let hostile = sluicectl(&["explain", "--from", "a\u{1b}[2J"], "");
    assert!(!hostile.stderr.contains('\u{1b}'), "{:?}", hostile.stderr);
    assert_eq!(scene.run(&["reach"]).status, 0);
}

#[test]
fn help_has_examples() {
    for command in ["check", "apply", "reach", "explain", "status", "ports", "counters", "capture"]
    {
        let run = sluicectl(&[command, "--help"], "");
        assert_eq!(run.status, 0);
        assert!(run.stdout.contains(&format!("Examples:\n  sluicectl {command}")), "{command}");
    }
}

#[test]
fn every_drop_reason_is_explained_without_a_daemon() {
    let run = sluicectl(&["counters", "--reasons"], "");
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let reasons = sluicectl(&["counters", "--reasons", "-o", "json"], "").json();
    let listed = reasons["reasons"].as_array().unwrap();
    assert_eq!(listed.len(), DropReason::COUNT);
    for (reason, line) in listed.iter().zip(run.stdout.lines().skip(1)) {
        let text = |field: &str| reason[field].as_str().unwrap();
        assert!(line.starts_with(&format!("{} ", text("reason"))), "{line}");
        assert!(line.ends_with(&format!("  {}", text("description"))), "{line}");
    }
    assert_eq!(sluicectl(&["counters", "--reasons", "--all"], "").status, 2);
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let scene = Scene::new(&[("shop.yaml", SHOP)]);
    let ports: Vec<String> = (1..=2_000).map(|port| format!("--port={port}/TCP")).collect();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("sluicectl"))
        .args(["reach", "-f"])
        .arg(scene.path())
        .args(ports)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

/// The shop with its database open to the bank too.
fn opened() -> String {
    SHOP.replace(
        "- from: [{podSelector: {matchLabels: {app: web}}}]",
        "- from: [{podSelector: {matchLabels: {app: web}}}, {namespaceSelector: {}}]",
    )
}

#[test]
fn diff_of_manifests_shows_what_changes() {
    let scene = Scene::new(&[("new/shop.yaml", &opened()), ("old/shop.yaml", SHOP)]);
    let path = |name: &str| scene.path().join(name).to_str().unwrap().to_owned();
    let (new, old) = (path("new"), path("old"));
    let run = sluicectl(&["diff", "-f", &new, "--against", &old], "");
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "no bar where there is no terminal");
    assert_eq!(
        run.stdout,
        "FROM      TO       PROTOCOL  PORTS  NOW   THEN   FAMILY\n\
         bank/web  shop/db  TCP        5432  drop  allow  IPv4\n\
         1 verdict changes\n"
    );
    let back = sluicectl(&["diff", "-f", &old, "--against", &new, "-o", "json"], "").json();
    assert_eq!(
        back,
        json!({
            "verdicts": [{
                "from": "bank/web", "to": "shop/db", "protocol": "TCP", "ports": [5432, 5432],
                "before": "allow", "after": "drop", "family": "IPv4",
            }],
            "verdicts_total": 1, "pods_added": [], "pods_removed": [], "access_lists": [],
        })
    );
    let same = sluicectl(&["diff", "-f", &old, "--against", &old], "");
    assert_eq!(same.stdout, "no verdict changes\n");
}

/// Nobody reaches the database's port from the web server's network, but for one address.
const LIST: &str = r"apiVersion: policy.sluice.dev/v1alpha1
kind: AccessList
metadata: {name: edge}
spec:
  rules:
  - {priority: 10, action: Allow, source: 10.0.0.9/32}
  - {priority: 20, action: Deny, source: 10.0.0.0/28, protocol: TCP, destinationPorts: {first: 5432}}
";

#[test]
fn an_access_list_is_counted_named_and_told_apart_from_policies() {
    let files = [("shop.yaml", SHOP), ("list.yaml", LIST)];
    let scene = Scene::new(&files);
    let summary = scene.run(&["check", "-o", "json"]).json();
    assert_eq!(summary["objects"]["access_lists"], 1, "{summary}");
    let run = explain(&scene, "shop/web", "shop/db", "5432/TCP", "table");
    assert_eq!(
        run.stdout,
        "drop: TCP 5432 from shop/web to shop/db\n  \
         the rule of priority 20 in access list edge denies it\n  \
         egress of shop/web: allow: no policy selects shop/web for egress\n  \
         ingress of shop/db: allow: rule 0 of NetworkPolicy shop/db admits it\n"
    );
    let answer = explain(&scene, "shop/web", "shop/db", "5432/TCP", "json").json();
    assert_eq!(answer["access_list"], json!({"name": "edge", "priority": 20}));

    let scene = Scene::new(&[("new/a.yaml", SHOP), ("new/b.yaml", LIST), ("old/a.yaml", SHOP)]);
    let path = |name: &str| scene.path().join(name).to_str().unwrap().to_owned();
    let (new, old) = (path("new"), path("old"));
    let run = sluicectl(&["diff", "-f", &new, "--against", &old], "");
    assert_eq!(
        run.stdout,
        "1 access list differs: edge\n\
         what lists deny is not among the verdicts; ask explain -f for one connection\n\
         no verdict of the policies changes\n"
    );
}

#[test]
fn diff_of_faulty_manifests_says_what_is_wrong() {
    let scene = Scene::new(&[("faulty.yaml", FAULTY), ("shop.yaml", SHOP)]);
    let path = |name: &str| scene.path().join(name).to_str().unwrap().to_owned();
    let (faulty, shop) = (path("faulty.yaml"), path("shop.yaml"));
    for (new, old) in [(&faulty, &shop), (&shop, &faulty)] {
        let run = sluicectl(&["diff", "-f", new, "--against", old], "");
        assert_eq!(run.status, 1);
        assert!(run.stderr.contains("spec.ingress[0].ports[0].port"), "{}", run.stderr);
    }
    for arguments in [&["--limit", "0"][..], &["--limit", "100001"], &["--node", "n"]] {
        let run = sluicectl(&[&["diff", "-f", &shop], arguments].concat(), "");
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn check_remarks_on_what_is_legal_but_surprising() {
    let surprising = SHOP.replace("{app: web}}}]", "{app: wbe}}}]");
    let scene = Scene::new(&[("shop.yaml", &surprising)]);
    let run = scene.run(&["check"]);
    assert_eq!((run.status, run.stdout.contains("; 1 warning")), (0, true), "{}", run.stdout);
    let line = scene.relative(&run.stderr);
    assert!(
        line.starts_with(
            "warning: shop.yaml:27: NetworkPolicy shop/db: spec.ingress[0].from[0].podSelector: "
        ),
        "{line}"
    );
    let report = scene.run(&["check", "--strict", "-o", "json"]).json();
    assert_eq!((&report["ok"], &report["warnings"][0]["line"]), (&json!(true), &json!(27)));
    assert_eq!(scene.run(&["reach"]).stderr, "", "only check gives advice");
}

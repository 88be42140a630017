//! Each file of `configs/policies` does what its comment says, on a small cluster.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::explain::{Question, Verdict, explain};
use sluice_policy::model::Protocol;
use sluice_sources::files::{LoadOptions, load};

const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web, labels: { app: web } }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: audit, name: log, labels: { app: web } }
status: { podIPs: [{ ip: 10.0.0.3 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: kube-system, name: dns, labels: { k8s-app: kube-dns } }
status: { podIPs: [{ ip: 10.0.0.4 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: kube-system, name: other }
status: { podIPs: [{ ip: 10.0.0.5 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: monitoring, name: prom }
status: { podIPs: [{ ip: 10.0.0.6 }] }
";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/policies")
}

fn table(files: &[PathBuf], cluster: &str) -> Table {
    let directory = tempfile::tempdir().unwrap();
    let cluster_file = directory.path().join("cluster.yaml");
    std::fs::write(&cluster_file, cluster).unwrap();
    let mut options = LoadOptions::default();
    options.manifest.strict = true;
    let (rules, warnings) = load(&[&[cluster_file], files].concat(), &options).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    compile(&rules, &CompileOptions::default()).unwrap()
}

/// Each line is `from to protocol/port`; what stands there is allowed, the same with `!` in
/// front is dropped.
fn assert_lets_through(files: &[&str], lines: &[&str]) {
    let paths: Vec<PathBuf> = files.iter().map(|file| directory().join(file)).collect();
    let table = table(&paths, CLUSTER);
    for line in lines {
        let (expected, question) = match line.strip_prefix('!') {
            Some(rest) => (Verdict::Drop, rest),
            None => (Verdict::Allow, *line),
        };
        let mut words = question.split_whitespace();
        let mut word = || words.next().unwrap();
        let (from, to, service) = (word(), word(), word());
        let (protocol, port) = service.split_once('/').unwrap();
        let protocol: Protocol = protocol.parse().unwrap();
        let question = Question {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            protocol,
            port: port.parse().unwrap(),
        };
        let found = explain(&table, &question).unwrap();
        assert_eq!(found.verdict, expected, "{files:?}: {line}: {found:?}");
    }
}

/// Each file of one shape, and what it lets through of itself.
const SHAPES: [(&str, &[&str]); 10] = [
    (
        "access-list.yaml",
        &[
            "!shop/web shop/db TCP/5432",
            "!shop/web 10.255.255.255 TCP/5439",
            "shop/web shop/db TCP/5440",
            "shop/web shop/db UDP/5432",
            "shop/web 192.0.2.1 TCP/5432",
        ],
    ),
    (
        "deny-everything.yaml",
        &[
            "!shop/web shop/db TCP/80",
            "!audit/log shop/web TCP/80",
            "!shop/db 192.0.2.1 UDP/53",
            "audit/log kube-system/dns UDP/53",
        ],
    ),
    (
        "allow-everything-for-one-pod.yaml",
        &["audit/log shop/web SCTP/9", "192.0.2.1 shop/web TCP/1", "shop/web 192.0.2.1 UDP/2"],
    ),
    (
        "pods-by-label.yaml",
        &[
            "shop/web shop/db TCP/3306",
            "!audit/log shop/db TCP/3306",
            "!192.0.2.1 shop/db TCP/3306",
            "shop/db audit/log TCP/80",
        ],
    ),
    ("namespaces-by-name.yaml", &["audit/log shop/db TCP/3306", "!shop/web shop/db TCP/3306"]),
    (
        "address-block-with-a-hole.yaml",
        &[
            "shop/web 192.0.2.127 TCP/443",
            "!shop/web 192.0.2.128 TCP/443",
            "!shop/web 192.0.3.0 TCP/443",
            "!shop/web shop/db TCP/443",
            "192.0.2.200 shop/web TCP/443",
        ],
    ),
    (
        "port-range.yaml",
        &[
            "!shop/web shop/db TCP/3305",
            "shop/web shop/db TCP/3306",
            "192.0.2.1 shop/db TCP/3310",
            "!shop/web shop/db TCP/3311",
            "!shop/web shop/db UDP/3306",
        ],
    ),
    (
        "dns-only.yaml",
        &[
            "shop/web kube-system/dns UDP/53",
            "shop/db kube-system/dns TCP/53",
            "!shop/web kube-system/other UDP/53",
            "!shop/web kube-system/dns UDP/54",
            "!shop/web shop/db TCP/80",
            "audit/log kube-system/other TCP/80",
        ],
    ),
    (
        "cluster-deny-by-default.yaml",
        &[
            "shop/web shop/db TCP/3306",
            "!shop/web shop/db TCP/3307",
            "!audit/log shop/db TCP/3306",
            "!shop/db shop/web TCP/80",
            "!audit/log shop/web TCP/80",
            "!kube-system/other audit/log UDP/1",
            "shop/web kube-system/dns UDP/53",
            "shop/web 192.0.2.1 TCP/443",
            "192.0.2.1 shop/web TCP/80",
            "!192.0.2.1 shop/db TCP/3306",
        ],
    ),
    (
        "cluster-admin-guard.yaml",
        &[
            "monitoring/prom shop/web TCP/9100",
            "!shop/db shop/web TCP/9100",
            "!audit/log monitoring/prom TCP/9100",
            "shop/db shop/web TCP/9101",
            "shop/db shop/web UDP/9100",
            "!shop/web 169.254.169.254 TCP/80",
            "!kube-system/dns 169.254.169.254 UDP/53",
            "shop/web 169.254.169.253 TCP/80",
        ],
    ),
];

#[test]
fn each_shape_lets_through_what_it_says() {
    let mut tested: BTreeSet<String> = BTreeSet::from(["story.yaml".to_owned()]);
    for (file, lines) in SHAPES {
        assert_lets_through(&[file], lines);
        tested.insert(file.to_owned());
    }
    let shipped: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(shipped, tested, "every file has its lines here");
}

#[test]
fn a_namespace_cannot_undo_the_admin_tier() {
    let guard = "cluster-admin-guard.yaml";
    assert_lets_through(
        &[guard, "allow-everything-for-one-pod.yaml"],
        &[
            "!audit/log shop/web TCP/9100",
            "!shop/web 169.254.169.254 TCP/80",
            "audit/log shop/web TCP/80",
        ],
    );
    assert_lets_through(
        &[guard, "deny-everything.yaml"],
        &["monitoring/prom shop/web TCP/9100", "!monitoring/prom shop/web TCP/80"],
    );
}

#[test]
fn a_namespace_can_open_what_the_baseline_tier_denies() {
    assert_lets_through(
        &["cluster-deny-by-default.yaml", "allow-everything-for-one-pod.yaml"],
        &["audit/log shop/web SCTP/9", "!audit/log shop/db TCP/80", "!shop/web audit/log TCP/80"],
    );
}

#[test]
fn the_story_lets_through_what_it_says() {
    let configs = directory().join("..");
    let cluster = std::fs::read_to_string(configs.join("demo/cluster.yaml")).unwrap();
    let table = table(&[configs.join("policies/story.yaml")], &cluster);
    let verdict = |from: &str, to: &str, port: u16| {
        let question = Question {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            protocol: Protocol::Tcp,
            port,
        };
        explain(&table, &question).unwrap().verdict == Verdict::Allow
    };
    assert!(verdict("analysis/desk", "vault/rest", 443));
    assert!(!verdict("analysis/desk", "vault/rest", 80));
    assert!(!verdict("analysis/desk", "vault/db", 3306));
    assert!(verdict("vault/rest", "vault/db", 3306));
    for target in ["vault/rest", "vault/db"] {
        assert!(!verdict("hq/planner", target, 443) && !verdict("hq/planner", target, 3306));
    }
    assert!(verdict("shop/web", "192.0.2.77", 443) && !verdict("shop/web", "198.51.100.1", 443));
}

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
";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/policies")
}

fn table(file: &Path, cluster: &str) -> Table {
    let directory = tempfile::tempdir().unwrap();
    let cluster_file = directory.path().join("cluster.yaml");
    std::fs::write(&cluster_file, cluster).unwrap();
    let mut options = LoadOptions::default();
    options.manifest.strict = true;
    let (rules, warnings) = load(&[cluster_file, file.to_owned()], &options).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    compile(&rules, &CompileOptions::default()).unwrap()
}

/// Each line is `from to protocol/port`; what stands there is allowed, the same with `!` in
/// front is dropped.
fn assert_lets_through(file: &str, lines: &[&str]) {
    let table = table(&directory().join(file), CLUSTER);
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
        assert_eq!(found.verdict, expected, "{file}: {line}: {found:?}");
    }
}

#[test]
fn each_shape_lets_through_what_it_says() {
    let shapes: [(&str, &[&str]); 7] = [
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
    ];
    let mut tested: BTreeSet<String> = BTreeSet::from(["story.yaml".to_owned()]);
    for (file, lines) in shapes {
        assert_lets_through(file, lines);
        tested.insert(file.to_owned());
    }
    let shipped: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(shipped, tested, "every file has its lines here");
}

#[test]
fn the_story_lets_through_what_it_says() {
    let configs = directory().join("..");
    let cluster = std::fs::read_to_string(configs.join("demo/cluster.yaml")).unwrap();
    let table = table(&configs.join("policies/story.yaml"), &cluster);
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

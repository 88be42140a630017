//! The commands against a daemon: the real API in this process, with a fake behind it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is how a failure is reported"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::fake::{Fake, HOSTILE};
use common::{Run, Scene, sluicectl};
use serde_json::json;
use sluice_api::server::{Api, Listen, TlsFiles, bind};

/// Two pods, one of which takes nothing in.
const RULES: &str = r"apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
status: {podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
status: {podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
";

/// A daemon, and manifests for it.
struct Daemon {
    scene: Scene,
    socket: PathBuf,
    address: Option<std::net::SocketAddr>,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start() -> Self {
        Self::listen(|directory| Listen::Unix(directory.join("control.sock")))
    }

    fn listen(listen: impl Fn(&Path) -> Listen) -> Self {
        let scene = Scene::new(&[("rules.yaml", RULES)]);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(bind(&listen(scene.path()))).unwrap();
        let address = bound.address();
        runtime.spawn(async move {
            let api = Api::new(Arc::new(Fake::default())).await;
            api.serve(bound, std::future::pending()).await.unwrap();
        });
        Self { socket: scene.path().join("control.sock"), scene, address, _runtime: runtime }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Run {
        let socket = ["--socket", self.socket.to_str().unwrap()];
        sluicectl(&[arguments, &socket].concat(), stdin)
    }

    fn apply(&self, arguments: &[&str]) -> Run {
        let rules = self.scene.path().join("rules.yaml");
        self.run(&[&["apply", "-f", rules.to_str().unwrap()], arguments].concat())
    }
}

#[test]
fn apply_prints_the_revision() {
    let daemon = Daemon::start();
    let run = daemon.apply(&["--version", "v1"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    assert_eq!(run.stdout, "ok: revision 1 (v1) in force: 3 objects, in 1.5ms\n");
    assert_eq!(
        daemon.apply(&["-o", "json", "--base", "1"]).json(),
        json!({"ok": true, "revision": 2, "version": "", "objects": 3, "applied_in_ns": 1_500_000})
    );
}

#[test]
fn apply_says_why_the_daemon_refuses() {
    let daemon = Daemon::start();
    let run = daemon.apply(&["--base", "7", "-o", "json"]);
    assert_eq!(run.status, 1);
    assert!(run.stderr.starts_with("request: baseRevision: it builds on revision 7, but 0 is in"));
    assert_eq!(run.stderr.lines().count(), 1);
    let report = run.json();
    assert_eq!((&report["ok"], &report["running_revision"]), (&json!(false), &json!(0)));
    assert_eq!(report["faults"][0]["field"], "baseRevision");

    assert_eq!(daemon.apply(&[]).status, 0);
    let empty = Scene::new(&[("empty.yaml", "")]);
    let path = empty.path().to_str().unwrap();
    let shrunk = daemon.run(&["apply", "-f", path]);
    assert_eq!((shrunk.status, shrunk.stdout.as_str()), (1, ""));
    assert!(shrunk.stderr.starts_with("request: allowShrink: the rule set would shrink from 3"));
    assert_eq!(daemon.run(&["apply", "-f", path, "--allow-shrink"]).status, 0);
}

#[test]
fn apply_of_faulty_manifests_does_not_reach_the_daemon() {
    let daemon = Daemon::start();
    let typo =
        Scene::new(&[("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspecs: {}\n")]);
    let path = typo.path().to_str().unwrap();
    let run = daemon.run(&["apply", "--strict", "-o", "json", "-f", path]);
    assert_eq!(run.status, 1);
    assert!(typo.relative(&run.stderr).starts_with("a.yaml:4: Pod default/web: specs: "));
    assert_eq!(run.json()["running_revision"], json!(null));
    assert_eq!(daemon.run(&["status", "-o", "json"]).json()["revision"], 0);
    assert_eq!(daemon.run(&["apply", "-f", path]).status, 0);
}

#[test]
fn questions_are_answered_from_the_table_in_force() {
    let daemon = Daemon::start();
    daemon.apply(&[]);
    let reach = daemon.run(&["reach", "-o", "json"]);
    assert_eq!(
        reach.stdout,
        concat!(
            r#"{"pods":["shop/db","shop/web"],"ports":[{"port":80,"protocol":"TCP","#,
            r#""egress":["..",".."],"ingress":["..","X."],"verdict":["..","X."]}]}"#,
            "\n"
        )
    );
    let question =
        ["explain", "--from", "shop/web", "--to", "shop/db", "--port", "443/TCP", "-o", "json"];
    let run = daemon.run(&question);
    assert_eq!(run.status, 0);
    let rules = daemon.scene.path().join("rules.yaml");
    let offline = sluicectl(&[&question[..], &["-f", rules.to_str().unwrap()]].concat(), "");
    assert_eq!(run.stdout, offline.stdout);

    let questions = "{\"from\":\"shop/db\",\"to\":\"shop/web\",\"port\":1,\"protocol\":\"UDP\"}\n\
                     {\"from\":\"shop/x\",\"to\":\"shop/web\",\"port\":1,\"protocol\":\"UDP\"}\n";
    let batch = daemon.run_with(&["explain", "--batch", "-"], questions);
    assert_eq!(batch.status, 1);
    let answers = batch.json_lines();
    assert_eq!(answers[0]["verdict"], "allow");
    assert!(answers[1]["error"].as_str().unwrap().starts_with("no pod shop/x"));
}

#[test]
fn status_for_people_and_programs() {
    let daemon = Daemon::start();
    let run = daemon.run(&["status"]);
    assert!(run.stdout.starts_with("revision:  none; no rule set has been taken yet\n"));
    daemon.apply(&["--version", "v1"]);
    assert_eq!(daemon.apply(&["--version", "v2", "--base", "9"]).status, 1);
    let run = daemon.run(&["status"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    assert_eq!(
        run.stdout,
        "revision:  1 (v1)\n\
         source:    api\n\
         rule set:  0 namespaces, 2 pods, 0 nodes, 1 network policy\n\
         uptime:    2 h 1 min\n\
         health:    ok\n\
         last push: v2 was refused 1 min 1 s ago\n  \
         request: baseRevision: it builds on revision 9, but 1 is in force; read what changed, \
         then commit on 1\n\
         \n\
         WORKER  CORE  REVISION  CONNECTIONS  EVICTED\n     \
         0     2         1           12        3\n     \
         1     3         1           12        3\n"
    );
    let status = daemon.run(&["status", "-o", "json"]).json();
    assert_eq!(status["objects"]["network_policies"], 1);
    assert_eq!(status["workers"][1]["core"], 3);
}

#[test]
fn names_from_the_daemon_are_escaped() {
    let daemon = Daemon::start();
    daemon.apply(&["--version", HOSTILE]);
    for arguments in [&["status"][..], &["status", "-o", "json"]] {
        let run = daemon.run(arguments);
        assert_eq!(run.status, 0);
        assert!(!run.stdout.contains(|it: char| it.is_control() && it != '\n'), "{run:?}");
        let healthy = run.stdout.lines().filter(|line| line.starts_with("health")).count();
        assert!(healthy <= 1, "{run:?}");
    }
}

#[test]
fn ports_come_and_go() {
    let daemon = Daemon::start();
    assert_eq!(daemon.run(&["ports"]).stdout, "no ports\n");
    let add = [
        &["ports", "add", "--interface", "veth7", "--kind", "pod", "--pod", "shop/web"][..],
        &["--mac", "02:00:00:00:00:07", "--fallback", "pass"],
    ];
    let run = daemon.run(&add.concat());
    assert_eq!((run.status, run.stdout.as_str()), (0, "added port veth7\n"), "{run:?}");
    let eth1 = daemon.run(&[
        "ports",
        "add",
        "--interface=eth1",
        "--kind=uplink",
        "--vlan=7",
        "--node-address=192.0.2.1",
        "--mode=copy",
        "--workers=1,0",
        "-o",
        "json",
    ]);
    assert_eq!(eth1.json(), json!({"added": "eth1"}));
    assert_eq!(
        daemon.run(&["ports", "list"]).stdout,
        "NAME   KIND    POD       MAC                NETWORKS      MTU  \
         DRIVER  GATE    ZERO-COPY  FALLBACK\n\
         veth7  pod     shop/web  02:00:00:00:00:07  0 untagged   1500  \
         veth    native  1 of 2     pass\n\
         eth1   uplink  -         -                  0 on VLAN 7  1500  \
         veth    native  1 of 2     drop\n\
         veth7 copies the frames of queue 0: the driver offers no zero-copy\n\
         eth1 copies the frames of queue 0: the driver offers no zero-copy\n"
    );
    assert_eq!(
        daemon.run(&["ports", "--queues"]).stdout.lines().take(3).collect::<Vec<_>>(),
        [
            "PORT   QUEUE  WORKER  ZERO-COPY  RX-RING-FULL  FILL-RING-EMPTY  RX-DROPPED  \
             RX-INVALID  TX-INVALID  FOREIGN",
            "veth7      0       0  no                    7                0           0  \
             \x20        0           0        5",
            "veth7      1       1  yes                   7                0           0  \
             \x20        0           0        5",
        ]
    );
    let list = daemon.run(&["ports", "-o", "json"]).json();
    assert_eq!(list["ports"][0]["interface"], "veth7");
    assert_eq!(list["ports"][0]["kind"], "pod");
    assert_eq!(list["ports"][1]["networks"], json!([{"id": 0, "vlan": 7}]));
    assert_eq!(list["ports"][1]["mode"], "copy");
    assert_eq!(list["ports"][1]["workers"], json!([1, 0]));
    assert_eq!(list["ports"][1]["queues"][0]["statistics"]["rx_ring_full"], 7);
    assert_eq!(list["ports"][1]["queues"][0]["statistics"]["foreign_descriptors"], 5);
    assert_eq!(daemon.run(&["ports", "remove", "veth7"]).stdout, "removed port veth7\n");

    let unknown = daemon.run(&["ports", "remove", "veth7"]);
    assert_eq!((unknown.status, unknown.stderr.as_str()), (1, "there is no port veth7\n"));
    let refused = daemon.run(&["ports", "add", "--interface", "lo", "--kind", "host"]);
    assert_eq!(refused.status, 1);
    assert_eq!(refused.stderr, "lo is a loopback; want a NIC or a veth\n");
}

#[test]
fn ports_that_mean_nothing_have_status_2() {
    let add = ["ports", "add", "--interface", "eth1", "--kind"];
    for arguments in [
        &["pod", "--mac", "02:00:00:00:00:07"][..],
        &["pod", "--pod", "shop/web"],
        &["pod", "--pod", "web", "--mac", "02:00:00:00:00:07"],
        &["uplink", "--pod", "shop/web"],
        &["host", "--mac", "02:00:00:00:00:07"],
        &["host", "--node-address", "192.0.2.1"],
        &["uplink", "--vlan", "4095"],
        &["uplink", "--fallback", "open"],
        &["uplink", "--tls-address", "127.0.0.1:1"],
        &["uplink", "--tls-ca", "ca.pem"],
    ] {
        let run = sluicectl(&[&add[..], arguments].concat(), "");
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{arguments:?}: {run:?}");
    }
}

#[test]
fn counters_say_what_was_dropped_and_why() {
    let daemon = Daemon::start();
    let run = daemon.run(&["counters"]);
    assert_eq!(
        run.stdout,
        "PORT       RX FRAMES  RX BYTES  TX FRAMES  TX BYTES  FLOOD COPIES  DROPPED\n\
         eth1              10      1000          7       700             0        3\n\
         all ports         10      1000          7       700             0        3\n\
         \n\
         GATE OF  STEERED  TO THE NODE  FALLBACK DROPPED  FALLBACK PASSED\n\
         eth1          10            4                 0                0\n\
         \n\
         PORT  DROPPED FOR     FRAMES\n\
         eth1  ingress_denied       3\n\
         \n\
         DROPPED FOR     FRAMES  MEANING\n\
         ingress_denied       3  \
         No rule of the policies that select the destination pod admits it.\n"
    );
    let by_worker = daemon.run(&["counters", "--workers"]).stdout;
    let rows = "PORT  WORKER  DROPPED FOR     FRAMES\n\
                eth1       1  ingress_denied       1\n\
                eth1       2  ingress_denied       2\n\n";
    assert!(by_worker.contains(rows), "{by_worker}");
    let all = daemon.run(&["counters", "--all"]).stdout;
    assert!(all.lines().any(|line| line.starts_with("egress_denied ")), "{all}");
    let drops = |arguments: &[&str]| {
        let json = daemon.run(&[arguments, &["-o", "json"]].concat()).json();
        json["total"]["drops"].as_array().unwrap().len()
    };
    assert_eq!(drops(&["counters"]), 1);
    assert_eq!(drops(&["counters", "--all"]), sluice_core::drop::DropReason::COUNT);
}

#[test]
fn no_daemon_is_said_in_words() {
    let scene = Scene::new(&[]);
    let socket = scene.path().join("nobody.sock");
    for arguments in [&["status"][..], &["reach", "-o", "json"], &["explain", "--batch", "-"]] {
        let socket = ["--socket", socket.to_str().unwrap()];
        let run = sluicectl(&[arguments, &socket].concat(), "");
        assert_eq!((run.status, run.stdout.as_str()), (1, ""));
        assert!(run.stderr.starts_with("no daemon answers on "), "{run:?}");
        assert_eq!(run.stderr.lines().count(), 1);
    }
}

#[test]
fn the_environment_names_the_socket() {
    let daemon = Daemon::start();
    let output = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("sluicectl"))
        .args(["status", "-o", "json"])
        .env("SLUICE_SOCKET", &daemon.socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}

/// Writes an authority, and a certificate and key for each name that it vouches for.
fn certificates(directory: &Path, names: &[&str]) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(directory.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([(*name).to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn tls_shows_both_sides_who_they_are() {
    let daemon = Daemon::listen(|directory| {
        certificates(directory, &["sluiced", "client"]);
        Listen::Tls(TlsFiles {
            address: "127.0.0.1:0".parse().unwrap(),
            certificate: directory.join("sluiced.pem"),
            key: directory.join("sluiced.key"),
            client_ca: directory.join("ca.pem"),
        })
    });
    let file = |name: &str| daemon.scene.path().join(name).to_str().unwrap().to_owned();
    let address = daemon.address.unwrap().to_string();
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let tls = [
        &["status", "--tls-address", &address, "--tls-ca", &ca][..],
        &["--tls-cert", &certificate, "--tls-key", &key],
    ]
    .concat();
    let run = sluicectl(&[&tls[..], &["--tls-server-name", "sluiced"]].concat(), "");
    assert_eq!(run.status, 0, "{run:?}");
    // The certificate is not for the address.
    let stranger = sluicectl(&tls, "");
    assert_eq!((stranger.status, stranger.stdout.as_str()), (1, ""));
    assert_eq!(stranger.stderr.lines().count(), 1, "{stranger:?}");
}

#[test]
fn doctor_looks_at_the_ports_of_the_daemon() {
    let daemon = Daemon::start();
    let port = ["--interface", "no-such-if", "--kind", "uplink"];
    assert_eq!(daemon.run(&[&["ports", "add"], port.as_slice()].concat()).status, 0);
    let run = daemon.run(&["doctor", "-o", "json"]);
    let (status, report) = (run.status, run.json());
    let subjects = report["subjects"].as_array().unwrap();
    let port = subjects.iter().find(|it| it["name"] == "no-such-if").unwrap();
    // Not a fault: with none of its ports here, the daemon may be in another namespace.
    assert_eq!((status, &port["findings"][0]["level"]), (0, &json!("unknown")), "{report}");
    let machine = subjects[0]["findings"].as_array().unwrap();
    let found = machine.iter().find(|it| it["check"] == "daemon").unwrap();
    let expected = json!({"level": "ok", "check": "daemon", "remedy": null,
        "found": "answers: 1 port, workers on cores 2-3"});
    assert_eq!(*found, expected);
}

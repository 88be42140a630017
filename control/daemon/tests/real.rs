//! A real `sluiced` between real sockets: what the daemon promises, seen from outside.
//!
//! Every test makes its own namespaces and needs root; without root it says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test may fail as the test does"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{SLUICED, cores, with_client};
use sluice_api::backend::{CommitOrder, Content, DiffOrder};
use sluice_demo::push::{PushError, push};
use sluice_demo::stage::{Seat, Stage, StageOptions};
use sluice_demo::transfer::Transfer;
use sluice_lab::probe::{self, Probe};
use sluice_lab::{Namespace, root_or_skip, serve, wait_until};
use sluice_policy::diff::VerdictChange;
use sluice_policy::model::RuleSet;
use sluice_sources::files::{LoadOptions, load};

const PATIENCE: Duration = Duration::from_secs(10);
const DROPPED: Duration = Duration::from_millis(400);

/// Two pods of one namespace on one node.
const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: { name: node-1 }
status: { addresses: [{ type: InternalIP, address: 10.5.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web, labels: { app: web } }
status: { podIPs: [{ ip: 10.5.0.11 }, { ip: 'fd05::11' }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
status: { podIPs: [{ ip: 10.5.0.12 }, { ip: 'fd05::12' }] }
";

/// The database answers TCP 80 and UDP 53 only.
const DB_POLICY: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: db }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress: [{ ports: [{ port: 80 }, { protocol: UDP, port: 53 }] }]
";

const DENY_DB: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: db }
spec: { podSelector: { matchLabels: { app: db } } }
";

fn rules(parts: &[&str]) -> RuleSet {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, parts.concat()).unwrap();
    load(&[file], &LoadOptions::default()).unwrap().0
}

fn stage_with(options: &StageOptions) -> Stage {
    Stage::start(Path::new(SLUICED), &rules(&[CLUSTER]), options).unwrap()
}

fn stage() -> Stage {
    stage_with(&StageOptions { cores: cores(), ..StageOptions::default() })
}

fn seat<'a>(stage: &'a Stage, pod: &str) -> &'a Seat {
    stage.seat_of(pod).unwrap()
}

fn tcp(from: &Namespace, to: IpAddr, port: u16) -> Probe {
    from.run(|| probe::tcp_echo(SocketAddr::new(to, port), b"hello", DROPPED)).unwrap()
}

/// A repeatable stream of bytes that no shorter pattern explains.
fn body(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Answers one HTTP request with `body`.
fn serve_http(
    namespace: &Namespace,
    address: SocketAddr,
    body: Vec<u8>,
) -> std::thread::JoinHandle<()> {
    let listener = namespace.run(|| TcpListener::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "GET /big HTTP/1.1");
        while !lines.next().unwrap().unwrap().is_empty() {}
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
    })
}

fn get_http(from: &Namespace, address: SocketAddr) -> Vec<u8> {
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /big HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut len = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                len = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes).unwrap();
        bytes
    })
    .unwrap()
}

#[test]
fn a_hundred_megabytes_over_http_and_datagrams_arrive_byte_for_byte() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    push(&stage.socket(), &rules(&[CLUSTER, DB_POLICY]), "test").unwrap();
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    for address in db.addresses {
        let sent = body(100_000_000);
        let server = serve_http(&db.namespace, SocketAddr::new(address, 80), sent.clone());
        let received = get_http(&web.namespace, SocketAddr::new(address, 80));
        assert!(received == sent, "{} bytes over {address} differ", received.len());
        server.join().unwrap();

        let dns = SocketAddr::new(address, 53);
        let _echo = serve::udp_echo(&db.namespace, dns).unwrap();
        let answered = web.namespace.run(|| probe::udp_echo(dns, PATIENCE)).unwrap();
        assert_eq!(answered, Probe::Open, "{dns}");
    }
    let total = || with_client(&stage, async |client| client.counters().await.unwrap()).total;
    assert!(total().rx_bytes > 200_000_000, "it went through the engine");
    // A stack has something to say now and then, so the sum is right when all is quiet.
    let balanced = wait_until(PATIENCE, || {
        let total = total();
        total.rx_frames + total.flood_copies == total.tx_frames + total.dropped()
    });
    assert!(balanced, "{:?}", total());
}

#[test]
fn a_push_changes_exactly_what_it_says_under_traffic() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    let socket = stage.socket();
    let allow = rules(&[CLUSTER, DB_POLICY]);
    let deny = rules(&[CLUSTER, DENY_DB]);
    push(&socket, &allow, "allow").unwrap();
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    let _servers: Vec<_> = [(db, 80), (web, 8080)]
        .map(|(seat, port)| {
            serve::tcp_echo(&seat.namespace, SocketAddr::new(seat.addresses[0], port)).unwrap()
        })
        .into();
    // The database's own connections are nobody's business here: they must never notice.
    let other = Transfer::start(&db.namespace, SocketAddr::new(web.addresses[0], 8080)).unwrap();
    for round in 0..5 {
        let doomed = Transfer::start(&web.namespace, SocketAddr::new(db.addresses[0], 80)).unwrap();
        assert!(wait_until(PATIENCE, || doomed.echoed() > 100_000), "round {round}");
        let before = other.echoed();
        assert!(wait_until(PATIENCE, || other.echoed() > before), "round {round}");

        let denied = push(&socket, &deny, "deny").unwrap();
        assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);
        // It has been silent for as long as a denied connection attempt takes.
        let silent = doomed.echoed();
        assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);
        assert_eq!(doomed.echoed(), silent, "round {round}");
        let before = other.echoed();
        assert!(wait_until(PATIENCE, || other.echoed() > before), "round {round}");

        let allowed = push(&socket, &allow, "allow").unwrap();
        assert_eq!(allowed.revision, denied.revision + 1);
        assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::Open);
    }
}

#[test]
fn a_refused_push_changes_nothing() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    let good = rules(&[CLUSTER, DB_POLICY]);
    let committed = push(&stage.socket(), &good, "good").unwrap();
    let mut bad = good;
    let mut clash = bad.pods().next().unwrap().clone();
    clash.name = "clash".into();
    bad.replace(clash);
    let Err(PushError::Refused(refused)) = push(&stage.socket(), &bad, "bad") else {
        panic!("a rule set with one address for two pods was taken");
    };
    assert_eq!(refused.running_revision, committed.revision);
    assert!(refused.faults.iter().any(|fault| fault.problem.contains("10.5.0.1")), "{refused}");
    let status = with_client(&stage, async |client| client.status().await.unwrap());
    assert_eq!((status.revision, status.version.as_str()), (committed.revision, "good"));
    assert_eq!(status.last_refusal.unwrap().version, "bad");
    assert!(status.workers.iter().all(|worker| worker.revision == committed.revision));
}

fn order(base: u64, content: Content) -> CommitOrder {
    CommitOrder { base_revision: Some(base), content, ..CommitOrder::default() }
}

#[test]
fn a_delta_is_previewed_put_in_force_and_survives_a_restart() {
    if !root_or_skip() {
        return;
    }
    let mut stage = stage();
    let allow = rules(&[CLUSTER, DB_POLICY]);
    let change = allow.change_to(&rules(&[CLUSTER, DENY_DB]));
    assert_eq!((change.upserts.len(), change.removals.len()), (1, 0), "the policy alone");
    let revision = push(&stage.socket(), &allow, "allow").unwrap().revision;
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    let to = SocketAddr::new(db.addresses[0], 80);
    let _server = serve::tcp_echo(&db.namespace, to).unwrap();
    let doomed = Transfer::start(&web.namespace, to).unwrap();
    assert!(wait_until(PATIENCE, || doomed.echoed() > 100_000));

    with_client(&stage, async |client| {
        let ask = DiffOrder {
            content: Content::Delta(change.clone()),
            base_revision: Some(revision),
            ..DiffOrder::default()
        };
        let preview = client.diff(&ask).await.unwrap().unwrap();
        assert_eq!(preview.running_revision, revision);
        let denied = |port| {
            let hits = |it: &&VerdictChange| {
                let ports = it.ports.is_some_and(|(first, last)| (first..=last).contains(&port));
                (it.from.as_str(), it.to.as_str()) == ("shop/web", "shop/db") && ports
            };
            preview.diff.verdicts.iter().filter(hits).count()
        };
        assert_eq!((denied(80), denied(53), denied(81)), (1, 1, 0), "{preview:?}");
        let dying = preview.connections.iter().find(|it| it.destination_port == Some(80)).unwrap();
        assert_eq!((dying.from.as_str(), dying.to.as_str()), ("shop/web", "shop/db"));
        assert_eq!(dying.reason, "no rule of shop/db admits TCP 80 from shop/web");
        assert!(preview.connections_live >= preview.connections_total);

        let wrong = order(revision + 1, Content::Delta(change.clone()));
        let refused = client.commit(&wrong).await.unwrap().unwrap_err();
        assert_eq!(refused.faults[0].field, "baseRevision");
        let committed = client.commit(&order(revision, Content::Delta(change))).await.unwrap();
        assert_eq!(committed.unwrap().revision, revision + 1);
    });
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);
    let silent = doomed.echoed();
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);
    assert_eq!(doomed.echoed(), silent, "the connection that the preview named is dead");

    stage.kill_daemon().unwrap();
    stage.start_daemon().unwrap();
    let status = with_client(&stage, async |client| client.status().await.unwrap());
    assert_eq!(status.revision, revision + 1);
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);
}

/// Sends datagrams from a pod straight to the host end of its veth, and tells whether the node's
/// kernel gets one.
struct KernelEar {
    listener: UdpSocket,
    pod: Namespace,
}

const HOST_END: &str = "10.6.0.1";

impl KernelEar {
    fn new(stage: &Stage, pod: &str) -> Self {
        let seat = seat(stage, pod);
        stage.node.address(&seat.interface, &format!("{HOST_END}/24")).unwrap();
        seat.namespace.address("eth0", "10.6.0.2/24").unwrap();
        let listener = stage.node.run(|| UdpSocket::bind((HOST_END, 7777)).unwrap()).unwrap();
        listener.set_read_timeout(Some(DROPPED)).unwrap();
        Self { listener, pod: seat.namespace.clone() }
    }

    fn hears(&self) -> bool {
        let to = SocketAddr::new(HOST_END.parse().unwrap(), 7777);
        // Sending itself may fail for want of an ARP answer, which is as good as silence.
        let _ = self.pod.run(|| probe::udp_send(to, b"anybody?")).unwrap();
        self.listener.recv(&mut [0; 16]).is_ok()
    }
}

#[test]
fn after_a_kill_no_frame_of_a_pod_reaches_the_kernel_and_a_restart_goes_on() {
    if !root_or_skip() {
        return;
    }
    let mut stage = stage();
    push(&stage.socket(), &rules(&[CLUSTER, DB_POLICY]), "before the kill").unwrap();
    let ear = KernelEar::new(&stage, "shop/web");
    let (web, db) = (seat(&stage, "shop/web").clone(), seat(&stage, "shop/db").clone());
    let _server = serve::tcp_echo(&db.namespace, SocketAddr::new(db.addresses[0], 80)).unwrap();
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::Open);
    assert!(!ear.hears(), "while it runs");

    stage.kill_daemon().unwrap();
    for _ in 0..5 {
        assert!(!ear.hears(), "after the kill");
    }
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);

    stage.start_daemon().unwrap();
    let answers = wait_until(PATIENCE, || tcp(&web.namespace, db.addresses[0], 80) == Probe::Open);
    assert!(answers, "after the restart; sluiced says:\n{}", stage.log_tail());
    assert_eq!(tcp(&web.namespace, db.addresses[0], 81), Probe::TimedOut, "policy is back too");
    let status = with_client(&stage, async |client| client.status().await.unwrap());
    assert_eq!(status.version, "before the kill");
    assert!(!ear.hears(), "after the restart");

    // What hears nothing above can hear: without a gate the same datagram arrives.
    let config = stage.config();
    let detach = ["--config", config.to_str().unwrap(), "--detach"];
    let refused = stage.node.command(SLUICED, &detach).unwrap();
    assert!(!refused.status.success(), "the gates of a daemon that runs are its own");
    stage.kill_daemon().unwrap();
    let detached = stage.node.command(SLUICED, &detach).unwrap();
    assert!(detached.status.success(), "{detached:?}");
    assert!(wait_until(PATIENCE, || ear.hears()), "without a gate");
}

#[test]
fn manifests_in_a_directory_are_followed_and_broken_ones_leave_what_runs() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.yaml");
    std::fs::write(&file, [CLUSTER, DB_POLICY].concat()).unwrap();
    let extra = format!(
        "[rules]\nsource = \"files\"\ndirectory = \"{}\"\ninterval_ms = 100\n",
        directory.path().display()
    );
    let stage = stage_with(&StageOptions { extra, ..StageOptions::default() });
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    let _server = serve::tcp_echo(&db.namespace, SocketAddr::new(db.addresses[0], 80)).unwrap();
    let answers = wait_until(PATIENCE, || tcp(&web.namespace, db.addresses[0], 80) == Probe::Open);
    assert!(answers, "{}", stage.log_tail());

    std::fs::write(&file, [CLUSTER, DENY_DB].concat()).unwrap();
    let denied =
        wait_until(PATIENCE, || tcp(&web.namespace, db.addresses[0], 80) == Probe::TimedOut);
    assert!(denied, "{}", stage.log_tail());

    std::fs::write(&file, [CLUSTER, "---\nkind: NetworkPolicy\n"].concat()).unwrap();
    let status = || with_client(&stage, async |client| client.status().await.unwrap());
    assert!(wait_until(PATIENCE, || status().last_refusal.is_some()), "{}", stage.log_tail());
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut, "still denied");
    assert_eq!(status().objects.network_policies, 1);

    let Err(PushError::Refused(refused)) = push(&stage.socket(), &rules(&[CLUSTER]), "mine") else {
        panic!("a second owner was let in");
    };
    assert!(refused.faults[0].problem.contains("rules.source"), "{refused}");
}

#[test]
fn ports_come_and_go_while_it_runs() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    push(&stage.socket(), &rules(&[CLUSTER, DB_POLICY]), "test").unwrap();
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    let _server = serve::tcp_echo(&db.namespace, SocketAddr::new(db.addresses[0], 80)).unwrap();
    for _ in 0..3 {
        assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::Open);
        let ports = with_client(&stage, async |client| client.ports().await.unwrap());
        let port = ports.iter().find(|port| port.spec.interface == db.interface).unwrap().clone();
        with_client(&stage, async |client| client.remove_port(&db.interface).await.unwrap());
        assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::TimedOut);
        let again = port.spec.clone();
        with_client(&stage, async |client| client.add_port(again.clone()).await.unwrap());
        let refused =
            with_client(&stage, async |client| client.add_port(again.clone()).await.unwrap_err());
        assert!(refused.to_string().contains("already"), "{refused}");
    }
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::Open);
}

#[test]
fn an_interface_that_is_made_anew_is_a_port_again() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    push(&stage.socket(), &rules(&[CLUSTER, DB_POLICY]), "test").unwrap();
    let (web, db) = (seat(&stage, "shop/web"), seat(&stage, "shop/db"));
    let _server = serve::tcp_echo(&db.namespace, SocketAddr::new(db.addresses[0], 80)).unwrap();
    assert_eq!(tcp(&web.namespace, db.addresses[0], 80), Probe::Open);
    let health = || with_client(&stage, async |client| client.status().await.unwrap()).health;
    stage.node.ip(&["link", "delete", &web.interface]).unwrap();
    assert!(wait_until(PATIENCE, || health().contains(&web.interface)), "{}", health());

    let peer = web.namespace.name();
    stage
        .node
        .ip(&[
            "link",
            "add",
            &web.interface,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "address",
            &web.mac,
            "netns",
            peer,
        ])
        .unwrap();
    stage.node.up(&web.interface).unwrap();
    web.namespace.up("eth0").unwrap();
    web.namespace.address("eth0", &format!("{}/24", web.addresses[0])).unwrap();
    let answers = wait_until(PATIENCE, || tcp(&web.namespace, db.addresses[0], 80) == Probe::Open);
    assert!(answers, "{}\n{}", health(), stage.log_tail());
    assert_eq!(tcp(&web.namespace, db.addresses[0], 81), Probe::TimedOut, "and under policy");
    assert!(wait_until(PATIENCE, || health() == "ok"), "{}", health());
}

/// Runs `sluiced` with a configuration that cannot work, and gives what it says.
fn fails(stage: &Stage, config: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sluice.toml");
    let place = directory.path().display();
    let head = format!(
        "[gate]\npin_dir = \"{0}/pins\"\n[control]\nsocket = \"{0}/control.sock\"\nstate_dir = \"{0}\"\n",
        place
    );
    // A BPF file system of the stage's, so that nothing is mounted below a directory that goes.
    std::fs::create_dir_all(stage.directory().join("bpf/other")).unwrap();
    let pins = stage.directory().join("bpf/other").display().to_string();
    let head = head.replace(&format!("{place}/pins"), &pins);
    std::fs::write(&path, format!("{head}{config}")).unwrap();
    let output = stage.node.command(SLUICED, &["--config", path.to_str().unwrap()]).unwrap();
    assert!(!output.status.success(), "it started");
    let left: Vec<PathBuf> =
        std::fs::read_dir(&pins).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_cannot_work_is_told_with_a_remedy_and_leaves_nothing_behind() {
    if !root_or_skip() {
        return;
    }
    let stage = stage();
    let node = &stage.node;
    node.ip(&["link", "add", "spare0", "type", "veth", "peer", "name", "spare1"]).unwrap();
    node.up("spare0").unwrap();
    let spare = "[[port]]\ninterface = \"spare0\"\nkind = \"host\"\n";
    let port =
        |interface: &str| format!("[[port]]\ninterface = \"{interface}\"\nkind = \"host\"\n");
    for (config, says) in [
        (format!("{spare}{}", port("nosuch0")), "nosuch0"),
        (format!("{spare}{}", port("spare1")), "ip link set dev spare1 up"),
        // The stage's own daemon has this one.
        (format!("{spare}{}", port("up0")), "up0"),
        (format!("[engine]\ncores = [4095]\n{spare}"), "core 4095 is not to be had"),
        (format!("{spare}{spare}"), "one of that name already"),
    ] {
        let said = fails(&stage, &config);
        assert!(said.contains(says), "want {says:?} in:\n{said}");
    }
    // The first daemon has noticed nothing.
    push(&stage.socket(), &rules(&[CLUSTER]), "test").unwrap();
    let output = node.command(SLUICED, &["--config", stage.config().to_str().unwrap()]).unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another sluiced"), "{said}");
}

#[test]
fn a_configuration_can_be_checked_without_running_it() {
    let check = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Command::new(SLUICED).arg("--check").arg("--config").arg(file.path()).output().unwrap()
    };
    assert!(check("").status.success());
    let output = check("[engine]\nframes = 1\n");
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("engine.frames: 1 is out of range; want 1024"), "{said}");
}

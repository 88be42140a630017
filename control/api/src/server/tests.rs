//! Servers on real sockets, with a backend that only remembers.

mod capture;
mod delta;
mod diff;
mod fake;
mod mutual_tls;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sluice_core::address::{Mac, NetworkId};
use sluice_policy::explain::{Question, Verdict};
use sluice_policy::model::{
    LabelSelector, Name, NetworkPolicy, Pod, PolicyType, Protocol, RuleSet,
};
use sluice_policy::reach::Family;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::{Channel, Endpoint as Transport, Uri};
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::backend::{
    CommitOrder, Content, Failure, Fallback, PortKind, PortMode, PortSpec, Refused,
};
use crate::client::{Client, ClientError, Endpoint};
use crate::wire::control_client::ControlClient;
use fake::Fake;

/// A server that ends with the test.
struct Running {
    directory: TempDir,
    backend: Arc<Fake>,
    health: Health,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::start_in(directory).await
    }

    async fn start_in(directory: TempDir) -> Self {
        let bound = bind(&Listen::Unix(directory.path().join("s"))).await.unwrap();
        let backend = Arc::new(Fake::default());
        let api = Api::new(Arc::clone(&backend) as Arc<dyn Backend>).await;
        let health = api.health();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            api.serve(bound, async {
                let _ = stopped.await;
            })
            .await
        });
        Self { directory, backend, health, stop: Some(stop), task }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    async fn client(&self) -> Client {
        Client::connect(&Endpoint::Unix(self.path())).await.unwrap()
    }

    /// A channel for messages that the client would not send.
    async fn channel(&self) -> Channel {
        let path = self.path();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Transport::from_static("http://x").connect_with_connector(connector).await.unwrap()
    }

    async fn stop(mut self) -> TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(GRACE + Duration::from_secs(2), self.task).await;
        ended.unwrap().unwrap().unwrap();
        self.directory
    }
}

fn rules() -> RuleSet {
    let mut rules = RuleSet::default();
    for (name, address) in [("web", "10.0.0.1"), ("db", "10.0.0.2")] {
        rules.insert(Pod::new("shop", name).with_address(address.parse().unwrap())).unwrap();
    }
    let everything = LabelSelector::everything();
    let types = [PolicyType::Ingress];
    rules.insert(NetworkPolicy::new("shop", "deny", everything, &types, None, None)).unwrap();
    rules
}

fn order(version: &str) -> CommitOrder {
    let content = Content::Snapshot(rules());
    CommitOrder { version: version.into(), content, ..CommitOrder::default() }
}

fn port(interface: &str) -> PortSpec {
    PortSpec {
        interface: interface.into(),
        kind: PortKind::Pod {
            pod: Name { namespace: "shop".into(), name: "web".into() },
            mac: Mac([2, 0, 0, 0, 0, 7]),
        },
        networks: [(NetworkId(0), None), (NetworkId(5), Some(100))].into(),
        fallback: Fallback::Pass,
        node_addresses: Vec::new(),
        mode: PortMode::Auto,
        workers: Vec::new(),
        priority_tags: false,
    }
}

#[tokio::test]
async fn commits_are_acknowledged_or_refused_and_the_status_tells() {
    let server = Running::start().await;
    let client = server.client().await;
    let done = client.commit(&order("v1")).await.unwrap().unwrap();
    assert_eq!((done.revision, done.version.as_str(), done.objects), (1, "v1", 3));
    assert_eq!(server.backend.rules(), rules());

    let stale = CommitOrder { base_revision: Some(9), ..order("v2") };
    let refused = client.commit(&stale).await.unwrap().unwrap_err();
    assert_eq!(refused, Refused::wrong_base(9, 1));
    let status = client.status().await.unwrap();
    assert_eq!(status, server.backend.status());
    assert_eq!(status.last_refusal.unwrap().version, "v2");
}

#[tokio::test]
async fn a_snapshot_that_does_not_convert_is_a_nack_that_the_backend_learns_of() {
    let server = Running::start().await;
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    let mut raw = ControlClient::new(server.channel().await);
    let mut request = crate::convert::commit::order_to_wire(&order("v2"));
    let named = wire::NamedPort { name: "http".into(), protocol: 0, port: 80 };
    let Some(wire::commit_request::Content::Snapshot(rules)) = &mut request.content else {
        panic!("{request:?}");
    };
    rules.pods[0].named_ports.push(named);
    let response = raw.commit(request).await.unwrap().into_inner();
    let Some(wire::commit_response::Outcome::Nack(nack)) = response.outcome else {
        panic!("{response:?}");
    };
    assert_eq!(nack.running_revision, 1);
    assert_eq!(nack.faults.len(), 1);
    assert_eq!(nack.faults[0].object, "Pod shop/db");
    assert_eq!(nack.faults[0].field, "spec.containers[].ports[].protocol");
    let status = client.status().await.unwrap();
    assert_eq!((status.version.as_str(), status.revision), ("v1", 1));
    assert_eq!(status.last_refusal.unwrap().version, "v2");
}

#[tokio::test]
async fn ports_come_go_and_are_refused_for_the_reason_that_the_backend_gives() {
    let server = Running::start().await;
    let client = server.client().await;
    client.add_port(port("eth1")).await.unwrap();
    client.add_port(port("eth0")).await.unwrap();
    assert_eq!(client.ports().await.unwrap(), server.backend.ports().unwrap());
    assert_eq!(client.ports().await.unwrap()[0].spec, port("eth0"));
    for (result, expected) in [
        (client.add_port(port("eth0")).await, Failure::Exists("port eth0 is there".into())),
        (client.remove_port("eth7").await, Failure::NotFound("no port eth7".into())),
        (client.add_port(port("down")).await, Failure::Precondition("down is down".into())),
    ] {
        match result {
            Err(ClientError::Failed(failure)) => assert_eq!(failure, expected),
            other => panic!("{other:?}"),
        }
    }
    client.remove_port("eth0").await.unwrap();
    assert_eq!(client.ports().await.unwrap().len(), 1);
    let wrong = PortSpec { networks: [].into(), ..port("eth2") };
    let error = client.add_port(wrong).await.unwrap_err();
    assert!(error.to_string().starts_with("port eth2: networks: it is empty"), "{error}");
}

#[tokio::test]
async fn counters_and_answers_arrive_as_they_were() {
    let server = Running::start().await;
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    assert_eq!(client.counters().await.unwrap(), server.backend.counters().unwrap());

    let question = |from: &str, to: &str| Question {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 5432,
    };
    let asked = [
        question("shop/web", "shop/db"),
        question("shop/gone", "shop/db"),
        question("9.9.9.9", "::1"),
    ];
    let answers = client.explain(&asked).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap().verdict, Verdict::Drop);
    let expected: Vec<_> = server
        .backend
        .explain(&asked)
        .into_iter()
        .map(|it| it.map_err(|e| e.to_string()))
        .collect();
    assert_eq!(answers, expected);
    assert!(answers[1].is_err());

    let ports = [(Protocol::Tcp, 80), (Protocol::Sctp, 65_535)];
    for family in [None, Some(Family::V4), Some(Family::V6)] {
        let reach = client.reach(&ports, family).await.unwrap();
        assert_eq!(reach, server.backend.reach(&ports, family));
    }
    let error = client.reach(&[], None).await.unwrap_err();
    assert!(error.to_string().contains("ports: there are 0; want 1 to 64"), "{error}");
}

#[tokio::test]
async fn a_question_that_cannot_be_read_spoils_no_other() {
    let server = Running::start().await;
    server.client().await.commit(&order("v1")).await.unwrap().unwrap();
    let mut raw = ControlClient::new(server.channel().await);
    let question = |from: &str, protocol| wire::Question {
        from: from.into(),
        to: "shop/db".into(),
        protocol,
        port: 80,
    };
    let questions =
        vec![question("\u{1b}[2J", 1), question("shop/web", 0), question("shop/web", 1)];
    let response = raw.explain(wire::ExplainRequest { questions }).await.unwrap().into_inner();
    let texts: Vec<String> = response.answers.iter().map(|it| format!("{it:?}")).collect();
    assert!(texts[0].contains("questions[0].from"), "{texts:?}");
    assert!(!texts[0].contains('\u{1b}'), "{texts:?}");
    assert!(texts[1].contains("questions[1].protocol: it is unspecified"), "{texts:?}");
    assert!(matches!(response.answers[2].answer, Some(wire::answer::Answer::Explanation(_))));
}

#[tokio::test]
async fn what_is_unspecified_or_too_large_is_refused_and_reaches_no_backend() {
    let server = Running::start().await;
    let mut raw = ControlClient::new(server.channel().await);
    let request =
        wire::ReachRequest { ports: vec![wire::ReachPort { protocol: 1, port: 80 }], family: 0 };
    let status = raw.reach(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "request: family: it is unspecified; want any, IPv4 or IPv6");

    let name = "x".repeat(MESSAGE_LEN_MAX);
    let large = wire::Namespace { name, ..Default::default() };
    let snapshot = wire::RuleSet { namespaces: vec![large], ..Default::default() };
    let content = Some(wire::commit_request::Content::Snapshot(snapshot));
    let request = wire::CommitRequest { content, ..Default::default() };
    let status = raw.commit(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");

    let mut large = rules();
    large.insert(sluice_policy::model::Namespace::new("x".repeat(MESSAGE_LEN_MAX))).unwrap();
    let order = CommitOrder { content: Content::Snapshot(large), ..CommitOrder::default() };
    let error = server.client().await.commit(&order).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge(_)), "{error:?}");
    assert_eq!(server.backend.commits.load(SeqCst), 0);
    assert_eq!(server.client().await.status().await.unwrap().revision, 0);
}

#[tokio::test]
async fn a_panic_of_the_backend_fails_one_call_only() {
    let server = Running::start().await;
    let client = server.client().await;
    let error = client.remove_port("panic").await.unwrap_err();
    assert!(matches!(error, ClientError::Failed(Failure::Internal(_))), "{error:?}");
    client.status().await.unwrap();
}

#[tokio::test]
async fn health_says_what_the_daemon_says() {
    let server = Running::start().await;
    let mut health = HealthClient::new(server.channel().await);
    for (serving, expected) in [(None, 2), (Some(true), 1), (Some(false), 2)] {
        if let Some(serving) = serving {
            server.health.serving(serving).await;
        }
        for service in ["", "sluice.v1.Control"] {
            let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
            assert_eq!(health.check(request).await.unwrap().into_inner().status, expected);
        }
    }
}

#[tokio::test]
async fn the_api_describes_itself() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let server = Running::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap());
    for service in ["sluice.v1.Control", "grpc.health.v1.Health"] {
        assert!(answer.contains(service), "{answer}");
    }
}

#[tokio::test]
async fn only_the_owner_may_open_the_socket_and_it_goes_with_the_server() {
    let server = Running::start().await;
    let mode = std::fs::metadata(server.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!(names(server.directory.path()), 1, "the directory for binding has stayed");
    let client = server.client().await;
    let directory = server.stop().await;
    assert_eq!(names(directory.path()), 0);
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. } | ClientError::NoDaemon { .. }), "{error:?}");
}

#[tokio::test]
async fn a_second_server_is_refused_and_the_first_goes_on() {
    let server = Running::start().await;
    let listen = Listen::Unix(server.path());
    let error = bind(&listen).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse(_)), "{error}");
    server.client().await.status().await.unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let error = Client::connect(&Endpoint::Unix(path)).await.unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error:?}");
    let server = Running::start_in(directory).await;
    server.client().await.status().await.unwrap();

    let file = server.directory.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let error = bind(&Listen::Unix(file.clone())).await.unwrap_err();
    assert!(matches!(error, ServeError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn a_client_without_a_daemon_is_told_what_to_look_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let error = Client::connect(&Endpoint::Unix(path.clone())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("no daemon answers on {}: ", path.display())), "{text}");
    assert!(text.ends_with("; is sluiced running?"), "{text}");
}

#[tokio::test]
async fn a_half_sent_request_holds_up_nobody() {
    let server = Running::start().await;
    // The preface, settings, and headers of a call whose body never comes.
    let mut half = UnixStream::connect(server.path()).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = [0; 9];
    half.read_exact(&mut answer).await.unwrap();
    let mut garbage = UnixStream::connect(server.path()).await.unwrap();
    garbage.write_all(&[0xff; 512]).await.unwrap();
    let client = server.client().await;
    client.commit(&order("v1")).await.unwrap().unwrap();
    drop(server.stop().await);
}

//! Captures over a socket.

use sluice_core::drop::DropReason;

use super::fake::dropped;
use super::*;
use crate::backend::{CAPTURE_DURATION_MAX, CaptureOrder, SNAP_LEN_MAX};
use crate::{client, convert};

/// One of `count` frames, after which it is over.
fn order(count: u32) -> CaptureOrder {
    CaptureOrder { count, ports: vec!["eth0".into(), "eth1".into()], ..CaptureOrder::default() }
}

/// One that goes on after its only frame.
fn endless() -> CaptureOrder {
    CaptureOrder { count: 1, ..CaptureOrder::default() }
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let patience = Duration::from_secs(10);
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(patience, met).await.is_ok(), "waited in vain: {what}");
}

async fn begin(server: &Running) -> client::Capture {
    let mut capture = server.client().await.capture(&endless()).await.unwrap();
    let first = capture.next().await.unwrap().unwrap();
    assert_eq!((first.frames, first.missed), (vec![dropped(0)], 7));
    capture
}

#[tokio::test]
async fn every_frame_arrives_as_it_was_and_in_order() {
    let server = Running::start().await;
    let client = server.client().await;
    for order in [
        order(1),
        CaptureOrder { snap_len: 64, duration: CAPTURE_DURATION_MAX, ..order(1) },
        CaptureOrder { reasons: DropReason::ALL.to_vec(), ..order(1000) },
    ] {
        let mut capture = client.capture(&order).await.unwrap();
        let mut frames = Vec::new();
        while let Some(captured) = capture.next().await.unwrap() {
            assert_eq!(captured.missed, 7);
            frames.extend(captured.frames);
        }
        assert_eq!(frames, (0..order.count).map(dropped).collect::<Vec<_>>());
        assert_eq!(server.backend.captures.lock().unwrap().pop(), Some(order));
        assert_eq!(capture.next().await.unwrap(), None, "it is over for good");
    }
    wait_until("the captures to end", || server.backend.capturing.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn what_the_request_leaves_out_has_a_default() {
    let server = Running::start().await;
    let mut raw = ControlClient::new(server.channel().await);
    raw.capture(wire::CaptureRequest::default()).await.unwrap();
    assert_eq!(server.backend.captures.lock().unwrap().pop(), Some(CaptureOrder::default()));
}

#[tokio::test]
async fn a_capture_ends_with_its_client() {
    let server = Running::start().await;
    let capture = begin(&server).await;
    assert_eq!(server.backend.capturing.load(SeqCst), 1);
    drop(capture);
    wait_until("the capture to end", || server.backend.capturing.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_capture_ends_with_its_server() {
    let server = Running::start().await;
    let mut capture = begin(&server).await;
    let backend = Arc::clone(&server.backend);
    let (directory, ended) = tokio::join!(server.stop(), capture.next());
    let error = ended.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("the daemon ends"), "{error}");
    assert_eq!(backend.capturing.load(SeqCst), 0);
    drop(directory);
}

#[tokio::test]
async fn a_capture_that_does_not_convert_reaches_no_backend() {
    let server = Running::start().await;
    let mut raw = ControlClient::new(server.channel().await);
    let right = || convert::capture::order_to_wire(&order(1));
    let many = vec!["eth0".to_owned(); 65];
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let unknown = named(&["egress_denied", "Fragment"]);
    let steering = named(&["\u{1b}[2J"]);
    for (request, wanted) in [
        (
            wire::CaptureRequest { count: 1_000_001, ..right() },
            "request: count: it is 1000001; want 1000000 at most",
        ),
        (
            wire::CaptureRequest { snap_len: SNAP_LEN_MAX + 1, ..right() },
            "request: snap_len: it is 65536; want 65535 at most",
        ),
        (
            wire::CaptureRequest { duration_seconds: 3601, ..right() },
            "request: duration_seconds: it is 3601; want 3600 at most",
        ),
        (
            wire::CaptureRequest { ports: many, ..right() },
            "request: ports: there are 65; want 64 at most",
        ),
        (
            wire::CaptureRequest { ports: named(&["eth0", "a/b"]), ..right() },
            "request: ports[1]: \"a/b\" is no interface name; want 1 to 15 bytes",
        ),
        (
            wire::CaptureRequest { reasons: unknown, ..right() },
            "request: reasons[1]: \"Fragment\" is no drop reason; want one of malformed_ethernet, ",
        ),
        (
            wire::CaptureRequest { reasons: steering, ..right() },
            "request: reasons[0]: \"\\u{1b}[2J\" is no drop reason",
        ),
    ] {
        let status = raw.capture(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(wanted), "{}", status.message());
    }
    assert_eq!(*server.backend.captures.lock().unwrap(), []);

    let unknown = CaptureOrder { ports: vec!["eth7".into()], ..order(1) };
    match server.client().await.capture(&unknown).await {
        Err(ClientError::Failed(Failure::NotFound(text))) => assert_eq!(text, "no port eth7"),
        other => panic!("{other:?}"),
    }
}

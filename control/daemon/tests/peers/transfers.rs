//! iperf3 and curl: what policy allows arrives whole, what it denies does not even connect.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use sluice_demo::stage::{Seat, Stage};
use sluice_lab::probe::{self, Probe};
use sluice_lab::{Namespace, serve};

use crate::programs::{PYTHON, Running, ready_or_skip, run};
use crate::{ATTACKER, CLIENT, IPERF, OPEN, PATIENCE, SERVER, enforce, seat, stage, turn};

/// For what must not come.
const DENIED: Duration = Duration::from_millis(400);

/// iperf3 does not count what is in socket buffers when the sender says that it has sent all.
const TCP_BYTES: u64 = 16 << 20;
const TCP_BYTES_RECEIVED_MIN: u64 = TCP_BYTES / 2;

/// Two seconds' worth at 20 Mbit/s, far below what two cores and veths carry.
const DATAGRAMS: u64 = 4_166;
const DATAGRAM_LEN: &str = "1200";

/// A socket buffer that overflows while the machine does something else is not Sluice's loss.
/// iperf3 does not count what arrives after its own last word either.
const DATAGRAMS_LOST_MAX: u64 = DATAGRAMS / 100;

#[test]
fn iperf3_measures_what_policy_allows_and_does_not_connect_where_it_denies() {
    if !ready_or_skip(&["iperf3"]) {
        return;
    }
    let _turn = turn();
    let stage = stage();
    enforce(&stage);
    let (client, server) = (seat(&stage, CLIENT), seat(&stage, SERVER));
    for address in server.addresses {
        let address = address.to_string();
        let tcp_bytes = TCP_BYTES.to_string();
        // And in the direction of the replies.
        for extra in [&["--bytes", &tcp_bytes][..], &["--bytes", &tcp_bytes, "--reverse"]] {
            let end = iperf3(server, &client.namespace, &address, PATIENCE, extra).unwrap();
            let bytes = |sum: &str| end[sum]["bytes"].as_u64().unwrap();
            assert!(bytes("sum_sent") >= TCP_BYTES, "{extra:?} over {address}: {end:#}");
            let received = bytes("sum_received");
            assert!(received >= TCP_BYTES_RECEIVED_MIN, "{extra:?} over {address}: {end:#}");
        }

        let datagrams = DATAGRAMS.to_string();
        let extra =
            ["--udp", "--bitrate", "20M", "--length", DATAGRAM_LEN, "--blockcount", &datagrams];
        let end = iperf3(server, &client.namespace, &address, PATIENCE, &extra).unwrap();
        let count = |sum: &str| end[sum]["packets"].as_u64().unwrap();
        assert_eq!(count("sum_sent"), DATAGRAMS, "over {address}: {end:#}");
        let arrived = count("sum_received");
        assert!(arrived + DATAGRAMS_LOST_MAX >= DATAGRAMS, "over {address}: {end:#}");
        println!("{address}: {arrived} of {DATAGRAMS} datagrams at 20 Mbit/s");

        let attacker = &seat(&stage, ATTACKER).namespace;
        let refused = iperf3(server, attacker, &address, DENIED, &[]).unwrap_err();
        assert!(refused.contains("unable to connect"), "over {address}: {refused}");
    }
    datagrams_are_denied_too(&stage);
}

/// Measures once, with a server of its own: iperf3 turns away whoever comes a moment too early
/// after another. Gives the end of its report, or the error that it reports.
fn iperf3(
    server: &Seat,
    from: &Namespace,
    address: &str,
    wait: Duration,
    extra: &[&str],
) -> Result<Value, String> {
    let port = IPERF.to_string();
    let arguments = ["--server", "--one-off", "--port", &port];
    let _server = Running::serve(&server.namespace, IPERF, "iperf3", &arguments);
    let wait = wait.as_millis().to_string();
    let client =
        ["--json", "--client", address, "--port", &port, "--connect-timeout", &wait, "--window"];
    let (_, text) = run(from, "iperf3", &[&client[..], &["1M"], extra].concat());
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    // With --json it ends well whatever happens.
    match report["error"].as_str() {
        Some(error) => Err(error.into()),
        None => Ok(report["end"].clone()),
    }
}

/// iperf3 opens by TCP, so a UDP port behind a closed TCP port says nothing about UDP.
fn datagrams_are_denied_too(stage: &Stage) {
    let server = seat(stage, SERVER);
    for address in server.addresses {
        let to = SocketAddr::new(address, IPERF);
        let _echo = serve::udp_echo(&server.namespace, to).unwrap();
        let ask = |pod: &str, patience| {
            seat(stage, pod).namespace.run(|| probe::udp_echo(to, patience)).unwrap()
        };
        assert_eq!(ask(CLIENT, PATIENCE), Probe::Open, "{to}");
        assert_eq!(ask(ATTACKER, DENIED), Probe::TimedOut, "{to}");
    }
}

#[test]
fn curl_fetches_a_file_byte_for_byte_and_times_out_at_a_denied_port() {
    const OTHER: u16 = 8080;
    const TIMED_OUT: i32 = 28;
    if !ready_or_skip(&["curl", PYTHON]) {
        return;
    }
    let _turn = turn();
    let stage = stage();
    enforce(&stage);
    let (client, server) = (seat(&stage, CLIENT), seat(&stage, SERVER));
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let content: Vec<u8> =
        (0..1_u32 << 20).flat_map(|at| at.wrapping_mul(at).to_le_bytes()).collect();
    std::fs::write(directory.path().join("file"), &content).unwrap();
    let _servers = [OPEN, OTHER].map(|port| {
        let text = port.to_string();
        let arguments = ["-m", "http.server", &text, "--bind", "::", "--directory", place];
        Running::serve(&server.namespace, port, PYTHON, &arguments)
    });

    for address in server.addresses {
        let url = |port| format!("http://{}/file", SocketAddr::new(address, port));
        let copy = format!("{place}/copy");
        let fetch = |from: &Namespace, port, wait: Duration| {
            let (url, wait) = (url(port), wait.as_secs_f32().to_string());
            let options = ["--silent", "--fail", "--connect-timeout", &wait, "--output", &copy];
            run(from, "curl", &[&options[..], &[&url]].concat()).0
        };
        assert_eq!(fetch(&client.namespace, OPEN, PATIENCE), 0, "{}", url(OPEN));
        assert!(std::fs::read(&copy).unwrap() == content, "{} differs", url(OPEN));
        assert_eq!(fetch(&client.namespace, OTHER, DENIED), TIMED_OUT, "{}", url(OTHER));
        std::fs::remove_file(&copy).unwrap();

        // The server does listen there: to itself it is no secret.
        assert_eq!(fetch(&server.namespace, OTHER, PATIENCE), 0, "{}", url(OTHER));
    }
}

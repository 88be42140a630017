//! Tagged networks, long frames, and a protocol that the kernel of a developer's machine may lack.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    listen, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use sluice_lab::probe::{tcp_connect, tcp_echo};
use sluice_lab::{Namespace, serve};

use super::changes::ethtool;
use super::driver::{SILENCE, every_frame_is_counted, opens, policies_hold};
use crate::daemon::port;
use crate::stage::{GATEWAYS, Nic, PATIENCE, Setup, Stage, VIRTIO, WEB, address};
use crate::traffic::{Load, Sink, outside_addresses};

/// An 802.1Q network on the wire and none at the pods; a NIC that takes tags away is refused, with the remedy.
pub(crate) fn tags_are_taken_off_and_put_on(nic: Nic) {
    let setup = Setup { uplink: "vlan = 10", vlan: Some(10), ..Setup::on(nic) };
    let mut stage = Stage::build(&setup);
    let stripping = stage.node.command("ethtool", &["-K", "up0", "rxvlan", "on"]).unwrap();
    if stripping.status.success() {
        let said = stage.refused();
        assert!(said.contains("ethtool -K up0 rxvlan off"), "{said}");
        ethtool(&stage.node, &["-K", "up0", "rxvlan", "off"]);
        println!("refused while the NIC takes tags away");
    }
    stage.start_daemon();
    let queues = port("up0")["queues"].as_array().unwrap().len();
    policies_hold(&stage);
    every_frame_is_counted(&stage, queues);
    // The same addresses, on the same wire, without a tag: another network.
    stage.outside.ip(&["link", "delete", "eth0.10"]).unwrap();
    stage.outside.address("eth0", &format!("{}/24", GATEWAYS[0])).unwrap();
    let _server = serve::tcp_echo(&stage.web, address("::", 443)).unwrap();
    let untagged = || tcp_connect(address(WEB[0], 443), SILENCE);
    let seen = stage.outside.run(untagged).unwrap();
    assert!(!seen.is_open(), "a frame without the tag came through: {seen:?}");
}

/// Associations of the kernel's own SCTP, through policy that names a port.
pub(crate) fn sctp_of_the_kernel_obeys_policy() {
    let stage = Stage::start(&Setup::on(VIRTIO));
    for (from, to, ip) in [
        (&stage.outside, &stage.web, WEB[0]),
        (&stage.web, &stage.outside, GATEWAYS[0]),
        (&stage.outside, &stage.web, WEB[1]),
    ] {
        // An INIT that is lost is sent again after three seconds.
        for (port, allowed, patience) in [(9000, true, PATIENCE), (9001, false, 2 * SILENCE)] {
            let listener = sctp_listen(to, ip, port, patience);
            let server = std::thread::spawn(move || sctp_serve(&listener));
            let echoed = from.run(|| sctp_echo(ip, port, patience)).unwrap();
            let served = server.join().unwrap();
            let what = format!("SCTP {port} from {} to {ip}", from.name());
            assert_eq!(echoed.is_ok(), allowed, "{what}: {echoed:?}");
            assert_eq!(served.is_ok(), allowed, "{what}: {served:?}");
        }
    }
}

/// An MTU of 9,000 from end to end: datagrams that fill it arrive whole, and connections make use of it.
pub(crate) fn frames_of_nine_thousand_bytes_pass() {
    let stage = Stage::start(&Setup { mtu: 9000, ..Setup::on(VIRTIO) });
    println!("{:#}", port("up0"));
    policies_hold(&stage);
    let sink = Sink::listen(&stage.web, address(WEB[0], 53));
    let load = Load {
        sources: outside_addresses(16),
        allowed: address(WEB[0], 53),
        allowed_count: 600,
        denied: address(WEB[0], 54),
        denied_count: 100,
        length_max: 9000 - 28,
    };
    load.send(&stage.outside, &sink);
    let _server = serve::tcp_echo(&stage.outside, address("::", 443)).unwrap();
    let bulk = vec![3; 400_000];
    opens(&stage.web, "400 kB", GATEWAYS[0], || {
        tcp_echo(address(GATEWAYS[0], 443), &bulk, PATIENCE)
    });
}

/// A socket that gives up an attempt after a while.
fn sctp_socket(ip: &str, patience: Duration) -> OwnedFd {
    let family = if ip.contains(':') { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Sctp).unwrap();
    let patience = TimeVal::new(i64::try_from(patience.as_secs()).unwrap(), 0);
    setsockopt(&socket, sockopt::SendTimeout, &patience).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).unwrap();
    socket
}

/// The standard library's types do with a stream socket of any protocol what these tests want.
fn sctp_listen(namespace: &Namespace, ip: &str, port: u16, patience: Duration) -> TcpListener {
    let address = SockaddrStorage::from(address(ip, port));
    let open = || {
        let socket = sctp_socket(ip, patience);
        bind(socket.as_raw_fd(), &address).unwrap();
        listen(&socket, Backlog::new(4).unwrap()).unwrap();
        TcpListener::from(socket)
    };
    namespace.run(open).unwrap()
}

/// Sends back what the first association brings, if one comes in time, and waits for its end.
fn sctp_serve(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut bytes = [0; 1000];
    stream.read_exact(&mut bytes)?;
    stream.write_all(&bytes)?;
    stream.read(&mut bytes).map(drop)
}

fn sctp_echo(ip: &str, port: u16, patience: Duration) -> io::Result<()> {
    let socket = sctp_socket(ip, patience);
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address(ip, port)))?;
    let mut stream = TcpStream::from(socket);
    let (sent, mut back) = ([8; 1000], [0; 1000]);
    stream.write_all(&sent)?;
    stream.read_exact(&mut back)?;
    assert_eq!(sent, back);
    Ok(())
}

//! What a path does to packets: the kernel's own fragments, a link behind that takes less, and
//! echoes. Policy decides about all of them as about whole packets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sluice_core::drop::DropReason;
use sluice_demo::stage::{GATEWAYS, Stage};
use sluice_lab::{Lab, Namespace, VethOptions, root_or_skip, serve};

use crate::programs::{PYTHON, ready_or_skip, run};
use crate::watch::{Watch, moved};
use crate::{ATTACKER, CLIENT, IPERF, PATIENCE, SERVER, enforce, seat, stage, turn};

/// For what must not come.
const DENIED: Duration = Duration::from_millis(400);

/// One packet, two fragments, some, and the most that a datagram holds.
const LENGTHS: [usize; 5] = [1400, 1473, 3000, 8000, 65_000];

/// The link behind the gateway takes packets of so many bytes; IPv6 wants 1,280 at least.
const NARROW_MTU: u32 = 1300;

#[test]
fn datagrams_in_fragments_cross_whole_where_policy_admits_their_first() {
    if !root_or_skip() {
        return;
    }
    let _turn = turn();
    let stage = stage();
    enforce(&stage);
    let server = seat(&stage, SERVER);
    for address in server.addresses {
        let to = SocketAddr::new(address, IPERF);
        let _echo = serve::udp_echo(&server.namespace, to).unwrap();
        let client = &seat(&stage, CLIENT).namespace;
        for len in LENGTHS {
            assert!(echoes(client, to, len, PATIENCE), "{len} bytes to {to}");
        }
        let attacker = seat(&stage, ATTACKER);
        let watch = Watch::start(&stage, server);
        let before = watch.drops(&attacker.interface);
        assert!(!echoes(&attacker.namespace, to, 3000, DENIED), "{to} is not the attacker's");
        let after = watch.drops(&attacker.interface);
        for (reason, at_least) in
            [(DropReason::IngressDenied, 1), (DropReason::FragmentOfDropped, 2)]
        {
            assert!(moved(&before, &after, Some(reason)) >= at_least, "{reason}: {after:?}");
        }
    }
}

/// Whether a datagram of `len` bytes comes back as it was sent, asked for again and again.
fn echoes(from: &Namespace, to: SocketAddr, len: usize, patience: Duration) -> bool {
    let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at * at % 251).unwrap()).collect();
    from.run(|| {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(patience.min(Duration::from_millis(300)))).unwrap();
        let mut back = vec![0; 65_536];
        let end = Instant::now() + patience;
        while Instant::now() < end {
            socket.send(&payload).unwrap();
            if let Ok(received) = socket.recv(&mut back) {
                return back[..received] == payload;
            }
        }
        false
    })
    .unwrap()
}

/// A pod learns from a router far away that its packets are too big for the way there.
#[test]
fn word_of_a_narrow_link_reaches_the_pod_that_sent_too_much() {
    // IP_MTU_DISCOVER and IP_MTU, and their like for IPv6 (linux/in.h, linux/in6.h).
    const ASK: &str = "
import socket, sys, time
address, expected = sys.argv[1], int(sys.argv[2])
v6 = ':' in address
family = socket.AF_INET6 if v6 else socket.AF_INET
level, discover, mtu = (41, 23, 24) if v6 else (0, 10, 14)
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(level, discover, 2)
s.connect((address, 9))
end = time.monotonic() + 10
while s.getsockopt(level, mtu) != expected and time.monotonic() < end:
    try:
        s.send(b'x' * 1400)
    except OSError:
        pass
    time.sleep(0.01)
print(s.getsockopt(level, mtu))
";
    if !ready_or_skip(&[PYTHON]) {
        return;
    }
    let _turn = turn();
    let stage = stage();
    enforce(&stage);
    let (_lab, hosts) = narrow_link(&stage);
    for host in hosts {
        let expected = NARROW_MTU.to_string();
        let client = &seat(&stage, CLIENT).namespace;
        let (_, learned) = run(client, PYTHON, &["-c", ASK, host, &expected]);
        assert_eq!(learned.trim(), expected, "the path's MTU to {host}");
    }
}

/// A host behind the gateway, by a link of [`NARROW_MTU`].
fn narrow_link(stage: &Stage) -> (Lab, [&'static str; 2]) {
    let lab = Lab::new("narrow").unwrap();
    let far = lab.namespace("far").unwrap();
    let veth = VethOptions { mtu: NARROW_MTU, ..VethOptions::default() };
    lab.veth(&stage.outside, "far0", &far, "eth0", &veth).unwrap();
    let ends = [("203.0.113.1/24", "203.0.113.2"), ("2001:db8:99::1/64", "2001:db8:99::2")];
    for ((router, host), pods) in ends.iter().zip(["10.5.0.0/24", "fd05::/64"]) {
        let (router_address, len) = router.split_once('/').unwrap();
        stage.outside.address("far0", router).unwrap();
        far.address("eth0", &format!("{host}/{len}")).unwrap();
        far.route(pods, "via", router_address).unwrap();
    }
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        stage.outside.sysctl(key, "1").unwrap();
    }
    (lab, ends.map(|(_, host)| host))
}

#[test]
fn ping_is_answered_where_policy_admits_all_protocols_and_only_there() {
    if !has_ping() {
        return;
    }
    // ICMP has no port, so only a rule without ports admits it.
    const OPEN_TO_CLIENT: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: ping }
spec:
  podSelector: { matchLabels: { app: attacker } }
  policyTypes: [Ingress]
  ingress: [{ from: [{ podSelector: { matchLabels: { app: client } } }] }]
";
    let _turn = turn();
    let stage = stage();
    let rules = crate::rules(&[crate::CLUSTER, &crate::policies(), OPEN_TO_CLIENT]);
    sluice_demo::push::push(&stage.socket(), &rules, "with ping").unwrap();
    for (from, to, answered) in [
        (CLIENT, ATTACKER, true),
        (SERVER, ATTACKER, false),
        (CLIENT, SERVER, false),
        (ATTACKER, CLIENT, false),
    ] {
        for address in seat(&stage, to).addresses {
            let from = &seat(&stage, from).namespace;
            let patience = if answered { PATIENCE } else { DENIED };
            assert_eq!(pings(from, address, patience), answered, "{} to {address}", from.name());
        }
    }
    for gateway in GATEWAYS {
        let client = &seat(&stage, CLIENT).namespace;
        assert!(pings(client, gateway.parse().unwrap(), PATIENCE), "{gateway}");
    }
}

/// `ping` knows no `--version`.
fn has_ping() -> bool {
    let found = root_or_skip() && std::process::Command::new("ping").arg("-V").output().is_ok();
    if !found {
        eprintln!("skipped: ping is not installed; `make test` installs what tests need");
    }
    found
}

fn pings(from: &Namespace, to: IpAddr, patience: Duration) -> bool {
    let (to, wait) = (to.to_string(), patience.as_secs_f32().to_string());
    from.command("ping", &["-n", "-c", "1", "-W", &wait, &to]).unwrap().status.success()
}

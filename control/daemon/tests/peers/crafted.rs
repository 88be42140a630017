//! Frames that are malformed, forged or meant to mislead: the victim never sees one, and each is
//! counted as dropped, for the reason that stands beside it.
//!
//! Policy lets the senders have TCP 80, UDP 9000 and UDP 68 of the victim, and that is where
//! these frames go: whatever drops, drops for what is wrong with it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use sluice_core::drop::DropReason::{self, *};
use sluice_demo::stage::{GATEWAYS, Seat, Stage};
use sluice_lab::Namespace;

use crate::programs::{PYTHON, Running, python_or_skip};
use crate::watch::{Watch, describe, moved};
use crate::{ATTACKER, SERVER, enforce, seat, stage, turn};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The attacker's pod.
    Pod,
    /// The uplink: the pods' gateway.
    Outside,
}
use Origin::{Outside, Pod};

/// Who sends it, what it is, the reason that all its frames drop for (`None`: any), and the frames
/// in the words of `scapy.py`.
type Case = (Origin, &'static str, Option<DropReason>, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    // TCP that no connection begins with.
    (Pod, "SYN and FIN", Some(InvalidTcpFlags), "eth/v4/tcp('SF')"),
    (Pod, "SYN and RST", Some(InvalidTcpFlags), "eth/v4/tcp('SR')"),
    (Pod, "FIN alone", Some(InvalidTcpFlags), "eth/v4/tcp('F')"),
    (Pod, "no flags", Some(InvalidTcpFlags), "eth/v4/tcp('')"),
    (Pod, "no flags over IPv6", Some(InvalidTcpFlags), "eth/v6/tcp('')"),
    (Pod, "xmas", Some(InvalidTcpFlags), "eth/v4/tcp('FPU')"),
    (Pod, "all flags", Some(InvalidTcpFlags), "eth/v6/tcp('FSRPAUEC')"),
    (Pod, "ACK of no connection", Some(NoConnection), "eth/v4/tcp('A')"),
    (Pod, "SYN and ACK of no connection", Some(NoConnection), "eth/v6/tcp('SA')"),
    (Pod, "RST of no connection", Some(NoConnection), "eth/v4/tcp('R')"),
    (Outside, "xmas", Some(InvalidTcpFlags), "eth/v4/tcp('FPU')"),
    (Outside, "ACK of no connection", Some(NoConnection), "eth/v6/tcp('A')"),

    // Headers that contradict themselves.
    (Pod, "IPv4 header of 16 bytes", Some(MalformedIpv4), "eth/IP(src=ip4, dst=victim4, ihl=4)/syn"),
    (Pod, "IPv4 longer than its frame", Some(MalformedIpv4), "eth/IP(src=ip4, dst=victim4, len=1400)/syn"),
    (Pod, "IPv6 longer than its frame", Some(MalformedIpv6), "eth/IPv6(src=ip6, dst=victim6, plen=1400)/syn"),
    (Pod, "TCP header of 16 bytes", Some(MalformedTcp), "eth/v4/tcp('S', dataofs=4)"),
    (Pod, "TCP header longer than its packet", Some(MalformedTcp), "eth/v6/tcp('S', dataofs=15)"),
    (Pod, "UDP longer than its packet", Some(MalformedUdp), "eth/v4/udp(len=600)/b'short'"),
    (Pod, "wrong IPv4 header checksum", Some(BadChecksum), "eth/IP(src=ip4, dst=victim4, chksum=0x1234)/syn"),
    (Pod, "wrong TCP checksum", Some(BadChecksum), "eth/v4/tcp('S', chksum=0x1234)"),
    (Pod, "wrong UDP checksum over IPv6", Some(BadChecksum), "eth/v6/udp(chksum=0x1234)/b'hello'"),
    (Pod, "no UDP checksum over IPv6", Some(BadChecksum), "eth/v6/udp(chksum=0)/b'hello'"),

    // Source routes.
    (Pod, "loose source route", Some(SourceRoute), "eth/IP(src=ip4, dst=victim4, options=[IPOption_LSRR(routers=[gateway4])])/syn"),
    (Pod, "strict source route", Some(SourceRoute), "eth/IP(src=ip4, dst=victim4, options=[IPOption_SSRR(routers=[gateway4])])/syn"),
    (Outside, "loose source route", Some(SourceRoute), "eth/IP(src=ip4, dst=victim4, options=[IPOption_LSRR(routers=['10.5.0.13'])])/syn"),
    (Pod, "segment route", Some(SourceRoute), "eth/v6/IPv6ExtHdrRouting(type=4, segleft=1, addresses=[gateway6])/syn"),

    // Fragments. Where the reason stands open, the first and the rest drop for different ones.
    (Pod, "tiny first fragment", Some(TinyFragment), "eth/IP(src=ip4, dst=victim4, flags='MF', proto=6)/bytes(syn)[:8]"),
    (Pod, "later fragment of nothing", Some(FragmentWithoutFirst), "eth/IP(src=ip4, dst=victim4, frag=64, proto=17)/(b'x' * 64)"),
    (Pod, "flags rewritten by an overlap", None,
        "[eth/IP(src=ip4, dst=victim4, id=port, flags='MF', proto=6)/bytes(tcp('A'))[:16], \
          eth/IP(src=ip4, dst=victim4, id=port, frag=1, proto=6)/bytes(syn)[8:]]"),
    (Pod, "teardrop", None,
        "[eth/IP(src=ip4, dst=victim4, id=port, flags='MF', proto=17)/(bytes(udp(len=36)) + b'x' * 28), \
          eth/IP(src=ip4, dst=victim4, id=port, frag=3, proto=17)/b'xxxx']"),
    (Pod, "ping of death", Some(MalformedFragment), "eth/IP(src=ip4, dst=victim4, frag=8189, proto=1)/(b'x' * 1000)"),
    (Pod, "overlap over IPv6", None,
        "[eth/v6/IPv6ExtHdrFragment(id=port, m=1, nh=6)/bytes(tcp('A'))[:16], \
          eth/v6/IPv6ExtHdrFragment(id=port, offset=1, nh=6)/bytes(syn)[8:]]"),
    (Pod, "header chain split by fragments", None,
        "[eth/v6/IPv6ExtHdrFragment(id=port, m=1, nh=60)/bytes(IPv6ExtHdrDestOpt(nh=6)), \
          eth/v6/IPv6ExtHdrFragment(id=port, offset=1, nh=60)/bytes(syn)]"),
    (Outside, "tiny first fragment", Some(TinyFragment), "eth/IP(src=ip4, dst=victim4, flags='MF', proto=6)/bytes(syn)[:8]"),

    // Extension headers and tunnels.
    (Pod, "routing header of type 0", Some(RoutingHeader0), "eth/v6/IPv6ExtHdrRouting(type=0, addresses=[gateway6])/syn"),
    (Pod, "hop-by-hop options in the middle", Some(ExtensionHeaders),
        "eth/v6/IPv6ExtHdrDestOpt(nh=0)/IPv6ExtHdrHopByHop(nh=6)/bytes(syn)"),
    (Pod, "nine extension headers", Some(ExtensionHeaders),
        "eth/IPv6(src=ip6, dst=victim6, nh=60)/(bytes(IPv6ExtHdrDestOpt(nh=60)) * 8 + bytes(IPv6ExtHdrDestOpt(nh=6)) + bytes(syn))"),
    (Pod, "IPv6 within IPv4", Some(EgressDenied), "eth/v4/v6/syn"),
    (Pod, "GRE", Some(EgressDenied), "eth/v4/GRE()/v4/syn"),
    (Outside, "routing header of type 0", Some(RoutingHeader0), "eth/v6/IPv6ExtHdrRouting(type=0, addresses=[gateway6])/syn"),
    (Outside, "IPv6 within IPv4", Some(IngressDenied), "eth/v4/v6/syn"),

    // Addresses that are not the sender's to use.
    (Pod, "land", Some(Martian), "eth/IP(src=victim4, dst=victim4)/tcp('S', sport=80)"),
    (Pod, "land over IPv6", Some(Martian), "eth/IPv6(src=victim6, dst=victim6)/tcp('S', sport=80)"),
    (Pod, "source of the gateway", Some(SpoofedAddress), "eth/IP(src=gateway4, dst=victim4)/syn"),
    (Pod, "loopback as source", Some(Martian), "eth/IP(src='127.0.0.1', dst=victim4)/syn"),
    (Pod, "multicast as source", Some(Martian), "eth/IPv6(src='ff02::1', dst=victim6)/syn"),
    (Pod, "IPv4-mapped source", Some(Martian), "eth/IPv6(src='::ffff:' + ip4, dst=victim6)/syn"),
    (Pod, "IPv4-mapped destination", Some(Martian), "eth/IPv6(src=ip6, dst='::ffff:' + victim4)/syn"),
    (Pod, "another's MAC as source", Some(SpoofedMac), "Ether(src=victim_mac, dst=victim_mac)/v4/syn"),
    (Pod, "broadcast MAC as source", Some(SpoofedMac), "Ether(src=BROADCAST, dst=victim_mac)/v4/syn"),
    (Pod, "the victim's MAC, another's address", Some(ForeignDestination), "eth/IP(src=ip4, dst=gateway4)/syn"),
    (Pod, "unicast packet in a broadcast frame", Some(ForeignDestination), "Ether(src=mac, dst=BROADCAST)/v4/syn"),
    (Outside, "land", Some(Martian), "eth/IP(src=victim4, dst=victim4)/tcp('S', sport=80)"),
    (Outside, "land over IPv6", Some(Martian), "eth/IPv6(src=victim6, dst=victim6)/tcp('S', sport=80)"),
    (Outside, "source of a pod", Some(SpoofedAddress), "eth/IP(src='10.5.0.13', dst=victim4)/syn"),
    (Outside, "loopback as source", Some(Martian), "eth/IP(src='127.0.0.1', dst=victim4)/syn"),
    (Outside, "loopback as source over IPv6", Some(Martian), "eth/IPv6(src='::1', dst=victim6)/syn"),

    // Neighbours and routers.
    (Pod, "ARP reply for the gateway", Some(SpoofedArp), "eth/ARP(op=2, hwsrc=mac, psrc=gateway4, hwdst=victim_mac, pdst=victim4)"),
    (Pod, "gratuitous ARP for the gateway", Some(SpoofedArp),
        "Ether(src=mac, dst=BROADCAST)/ARP(op=2, hwsrc=mac, psrc=gateway4, pdst=gateway4)"),
    (Pod, "ARP reply with another's MAC", Some(SpoofedArp), "eth/ARP(op=2, hwsrc='02:00:00:00:00:99', psrc=ip4, pdst=victim4)"),
    (Pod, "advertisement for the gateway", Some(SpoofedNeighbour),
        "eth/nd/ICMPv6ND_NA(tgt=gateway6, R=0, O=1)/ICMPv6NDOptDstLLAddr(lladdr=mac)"),
    (Pod, "solicitation through a router", Some(SpoofedNeighbour),
        "eth/IPv6(src=ip6, dst=victim6, hlim=64)/ICMPv6ND_NS(tgt=victim6)/ICMPv6NDOptSrcLLAddr(lladdr=mac)"),
    (Pod, "router advertisement", Some(RogueRouter),
        "Ether(src=mac, dst='33:33:00:00:00:01')/IPv6(src=ip6, dst='ff02::1', hlim=255)/ICMPv6ND_RA(prf=1)\
         /ICMPv6NDOptPrefixInfo(prefix='fd66::', prefixlen=64)"),
    (Pod, "router advertisement to the victim alone", Some(RogueRouter), "eth/nd/ICMPv6ND_RA()"),
    (Pod, "IPv6 redirect", Some(RogueRouter), "eth/nd/ICMPv6ND_Redirect(tgt=ip6, dst=gateway6)"),
    (Pod, "ARP request with payload", Some(MalformedArp), "eth/ARP(op=1, hwsrc=mac, psrc=ip4, pdst=victim4)/(b'x' * 1000)"),
    (Pod, "solicitation with payload", Some(MalformedIcmp),
        "eth/nd/ICMPv6ND_NS(tgt=victim6)/ICMPv6NDOptUnknown(type=200, len=100, data=b'x' * 798)"),
    (Pod, "solicitation behind payload", Some(ExtensionHeaders),
        "eth/nd/IPv6ExtHdrDestOpt(options=[PadN(optdata=b'x' * 60)])/ICMPv6ND_NS(tgt=victim6)"),
    (Pod, "solicitation about another", Some(ForeignDestination), "eth/nd/ICMPv6ND_NS(tgt=gateway6)"),
    (Outside, "ARP reply for a pod", Some(SpoofedArp), "eth/ARP(op=2, hwsrc=mac, psrc='10.5.0.13', hwdst=victim_mac, pdst=victim4)"),
    (Outside, "advertisement for a pod", Some(SpoofedNeighbour),
        "eth/nd/ICMPv6ND_NA(tgt='fd05::13', R=0, O=1)/ICMPv6NDOptDstLLAddr(lladdr=mac)"),
    (Outside, "IPv6 redirect", Some(RogueRouter), "eth/nd/ICMPv6ND_Redirect(tgt=ip6, dst=gateway6)"),

    // Servers that a pod is not.
    (Pod, "DHCP offer", Some(RogueDhcp),
        "eth/v4/udp(sport=67, dport=68)/BOOTP(op=2, yiaddr=victim4, siaddr=ip4)\
         /DHCP(options=[('message-type', 'offer'), ('server_id', ip4), 'end'])"),
    (Pod, "DHCP offer to everybody", Some(RogueDhcp),
        "Ether(src=mac, dst=BROADCAST)/IP(src=ip4, dst='255.255.255.255')/udp(sport=67, dport=68)\
         /BOOTP(op=2, yiaddr=victim4, siaddr=ip4)/DHCP(options=[('message-type', 'offer'), ('server_id', ip4), 'end'])"),

    // ICMP.
    (Pod, "IPv4 redirect", Some(UnsupportedIcmp), "eth/v4/ICMP(type=5, code=1, gw=ip4)/v4/syn"),
    (Pod, "timestamp request", Some(UnsupportedIcmp), "eth/v4/ICMP(type=13)"),
    (Pod, "echo reply to nothing", Some(NoConnection), "eth/v4/ICMP(type=0, id=port)"),
    (Pod, "error about no connection", Some(UnrelatedIcmp),
        "eth/v4/ICMP(type=3, code=3)/IP(src=victim4, dst=ip4)/udp(sport=9000, dport=port)"),
    (Pod, "too big about no connection", Some(UnrelatedIcmp),
        "eth/v6/ICMPv6PacketTooBig(mtu=1280)/IPv6(src=victim6, dst=ip6)/tcp('A', sport=80, dport=port)"),
    (Outside, "IPv4 redirect", Some(UnsupportedIcmp), "eth/v4/ICMP(type=5, code=1, gw=ip4)/v4/syn"),

    // Ethernet.
    (Pod, "double tag", Some(StackedVlan), "eth/Dot1Q(vlan=1)/Dot1Q(vlan=5)/v4/syn"),
    (Pod, "double tag with VLAN 0", Some(StackedVlan), "eth/Dot1Q(vlan=0)/Dot1Q(vlan=0)/v4/syn"),
    (Pod, "service tag", Some(StackedVlan), "eth/Dot1AD(vlan=1)/Dot1Q(vlan=5)/v4/syn"),
    (Pod, "priority tag", Some(PriorityTag), "eth/Dot1Q(vlan=0, prio=5)/v4/syn"),
    (Pod, "tag of another network", Some(ForeignVlan), "eth/Dot1Q(vlan=5)/v4/syn"),
    (Pod, "LLC and SNAP", Some(Llc), "Dot3(src=mac, dst=victim_mac)/LLC(dsap=0xaa, ssap=0xaa, ctrl=3)/SNAP(code=0x0800)/v4/syn"),
    (Pod, "VLAN 0, LLC and SNAP", Some(Llc),
        "eth/Dot1Q(vlan=0, type=48)/LLC(dsap=0xaa, ssap=0xaa, ctrl=3)/SNAP(code=0x0800)/v4/syn"),
    (Pod, "an Ethertype of its own", Some(UnsupportedEthertype), "Ether(src=mac, dst=victim_mac, type=0x88b5)/v4/syn"),
    (Outside, "double tag", Some(StackedVlan), "eth/Dot1Q(vlan=1)/Dot1Q(vlan=5)/v4/syn"),
];

#[test]
fn no_crafted_frame_reaches_the_victim_and_each_is_counted_under_its_reason() {
    if !python_or_skip("scapy") {
        return;
    }
    let _turn = turn();
    let stage = stage();
    enforce(&stage);
    let victim = seat(&stage, SERVER);
    let mut watch = Watch::start(&stage, victim);
    let mut senders = [Sender::in_pod(&stage, victim), Sender::outside(&stage, victim)];

    // What has nothing wrong with it does arrive, mark and all.
    for (number, sender) in senders.iter_mut().enumerate() {
        for (place, frames) in
            ["eth/v4/syn", "eth/v6/syn", "eth/v4/udp()/b'hello'", "eth/nd/ICMPv6ND_NS(tgt=victim6)"]
                .iter()
                .enumerate()
        {
            let mark = format!("<h{number}{place}>");
            sender.send(900 + place, &mark, frames);
            watch.settle(&sender.namespace);
            assert!(watch.capture.has(mark.as_bytes()), "{frames} does not arrive");
        }
    }

    let mut wrong = String::new();
    for (number, &(origin, name, reason, frames)) in CASES.iter().enumerate() {
        let sender = &mut senders[usize::from(origin == Outside)];
        let before = watch.drops(&sender.interface);
        let mark = format!("<#{number:03}>");
        let sent = sender.send(number, &mark, frames);
        watch.settle(&sender.namespace);
        let after = watch.drops(&sender.interface);
        let seen = watch.capture.has(mark.as_bytes());
        if seen || moved(&before, &after, reason) < sent {
            let expected = reason.map_or("any", DropReason::name);
            let (got, side) = (describe(&before, &after), sender.interface.as_str());
            let _ = writeln!(
                wrong,
                "{name} from {side}: seen by the victim: {seen}; expected drops for {expected}: {sent}, got: {got}"
            );
        }
    }

    assert!(wrong.is_empty(), "{wrong}\nsluiced says:\n{}", stage.log_tail());
}

/// A scapy that builds frames and puts them on the wire as they are.
struct Sender {
    namespace: Namespace,
    /// Sluice's port that they come in by.
    interface: String,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _program: Running,
}

impl Sender {
    fn in_pod(stage: &Stage, victim: &Seat) -> Self {
        let Seat { namespace, addresses, interface, .. } = seat(stage, ATTACKER);
        Self::start(namespace, interface, &addresses.map(|address| address.to_string()), victim)
    }

    fn outside(stage: &Stage, victim: &Seat) -> Self {
        Self::start(&stage.outside, "up0", &GATEWAYS.map(String::from), victim)
    }

    fn start(
        namespace: &Namespace,
        interface: &str,
        [ip4, ip6]: &[String; 2],
        victim: &Seat,
    ) -> Self {
        let [victim4, victim6] = victim.addresses.map(|address| address.to_string());
        let mut command = Command::new(PYTHON);
        command.args(["-c", include_str!("scapy.py"), "eth0", ip4, ip6, &victim.mac]);
        command.args([&victim4, &victim6]).args(GATEWAYS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Running::start(namespace, command);
        let input = program.0.stdin.take().unwrap();
        let output = BufReader::new(program.0.stdout.take().unwrap());
        let (namespace, interface) = (namespace.clone(), interface.to_owned());
        Self { namespace, interface, input, output, _program: program }
    }

    /// How many frames it was.
    fn send(&mut self, number: usize, mark: &str, frames: &str) -> u64 {
        writeln!(self.input, "{number}\t{mark}\t{frames}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap_or_else(|_| panic!("scapy cannot make {frames}"))
    }
}

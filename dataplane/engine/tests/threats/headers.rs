//! Headers that lie, hide or end too soon.

use sluice_core::drop::DropReason::{self, *};
use sluice_core::ports::TCP;

use crate::packets::{Packet, arp_request, opaque, ping, sctp, tcp, udp};
use crate::{At, tell};

tell!(
    case_08_options_before_a_denied_port,
    case_09_extension_headers_repeated_unordered_or_without_end,
    case_10_a_routing_header_of_type_0,
    case_11_esp_and_unknown_protocols_under_a_rule_for_ports,
    case_12_source_routes,
    case_13_headers_cut_off_at_every_byte,
    case_13_lengths_that_contradict_the_frame,
    case_13_transport_headers_that_end_too_soon,
    case_14_padding_behind_the_packet,
    case_15_tunnels_of_a_pod,
    case_16_addresses_that_nobody_has,
    case_17_flags_that_no_host_sends,
    checksums_that_do_not_fit,
);

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// An extension header of eight bytes that holds nothing but padding.
const EMPTY: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

fn case_08_options_before_a_denied_port(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let chains = [&[HOP_BY_HOP][..], &[DESTINATION], &[HOP_BY_HOP, DESTINATION]];
    for (chain, port) in chains.into_iter().zip(4000..) {
        let to = |server| behind(chain, tcp(&format!("client:{port}"), server));
        story.sends("client", to("server:81")).dropped(IngressDenied);
        story.sends("client", to("server:80")).reaches("server");
    }
}

/// A packet over IPv6 behind empty extension headers.
fn behind(chain: &[u8], packet: Packet) -> Packet {
    chain.iter().fold(packet.v6(), |packet, protocol| packet.extension(*protocol, &EMPTY))
}

fn case_09_extension_headers_repeated_unordered_or_without_end(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let segment = || tcp("client:4000", "server:80");
    let chains = [
        &[HOP_BY_HOP, HOP_BY_HOP][..],
        &[DESTINATION, HOP_BY_HOP],
        &[DESTINATION, DESTINATION, DESTINATION],
        &[DESTINATION; 9],
        &[DESTINATION; 100],
    ];
    for chain in chains {
        story.sends("client", behind(chain, segment())).dropped(ExtensionHeaders);
    }
    // Authentication headers count in words of four bytes.
    let mut twice = segment().v6();
    for _ in 0..2 {
        twice = twice.extension(AUTHENTICATION, &[0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]);
    }
    story.sends("client", twice).dropped(ExtensionHeaders);
    // One that says that it goes on behind the packet.
    let endless = segment().v6().extension(DESTINATION, &[0, 200, 1, 4, 0, 0, 0, 0]);
    story.sends("client", endless).dropped(MalformedIpv6);
    story.tracks(0);
}

fn case_10_a_routing_header_of_type_0(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let segment = || tcp("client:4000", "server:80").v6();
    let routing =
        |kind, segments_left| [&[0, 2, kind, segments_left, 0, 0, 0, 0][..], &[0xfd; 16]].concat();
    for segments_left in [0, 1, 255] {
        let packet = segment().extension(ROUTING, &routing(0, segments_left));
        story.sends("client", packet).dropped(RoutingHeader0);
    }
    // Behind another header it is the same.
    let hidden = segment().extension(DESTINATION, &EMPTY).extension(ROUTING, &routing(0, 1));
    story.sends("client", hidden).dropped(RoutingHeader0);
    // Other types redirect as well while segments are left.
    for kind in [2, 3, 4] {
        story.sends("client", segment().extension(ROUTING, &routing(kind, 1))).dropped(SourceRoute);
    }
    story.sends("client", segment().extension(ROUTING, &routing(4, 0))).reaches("server");
}

fn case_11_esp_and_unknown_protocols_under_a_rule_for_ports(at: At) {
    let mut story = at.story("client -> server tcp/0-65535,udp/0-65535; others denied");
    let body = [0u8; 64];
    // ESP, EIGRP, and two of RFC 3692 for experiments.
    for protocol in [50, 88, 253, 254] {
        for v6 in [false, true] {
            let packet = opaque("client", "server", protocol, &body).over(v6);
            story.sends("client", packet).dropped(IngressDenied);
        }
    }
    // Transport headers within them are nobody's business.
    let inner = tcp("client:4000", "server:80").ip(story.cast);
    story.sends("client", opaque("client", "server", 50, &inner[20..])).dropped(IngressDenied);
    story.rules("client -> server; others denied");
    story.sends("client", opaque("client", "server", 50, &body)).reaches("server");
    story.sends("server", opaque("server", "client", 50, &body)).reaches("client");
    story.sends("other", opaque("other", "server", 50, &body)).dropped(IngressDenied);
}

fn case_12_source_routes(at: At) {
    let mut story = at.story("client+router/32 -> server tcp/80; others denied");
    let loose = [131, 7, 4, 10, 0, 0, 9, 0];
    let strict = [137, 7, 4, 10, 0, 0, 9, 0];
    let behind_others = [1, 1, 148, 4, 0, 0, 131, 7, 4, 10, 0, 0, 9, 0, 0, 0];
    for options in [&loose[..], &strict, &behind_others] {
        let packet = tcp("client:4000", "server:80").options(options);
        story.sends("client", packet).dropped(SourceRoute);
        let packet = tcp("router:4000", "server:80").options(options);
        story.sends("uplink", packet).dropped(SourceRoute);
    }
    // An option without an end, and one of no length, hide what is behind them.
    for options in [[148, 9, 0, 0], [148, 0, 131, 7]] {
        let packet = tcp("client:4000", "server:80").options(&options);
        story.sends("client", packet).dropped(MalformedIpv4);
    }
    let router_alert = tcp("client:4000", "server:80").options(&[148, 4, 0, 0]);
    story.sends("client", router_alert).reaches("server");
}

fn case_13_headers_cut_off_at_every_byte(at: At) {
    let mut story = at.story("client -> server; others denied");
    let shortest = story.shortest_frame();
    let whole: [(Vec<u8>, DropReason); 5] = [
        (story.frame(tcp("client:4000", "server:80").data(b"data")), MalformedIpv4),
        (story.frame(udp("client:4000", "server:53").options(&[1, 1, 1, 0])), MalformedIpv4),
        (
            story.frame(behind(&[HOP_BY_HOP, DESTINATION], tcp("client:1", "server:2"))),
            MalformedIpv6,
        ),
        (story.frame(ping("client", "server", 7).v6()), MalformedIpv6),
        (story.frame(arp_request("client", "server")), MalformedArp),
    ];
    for (frame, reason) in whole {
        for len in shortest..frame.len() {
            let reason = if len < 14 { MalformedEthernet } else { reason };
            story.sends("client", frame[..len].to_vec()).dropped(reason);
        }
    }
    let tagged = story.frame(udp("client:4000", "server:53").tag(0x8100, 5));
    for len in 14..18 {
        story.sends("client", tagged[..len].to_vec()).dropped(MalformedEthernet);
    }
}

fn case_13_lengths_that_contradict_the_frame(at: At) {
    let mut story = at.story("client -> server; others denied");
    let segment = || tcp("client:4000", "server:80").data(b"data");
    for words in 0..5 {
        let packet = segment().edit_ip(move |ip| ip[0] = 0x40 | words);
        story.sends("client", packet).dropped(MalformedIpv4);
    }
    for len in [0u16, 19, 45, 1500, 65535] {
        let packet = segment().edit_ip(move |ip| ip[2..4].copy_from_slice(&len.to_be_bytes()));
        story.sends("client", packet).dropped(MalformedIpv4);
    }
    for len in [25u16, 1500, 65535] {
        let packet = segment().v6().edit_ip(move |ip| ip[4..6].copy_from_slice(&len.to_be_bytes()));
        story.sends("client", packet).dropped(MalformedIpv6);
    }
    // The version is not that of the Ethertype.
    story.sends("client", segment().edit_ip(|ip| ip[0] = 0x65)).dropped(MalformedIpv4);
    story.sends("client", segment().v6().edit_ip(|ip| ip[0] = 0x40)).dropped(MalformedIpv6);
    for len in [0u16, 7, 15, 600] {
        let edit = move |udp: &mut Vec<u8>| udp[4..6].copy_from_slice(&len.to_be_bytes());
        let packet = udp("client:4000", "server:53").edit_transport(edit);
        story.sends("client", packet).dropped(MalformedUdp);
    }
    story.tracks(0);
}

fn case_13_transport_headers_that_end_too_soon(at: At) {
    let mut story = at.story("client -> server; others denied");
    let bodies = [
        (TCP, tcp("client:4000", "server:80").flags("PA"), 20, MalformedTcp),
        (17, udp("client:4000", "server:53").data(b""), 8, MalformedUdp),
        (132, sctp("client:4000", "server:80", 0, &[]), 12, MalformedSctp),
        (1, ping("client", "server", 9).data(b""), 8, MalformedIcmp),
    ];
    for (protocol, packet, header_len, reason) in bodies {
        let transport = packet.ip(story.cast)[20..].to_vec();
        for len in 0..header_len {
            let cut = opaque("client", "server", protocol, &transport[..len]);
            story.sends("client", cut).dropped(reason);
        }
    }
    for words in [0, 4, 6, 15] {
        let packet =
            tcp("client:4000", "server:80").edit_transport(move |tcp| tcp[12] = words << 4);
        story.sends("client", packet).dropped(MalformedTcp);
    }
    story.tracks(0);
}

fn case_14_padding_behind_the_packet(at: At) {
    let mut story = at.story("client -> server tcp/80,udp/53; others denied");
    for (padding, port) in [1, 6, 46, 400].into_iter().zip(4000..) {
        let client = format!("client:{port}");
        for v6 in [false, true] {
            for packet in [tcp(&client, "server:80"), udp(&client, "server:53")] {
                story.sends("client", packet.over(v6).padding(padding)).reaches("server");
            }
            let denied = tcp(&client, "server:81").over(v6).padding(padding);
            story.sends("client", denied).dropped(IngressDenied);
        }
    }
    // What looks like a header behind the end is none.
    let allowed = tcp("client:4100", "server:80").ip(story.cast);
    let disguised = tcp("client:4100", "server:81").edit(move |frame| frame.extend(&allowed));
    story.sends("client", disguised).dropped(IngressDenied);
}

fn case_15_tunnels_of_a_pod(at: At) {
    let mut story = at.story("client -> server tcp/0-65535; others denied");
    let inner4 = tcp("client:4000", "server:80").ip(story.cast);
    let inner6 = tcp("client:4000", "server:80").v6().ip(story.cast);
    let gre =
        |ether_type: u16, inner: &[u8]| [&[0, 0][..], &ether_type.to_be_bytes(), inner].concat();
    // IPv4 and IPv6 within IP, and GRE around both.
    let tunnels = [
        (4, inner4.clone()),
        (41, inner6.clone()),
        (47, gre(0x0800, &inner4)),
        (47, gre(0x86dd, &inner6)),
    ];
    for (protocol, body) in tunnels {
        for v6 in [false, true] {
            let packet = opaque("client", "server", protocol, &body).over(v6);
            story.sends("client", packet).dropped(IngressDenied);
        }
    }
    let frame = story.frame(tcp("client:4000", "server:80"));
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame].concat();
    let geneve = [&[0, 0, 0x65, 0x58, 0, 0, 1, 0][..], &frame].concat();
    for (port, body) in [(4789, &vxlan), (8472, &vxlan), (6081, &geneve)] {
        let packet = udp("client:4000", &format!("server:{port}")).data(body);
        story.sends("client", packet).dropped(IngressDenied);
    }
    // The same to the outside, where egress is what forbids it.
    story.rules("client => all tcp/0-65535");
    story.sends("client", opaque("client", "router", 4, &inner4)).dropped(EgressDenied);
    story.sends("client", udp("client:4000", "router:4789").data(&vxlan)).dropped(EgressDenied);
    story.tracks(0);
}

fn case_16_addresses_that_nobody_has(at: At) {
    let mut story = at.story("all -> server; all -> client");
    let v4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "224.0.0.1", "255.255.255.255"];
    let v6 = ["::", "::1", "ff02::1", "::ffff:10.1.0.1", "::10.1.0.1"];
    for (port, sender) in [("client", "client:4000"), ("uplink", "stranger:4000")] {
        for address in v4 {
            let packet = udp(sender, "server:53").source_address(address);
            story.sends(port, packet).dropped(Martian);
        }
        for address in v6 {
            let packet = udp(sender, "server:53").v6().source_address(address);
            story.sends(port, packet).dropped(Martian);
        }
        for address in ["0.0.0.0", "127.0.0.1"] {
            let packet = udp(sender, "server:53").destination_address(address);
            story.sends(port, packet).dropped(Martian);
        }
        for address in ["::", "::1", "::ffff:10.1.0.2"] {
            let packet = udp(sender, "server:53").v6().destination_address(address);
            story.sends(port, packet).dropped(Martian);
        }
        // A packet from somebody to himself, known as LAND.
        for v6 in [false, true] {
            let own = story.cast.address("server", v6).to_string();
            let land = tcp(sender, "server:80").over(v6).source_address(&own);
            story.sends(port, land).dropped(Martian);
        }
    }
    story.tracks(0);
}

fn case_17_flags_that_no_host_sends(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let segment = tcp("client:4000", "server:80");
    for flags in ["SF", "SR", "SFRPAU", "FR", "", "FPU", "F", "PU"] {
        for v6 in [false, true] {
            story.sends("client", segment.clone().over(v6).flags(flags)).dropped(InvalidTcpFlags);
        }
    }
    story.sends("client", tcp("client:4000", "server:81")).dropped(IngressDenied);
    story.tracks(0);
    story.sends("client", &segment).reaches("server");
    story.tracks(1);
}

fn checksums_that_do_not_fit(at: At) {
    let mut story = at.story("client -> server; others denied");
    for v6 in [false, true] {
        let behind_ip = if v6 { 54 } else { 34 };
        let packets = [
            (tcp("client:4000", "server:80"), 16),
            (udp("client:4000", "server:53"), 6),
            (ping("client", "server", 3), 2),
        ];
        for (packet, field) in packets {
            let spoil = move |frame: &mut Vec<u8>| frame[behind_ip + field] ^= 0x40;
            story.sends("client", packet.over(v6).edit(spoil)).dropped(BadChecksum);
        }
    }
    let header = tcp("client:4000", "server:80").edit(|frame| frame[24] ^= 1);
    story.sends("client", header).dropped(BadChecksum);
    story.tracks(0);
}

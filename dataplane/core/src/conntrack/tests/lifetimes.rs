//! How long connections live, and which packets keep them alive.

use super::*;
use crate::packet::{Chunks, SctpPacket};

#[test]
fn each_step_of_an_exchange_has_its_time() {
    let timeouts = Timeouts {
        udp_single: Duration::from_secs(1),
        udp_answered: Duration::from_secs(2),
        udp_ongoing: Duration::from_secs(3),
        ..Timeouts::default()
    };
    let limits = Limits { connections_max: 1, account_connections_max: 1 };
    let steps = [
        (true, Exchange::Single, 1),
        (false, Exchange::Answered, 2),
        (false, Exchange::Answered, 2),
        (true, Exchange::Ongoing, 3),
        (false, Exchange::Ongoing, 3),
    ];
    for count in 0..=steps.len() {
        let mut connections = Connections::new(limits, timeouts, FlowHasher::seeded(7));
        connections.add(0, Time(0)).unwrap();
        let mut lasts = 1;
        for (by_opener, exchange, seconds) in &steps[..count] {
            let mut found = connections.found(0, Time(0)).unwrap();
            found.follow(&DATAGRAM, false, *by_opener).unwrap();
            assert_eq!(found.state(), State::Udp(*exchange));
            lasts = *seconds;
        }
        let end = Time(0) + Duration::from_secs(lasts);
        assert!(connections.found(0, Time(end.0 - 1)).is_some(), "{count}");
        assert!(connections.found(0, end).is_none(), "{count}");
    }
}

#[test]
fn what_anybody_may_have_sent_keeps_no_connection_alive() {
    let (mut connections, _) = table(4);
    let begin = Time(0);
    let later = begin + Duration::from_secs(50);
    let end = begin + connections.timeouts().tcp_opening;
    connections.open_for(Account(1), 0, &SYN, begin).unwrap();
    connections.segments(0, [(SYN, true)], later);
    assert!(connections.found(0, end).is_none(), "asked twice, answered never");

    connections.open_for(Account(1), 1, &SYN, begin).unwrap();
    connections.segments(1, handshake(), begin);
    let end = begin + connections.timeouts().tcp_established;
    // A SYN and a reset that both are answered by a challenge: somebody may be guessing.
    let anybodys = [
        (segment(9999, 0, TcpFlags::SYN), true),
        (segment(9999, 0, TcpFlags::SYN), false),
        (segment(110, 0, TcpFlags::RST), true),
    ];
    connections.segments(1, anybodys, later);
    assert_eq!(connections.found(1, later).unwrap().state(), State::Tcp(TcpState::Established));
    assert!(connections.found(1, Time(end.0 - 1)).is_some());
    assert!(connections.found(1, end).is_none());

    connections.open_for(Account(1), 2, &SYN, begin).unwrap();
    connections.segments(2, handshake(), begin);
    connections.segments(2, [(segment(101, 301, TcpFlags::ACK), true)], later);
    assert!(connections.found(2, end).is_some(), "a segment that fits does");
}

#[test]
fn stragglers_keep_a_closed_connection_and_resets_do_not() {
    let fin = TcpFlags::FIN | TcpFlags::ACK;
    let second = Duration::from_secs(1);
    let closing = [(segment(101, 301, fin), true), (segment(301, 102, fin), false)];
    for (straggler, by_opener, lasts) in [
        (segment(101, 301, fin), true, true),
        (segment(301, 102, TcpFlags::ACK), false, true),
        (segment(102, 0, TcpFlags::RST), true, false),
    ] {
        let (mut connections, _) = table(4);
        connections.open_for(Account(1), 0, &SYN, Time(0)).unwrap();
        connections.segments(0, handshake(), Time(0));
        connections.segments(0, closing, Time(0));
        let closed = connections.timeouts().tcp_closed;
        let late = Time(0) + (closed - second);
        connections.segments(0, [(straggler, by_opener)], late);
        assert!(connections.found(0, late).unwrap().state().is_closed());
        assert_eq!(connections.found(0, Time(0) + closed).is_some(), lasts, "{straggler:?}");
        assert!(connections.found(0, late + closed).is_none());
        // It still is the first to go.
        for n in 1..5 {
            connections.open_for(Account(1), n, &DATAGRAM, late).unwrap();
        }
        assert!(connections.found(0, late).is_none());
    }
}

#[test]
fn an_init_that_anybody_may_have_sent_keeps_no_association_alive() {
    let packet = |tag, chunks| {
        Transport::Sctp(SctpPacket { ports: Ports { source: 1, destination: 2 }, tag, chunks })
    };
    let init = packet(0, Chunks { init: Some(7), ..Chunks::default() });
    let (mut connections, _) = table(4);
    connections.open_for(Account(1), 0, &init, Time(0)).unwrap();
    let later = Time(0) + Duration::from_secs(1);
    connections.segments(0, [(init, true), (init, false)], later);
    let end = Time(0) + connections.timeouts().sctp_opening;
    assert!(connections.found(0, end).is_none());
}

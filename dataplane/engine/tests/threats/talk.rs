//! TCP connections with right numbers.

use crate::cast::PORTS;
use crate::packets::{Packet, tcp};
use crate::story::Story;

/// A TCP connection as its two ends see it.
#[derive(Clone)]
pub(crate) struct Talk {
    client: String,
    server: String,
    v6: bool,
    client_next: u32,
    server_next: u32,
}

/// The port that somebody's frames come in by.
pub(crate) fn port_of(end: &str) -> &'static str {
    let name = end.split(':').next().unwrap_or_default();
    PORTS.into_iter().find(|port| *port == name).unwrap_or("uplink")
}

impl Talk {
    /// Before the first segment.
    pub(crate) fn new(client: &str, server: &str, v6: bool) -> Self {
        let (client, server) = (client.to_owned(), server.to_owned());
        Self { client, server, v6, client_next: 10_000, server_next: 90_000 }
    }

    /// After a handshake that nothing has held up.
    #[track_caller]
    pub(crate) fn open(story: &mut Story, client: &str, server: &str) -> Self {
        let mut talk = Self::new(client, server, false);
        talk.shake_hands(story);
        talk
    }

    #[track_caller]
    pub(crate) fn shake_hands(&mut self, story: &mut Story) {
        let syn = self.client_says("S", b"");
        self.client_sends(story, &syn);
        let answer = self.server_says("SA", b"");
        self.server_sends(story, &answer);
        let acknowledgement = self.client_says("A", b"");
        self.client_sends(story, &acknowledgement);
    }

    /// Something said by each end, which arrives.
    #[track_caller]
    pub(crate) fn goes_on(&mut self, story: &mut Story) {
        let question = self.client_says("PA", b"still there?");
        self.client_sends(story, &question);
        let answer = self.server_says("PA", b"yes");
        self.server_sends(story, &answer);
    }

    /// Both ends close it.
    #[track_caller]
    pub(crate) fn close(&mut self, story: &mut Story) {
        let fin = self.client_says("FA", b"");
        self.client_sends(story, &fin);
        let answer = self.server_says("FA", b"");
        self.server_sends(story, &answer);
        let last = self.client_says("A", b"");
        self.client_sends(story, &last);
    }

    /// The next segment of the client.
    pub(crate) fn client_says(&mut self, flags: &str, data: &[u8]) -> Packet {
        let packet = tcp(&self.client, &self.server).over(self.v6).flags(flags).data(data);
        let packet = packet.numbers(self.client_next, self.acknowledged(flags, self.server_next));
        self.client_next = self.client_next.wrapping_add(length(flags, data));
        packet
    }

    /// The next segment of the server.
    pub(crate) fn server_says(&mut self, flags: &str, data: &[u8]) -> Packet {
        let packet = tcp(&self.server, &self.client).over(self.v6).flags(flags).data(data);
        let packet = packet.numbers(self.server_next, self.acknowledged(flags, self.client_next));
        self.server_next = self.server_next.wrapping_add(length(flags, data));
        packet
    }

    /// A segment of the server that is so far ahead of what it should send.
    pub(crate) fn server_says_ahead(&self, flags: &str, distance: u32) -> Packet {
        let sequence = self.server_next.wrapping_add(distance);
        let packet = tcp(&self.server, &self.client).over(self.v6).flags(flags);
        packet.numbers(sequence, self.acknowledged(flags, self.client_next))
    }

    #[track_caller]
    pub(crate) fn client_sends(&self, story: &mut Story, packet: &Packet) {
        story.sends(port_of(&self.client), packet).reaches(port_of(&self.server));
    }

    #[track_caller]
    pub(crate) fn server_sends(&self, story: &mut Story, packet: &Packet) {
        story.sends(port_of(&self.server), packet).reaches(port_of(&self.client));
    }

    fn acknowledged(&self, flags: &str, other_next: u32) -> u32 {
        if flags.contains('A') { other_next } else { 0 }
    }
}

/// How much of the sequence space a segment takes.
fn length(flags: &str, data: &[u8]) -> u32 {
    let marks = flags.chars().filter(|flag| matches!(flag, 'S' | 'F')).count();
    u32::try_from(marks + data.len()).unwrap()
}

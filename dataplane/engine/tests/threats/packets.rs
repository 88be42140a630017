//! Packets, right in every checksum, and what makes them wrong.
//!
//! Ends are written `client:4000`. Nothing is bytes before [`Build::frame`] is asked (see
//! `bytes.rs`), since only a story knows who has which address.

use std::net::IpAddr;
use std::rc::Rc;

use sluice_core::address::Mac;

use crate::cast::Cast;

/// What becomes a frame.
pub(crate) trait Build {
    fn frame(&self, cast: Cast) -> Vec<u8>;
}

pub(crate) type Edit = Rc<dyn Fn(&mut Vec<u8>)>;

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) v6: bool,
    pub(crate) body: Body,
    pub(crate) hop_limit: u8,
    pub(crate) id: u32,
    pub(crate) options: Vec<u8>,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) inner_extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) piece: Option<Piece>,
    pub(crate) tags: Vec<[u8; 4]>,
    pub(crate) padding: usize,
    pub(crate) transport_edits: Vec<Edit>,
    pub(crate) ip_edits: Vec<Edit>,
    pub(crate) edits: Vec<Edit>,
}

#[derive(Clone)]
pub(crate) struct End {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) mac: Option<Mac>,
    pub(crate) address: Option<IpAddr>,
}

#[derive(Clone)]
pub(crate) enum Body {
    Tcp(Tcp),
    Udp(Vec<u8>),
    Sctp { tag: u32, chunks: Vec<u8> },
    Icmp { kind: u8, code: u8, word: [u8; 4], data: Vec<u8> },
    IcmpError { kind: u8, code: u8, word: [u8; 4], quoted: Box<Packet> },
    Opaque { protocol: u8, data: Vec<u8> },
}

#[derive(Clone)]
pub(crate) struct Tcp {
    pub(crate) flags: String,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    pub(crate) data: Vec<u8>,
}

/// A part of a datagram's payload.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) bytes: Bytes,
    pub(crate) more: bool,
}

#[derive(Clone)]
pub(crate) enum Bytes {
    /// So many of the datagram's own.
    Own(usize),
    Forged(Vec<u8>),
}

pub(crate) fn tcp(source: &str, destination: &str) -> Packet {
    let tcp = Tcp {
        flags: "S".into(),
        sequence: 1000,
        acknowledgement: 0,
        window: 65_000,
        data: Vec::new(),
    };
    Packet::new(source, destination, Body::Tcp(tcp))
}

pub(crate) fn udp(source: &str, destination: &str) -> Packet {
    Packet::new(source, destination, Body::Udp(b"which?".to_vec()))
}

pub(crate) fn sctp(source: &str, destination: &str, tag: u32, chunks: &[u8]) -> Packet {
    Packet::new(source, destination, Body::Sctp { tag, chunks: chunks.to_vec() })
}

/// An echo request.
pub(crate) fn ping(source: &str, destination: &str, id: u16) -> Packet {
    Packet::icmp_of(source, destination, 8, id)
}

/// An echo reply.
pub(crate) fn pong(source: &str, destination: &str, id: u16) -> Packet {
    Packet::icmp_of(source, destination, 0, id)
}

/// An ICMP message of IPv4, or of IPv6 with [`Packet::v6`].
pub(crate) fn icmp(
    source: &str,
    destination: &str,
    kind: u8,
    word: [u8; 4],
    data: &[u8],
) -> Packet {
    let body = Body::Icmp { kind, code: 0, word, data: data.to_vec() };
    Packet::new(source, destination, body)
}

/// Fragmentation needed, or packet too big, about a packet; from its receiver's side.
pub(crate) fn too_big(source: &str, quoted: &Packet) -> Packet {
    let (kind, code) = if quoted.v6 { (2, 0) } else { (3, 4) };
    error_about(source, quoted, kind, code)
}

/// An ICMP error to the sender of the packet that it is about.
pub(crate) fn error_about(source: &str, quoted: &Packet, kind: u8, code: u8) -> Packet {
    let word = 1280u32.to_be_bytes();
    let to = quoted.source.name.clone();
    let body = Body::IcmpError { kind, code, word, quoted: Box::new(quoted.clone()) };
    Packet { v6: quoted.v6, ..Packet::new(source, &to, body) }
}

/// A packet of another protocol.
pub(crate) fn opaque(source: &str, destination: &str, protocol: u8, data: &[u8]) -> Packet {
    Packet::new(source, destination, Body::Opaque { protocol, data: data.to_vec() })
}

/// A neighbour discovery message: its type, and what follows the checksum.
pub(crate) fn neighbour(source: &str, destination: &str, kind: u8, rest: &[u8]) -> Packet {
    let (word, data) = rest.split_first_chunk::<4>().unwrap();
    icmp(source, destination, kind, *word, data).v6().hop_limit(255)
}

impl Packet {
    fn new(source: &str, destination: &str, body: Body) -> Self {
        Self {
            source: End::read(source),
            destination: End::read(destination),
            v6: false,
            body,
            hop_limit: 64,
            id: 0x5c1c,
            options: Vec::new(),
            extensions: Vec::new(),
            inner_extensions: Vec::new(),
            piece: None,
            tags: Vec::new(),
            padding: 0,
            transport_edits: Vec::new(),
            ip_edits: Vec::new(),
            edits: Vec::new(),
        }
    }

    fn icmp_of(source: &str, destination: &str, kind: u8, id: u16) -> Self {
        let [high, low] = id.to_be_bytes();
        icmp(source, destination, kind, [high, low, 0, 1], b"marco")
    }

    /// The same over IPv6; echoes become those of ICMPv6.
    pub(crate) fn v6(mut self) -> Self {
        self.v6 = true;
        if let Body::Icmp { kind, .. } = &mut self.body {
            *kind = match *kind {
                8 => 128,
                0 => 129,
                other => other,
            };
        }
        self
    }

    /// Over IPv4 or IPv6.
    pub(crate) fn over(self, v6: bool) -> Self {
        if v6 { self.v6() } else { self }
    }

    fn tcp(mut self, change: impl FnOnce(&mut Tcp)) -> Self {
        let Body::Tcp(tcp) = &mut self.body else { panic!("no TCP segment") };
        change(tcp);
        self
    }

    /// TCP flags by their first letters: `S`, `A`, `F`, `R`, `P`, `U`.
    pub(crate) fn flags(self, flags: &str) -> Self {
        self.tcp(|tcp| tcp.flags = flags.into())
    }

    /// Sequence and acknowledgement numbers.
    pub(crate) fn numbers(self, sequence: u32, acknowledgement: u32) -> Self {
        self.tcp(|tcp| (tcp.sequence, tcp.acknowledgement) = (sequence, acknowledgement))
    }

    pub(crate) fn data(mut self, bytes: &[u8]) -> Self {
        match &mut self.body {
            Body::Tcp(Tcp { data, .. })
            | Body::Udp(data)
            | Body::Icmp { data, .. }
            | Body::Opaque { data, .. } => *data = bytes.to_vec(),
            Body::Sctp { .. } | Body::IcmpError { .. } => panic!("it has no data"),
        }
        self
    }

    pub(crate) fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// The identification of its fragments.
    pub(crate) fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// IPv4 options; a multiple of four bytes.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// One more IPv6 extension header, before that of fragments: its protocol, and its bytes, of
    /// which the first will be that of the header behind it.
    pub(crate) fn extension(mut self, protocol: u8, bytes: &[u8]) -> Self {
        self.extensions.push((protocol, bytes.to_vec()));
        self
    }

    /// One more IPv6 extension header behind that of fragments.
    pub(crate) fn inner_extension(mut self, protocol: u8, bytes: &[u8]) -> Self {
        self.inner_extensions.push((protocol, bytes.to_vec()));
        self
    }

    /// The part of it from one byte of its payload to another, or to the end.
    pub(crate) fn piece(mut self, start: usize, end: Option<usize>) -> Self {
        let bytes = Bytes::Own(end.map_or(usize::MAX, |end| end - start));
        self.piece = Some(Piece { offset: start, bytes, more: end.is_some() });
        self
    }

    /// Forged bytes in place of a part.
    pub(crate) fn forged_piece(mut self, offset: usize, bytes: &[u8], more: bool) -> Self {
        self.piece = Some(Piece { offset, bytes: Bytes::Forged(bytes.to_vec()), more });
        self
    }

    /// All of it in parts, cut at these bytes of its payload.
    pub(crate) fn pieces(&self, cuts: &[usize]) -> Vec<Self> {
        let starts = [0].iter().chain(cuts);
        let ends = cuts.iter().map(|cut| Some(*cut)).chain([None]);
        starts.zip(ends).map(|(start, end)| self.clone().piece(*start, end)).collect()
    }

    pub(crate) fn source_mac(mut self, mac: Mac) -> Self {
        self.source.mac = Some(mac);
        self
    }

    pub(crate) fn destination_mac(mut self, mac: Mac) -> Self {
        self.destination.mac = Some(mac);
        self
    }

    pub(crate) fn source_address(mut self, address: &str) -> Self {
        self.source.address = Some(address.parse().unwrap());
        self
    }

    pub(crate) fn destination_address(mut self, address: &str) -> Self {
        self.destination.address = Some(address.parse().unwrap());
        self
    }

    /// One more tag, behind those that it has: protocol identifier and VLAN id.
    pub(crate) fn tag(mut self, protocol: u16, vlan: u16) -> Self {
        let ([a, b], [c, d]) = (protocol.to_be_bytes(), vlan.to_be_bytes());
        self.tags.push([a, b, c, d]);
        self
    }

    /// So many bytes behind the packet.
    pub(crate) fn padding(mut self, len: usize) -> Self {
        self.padding = len;
        self
    }

    /// Changes the transport header; its checksum is made right again.
    pub(crate) fn edit_transport(mut self, edit: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        self.transport_edits.push(Rc::new(edit));
        self
    }

    /// Changes the IP packet; an IPv4 header's checksum is made right again.
    pub(crate) fn edit_ip(mut self, edit: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        self.ip_edits.push(Rc::new(edit));
        self
    }

    /// Changes the frame.
    pub(crate) fn edit(mut self, edit: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        self.edits.push(Rc::new(edit));
        self
    }
}

impl Build for Vec<u8> {
    fn frame(&self, _: Cast) -> Vec<u8> {
        self.clone()
    }
}

impl<T: Build> Build for &T {
    fn frame(&self, cast: Cast) -> Vec<u8> {
        (*self).frame(cast)
    }
}

impl End {
    fn read(text: &str) -> Self {
        let (name, port) = text.split_once(':').unwrap_or((text, "0"));
        Self { name: name.into(), port: port.parse().unwrap(), mac: None, address: None }
    }
}

/// An ARP packet.
#[derive(Clone)]
pub(crate) struct Arp {
    pub(crate) reply: bool,
    pub(crate) from: &'static str,
    /// The MAC that it claims, if not the sender's own.
    pub(crate) claims_mac: Option<Mac>,
    /// Whose address it claims.
    pub(crate) claims: &'static str,
    pub(crate) target: &'static str,
    pub(crate) to: Mac,
}

/// The question who has an address, to everybody.
pub(crate) fn arp_request(from: &'static str, target: &'static str) -> Arp {
    Arp { reply: false, from, claims_mac: None, claims: from, target, to: Mac::BROADCAST }
}

impl Build for Arp {
    fn frame(&self, cast: Cast) -> Vec<u8> {
        let sender_mac = self.claims_mac.unwrap_or_else(|| cast.mac(self.from));
        let mut bytes = [self.to.0, cast.mac(self.from).0].concat();
        bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, if self.reply { 2 } else { 1 }]);
        bytes.extend(sender_mac.0);
        bytes.extend(cast.v4(self.claims).octets());
        bytes.extend(if self.to.is_group() { [0; 6] } else { self.to.0 });
        bytes.extend(cast.v4(self.target).octets());
        bytes
    }
}

//! Why a packet is dropped: one named reason each, counted per port and worker.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet is dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of [`DropReason::index`].
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name that counters and messages show.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The frame ends within its Ethernet or 802.1Q header.
    MalformedEthernet = "malformed_ethernet",
    /// The frame carries more than one VLAN tag.
    StackedVlan = "stacked_vlan",
    /// The frame has a tag with VLAN id 0, which the port is not configured to take.
    PriorityTag = "priority_tag",
    /// The frame's VLAN does not belong to the port.
    ForeignVlan = "foreign_vlan",
    /// The frame has a length in place of an EtherType: IEEE 802.2 LLC, perhaps with SNAP.
    Llc = "llc",
    /// The frame is neither ARP, IPv4 nor IPv6.
    UnsupportedEthertype = "unsupported_ethertype",
    /// The ARP packet is cut short, longer than padding makes it, or not about Ethernet and IPv4.
    MalformedArp = "malformed_arp",
    /// The IPv4 header is cut short or contradicts the frame's length.
    MalformedIpv4 = "malformed_ipv4",
    /// The IPv6 header or an extension header is cut short or contradicts the frame's length.
    MalformedIpv6 = "malformed_ipv6",
    /// The chain of IPv6 extension headers is too long or out of order, or there is one before
    /// neighbour discovery.
    ExtensionHeaders = "extension_headers",
    /// The packet has a routing header of type 0, which RFC 5095 forbids.
    RoutingHeader0 = "routing_header_0",
    /// The packet has an IPv4 source route, or an IPv6 routing header with segments left.
    SourceRoute = "source_route",
    /// The checksum of the IPv4 header or of the transport does not fit what it covers.
    BadChecksum = "bad_checksum",
    /// The fragment is empty, cut at no multiple of eight bytes, or ends beyond 65,535 bytes.
    MalformedFragment = "malformed_fragment",
    /// The first fragment does not hold the whole chain of headers.
    TinyFragment = "tiny_fragment",
    /// The packet may not be fragmented: an ICMP error, neighbour discovery or a multicast.
    UnsupportedFragment = "unsupported_fragment",
    /// The first fragment of the datagram did not come in time.
    FragmentWithoutFirst = "fragment_without_first",
    /// The fragment overlaps another, or the datagram had one that did.
    FragmentOverlap = "fragment_overlap",
    /// The first fragment of the datagram was dropped, so the rest is.
    FragmentOfDropped = "fragment_of_dropped",
    /// More datagrams are in fragments, or more fragments wait, than Sluice keeps track of.
    FragmentsFull = "fragments_full",
    /// The TCP header is cut short or its data offset points outside the packet.
    MalformedTcp = "malformed_tcp",
    /// The UDP header is cut short or its length contradicts the packet's.
    MalformedUdp = "malformed_udp",
    /// The SCTP header is cut short.
    MalformedSctp = "malformed_sctp",
    /// The ICMP header, or the packet that an ICMP error quotes, is cut short, or neighbour
    /// discovery holds what is not its own.
    MalformedIcmp = "malformed_icmp",
    /// The combination of TCP flags cannot occur in a real connection.
    InvalidTcpFlags = "invalid_tcp_flags",
    /// The port's pod is not part of the rule set in force.
    UnknownEndpoint = "unknown_endpoint",
    /// The source or destination address cannot be one on a network: loopback, unspecified,
    /// IPv4-mapped, a group as source, or both the same.
    Martian = "martian",
    /// The source MAC is not the port's own, or is a group address.
    SpoofedMac = "spoofed_mac",
    /// The source address is not the port's own, or belongs behind another port.
    SpoofedAddress = "spoofed_address",
    /// The ARP packet claims an address that is not the port's own.
    SpoofedArp = "spoofed_arp",
    /// The neighbour discovery message claims an address that is not the port's own.
    SpoofedNeighbour = "spoofed_neighbour",
    /// A pod announces itself as a router, or somebody outside announces one to a pod.
    RogueRouter = "rogue_router",
    /// A pod answers as a DHCP server, or a server outside answers to a pod.
    RogueDhcp = "rogue_dhcp",
    /// The destination address is not one of the pod's that the destination MAC names, or not one
    /// that such neighbour discovery goes to.
    ForeignDestination = "foreign_destination",
    /// The packet belongs to no connection and cannot begin one.
    NoConnection = "no_connection",
    /// The TCP segment lies outside the windows of its connection.
    OutOfWindow = "out_of_window",
    /// The SCTP packet does not bear the tag of its association, or does not fit its state.
    SctpMismatch = "sctp_mismatch",
    /// The connection table is full of connections that have been answered.
    ConntrackFull = "conntrack_full",
    /// The pod has as many connections as it may have, all of them answered.
    ConntrackQuota = "conntrack_quota",
    /// The ICMP error quotes a packet of no known connection.
    UnrelatedIcmp = "unrelated_icmp",
    /// The ICMP type is neither echo nor an error that a connection can cause.
    UnsupportedIcmp = "unsupported_icmp",
    /// A rule of an access list denies it.
    AccessDenied = "access_denied",
    /// No rule of the policies that select the source pod admits it.
    EgressDenied = "egress_denied",
    /// No rule of the policies that select the destination pod admits it.
    IngressDenied = "ingress_denied",
    /// No port of the network is known to hold the destination MAC, and nowhere is left to ask.
    UnknownDestination = "unknown_destination",
    /// The destination MAC lies behind the port that the frame came from.
    SamePort = "same_port",
    /// The port sends more broadcasts, multicasts and frames to unknown destinations than it may,
    /// or a pod more ARP and neighbour discovery.
    FloodLimited = "flood_limited",
    /// The frame does not fit the MTU of the port that it should leave by, or lies in more pieces of
    /// memory than a frame of any port.
    TooBig = "too_big",
    /// The port that the frame should leave by has been removed.
    PortGone = "port_gone",
    /// The transmit ring of the port that the frame should leave by is full.
    TxFull = "tx_full",
    /// The worker that should go on with the frame has no room for it.
    HandoverFull = "handover_full",
    /// No free frame is left to copy a flooded packet into.
    NoFreeFrame = "no_free_frame",
}

impl DropReason {
    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason's place in [`DropReason::ALL`].
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A name that no reason has; says which there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReason(String);

impl std::error::Error for UnknownReason {}

impl std::fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        write!(f, "\"{}\" is no drop reason; want one of {}", self.0, names.join(", "))
    }
}

impl std::str::FromStr for DropReason {
    type Err = UnknownReason;

    /// Reads a reason's name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|reason| reason.name() == name);
        named.copied().ok_or_else(|| UnknownReason(name.to_owned()))
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index_under_a_name_of_its_own() {
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
            assert!(reason.description().ends_with('.'), "{reason}");
            assert_eq!(reason.name().parse(), Ok(*reason));
        }
        let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }

    #[test]
    fn an_unknown_name_is_told_which_there_are() {
        let error = "Fragment".parse::<DropReason>().unwrap_err().to_string();
        assert!(error.starts_with("\"Fragment\" is no drop reason; want one of malformed_"));
        assert!(DropReason::ALL.iter().all(|reason| error.contains(reason.name())), "{error}");
    }
}

//! The kernel as a forwarder: IP forwarding with connection tracking and a set of allowed pairs in
//! nftables.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::cable::router;
use super::{BenchError, Cable, Forwarder, Rig, Setup};
use crate::peers::installed;
use crate::traffic::{DESTINATION_PORT, Family};

/// Routing on the first cable of a rig; dropping it ends it.
pub(crate) struct Kernel<'a> {
    rig: &'a Rig,
    interfaces: [String; 2],
}

const FAMILIES: [(Family, u8); 2] = [(Family::V4, 16), (Family::V6, 112)];

impl<'a> Kernel<'a> {
    pub(crate) fn start(rig: &'a Rig, setup: &Setup) -> Result<Self, BenchError> {
        installed("nft", "nftables")?;
        installed("ethtool", "ethtool")?;
        let forwarder = &rig.forwarder;
        let cable = rig.cable()?;
        let interfaces = cable.interfaces();
        let kernel = Self { rig, interfaces };
        let [inner, outer] = &kernel.interfaces;
        for interface in &kernel.interfaces {
            // Nor does it have anything to say for itself then.
            for (key, value) in [("addr_gen_mode", "1"), ("accept_ra", "0"), ("disable_ipv6", "0")]
            {
                forwarder.sysctl(&format!("net.ipv6.conf.{interface}.{key}"), value)?;
            }
        }
        let sink_mac: Vec<String> =
            cable.sink_mac().iter().map(|byte| format!("{byte:02x}")).collect();
        for (family, len) in FAMILIES {
            let (_, sink) = setup.ends(0, family);
            forwarder.address(inner, &format!("{}/{len}", router(0, family, 1)))?;
            forwarder.address(outer, &format!("{}/{len}", router(0, family, 2)))?;
            forwarder.neighbour(outer, &sink.to_string(), &sink_mac.join(":"))?;
        }
        forwarder.sysctl("net.ipv4.ip_forward", "1")?;
        forwarder.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        // NAPI for a veth without a program comes with GRO.
        kernel.tool("ethtool", &["-K", inner, "gro", "on"])?;
        let file = tempfile::NamedTempFile::new().map_err(BenchError::failed("a file for nft"))?;
        std::fs::write(file.path(), ruleset(setup)).map_err(BenchError::failed("its file"))?;
        kernel.tool("nft", &["-f", &file.path().display().to_string()])?;
        Ok(kernel)
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<(), BenchError> {
        let output = self.rig.forwarder.command(program, arguments)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(BenchError::Failed(format!("{program} {arguments:?}: {text}")))
    }
}

impl Forwarder for Kernel<'_> {
    fn next_hop(&self, cable: &Cable) -> [u8; 6] {
        cable.forwarder_mac()
    }
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        let [inner, outer] = &self.interfaces;
        let _ = self.tool("nft", &["flush", "ruleset"]);
        let _ = self.tool("ethtool", &["-K", inner, "gro", "off"]);
        for interface in [inner, outer] {
            let _ = self.rig.forwarder.ip(&["address", "flush", "dev", interface]);
            let key = format!("net.ipv6.conf.{interface}.disable_ipv6");
            let _ = self.rig.forwarder.sysctl(&key, "1");
        }
    }
}

/// Established connections pass, new ones if their addresses and port are in the set: the form
/// that nftables is fast with.
fn ruleset(setup: &Setup) -> String {
    let others = (1..setup.policies).map(|n| {
        let [.., high, low] = n.to_be_bytes();
        Ipv4Addr::new(10, 3, high, low).into()
    });
    let (sources, sink) = setup.ends(0, Family::V4);
    let first = sources.first().copied();
    let v4 = sources.into_iter().map(|source| (source, sink));
    let v4 = v4.chain(others.filter_map(|other| Some((first?, other))));
    let (sources, sink) = setup.ends(0, Family::V6);
    let v6 = sources.into_iter().map(|source| (source, sink));
    let elements = |pairs: &mut dyn Iterator<Item = _>| {
        let mut text = String::new();
        for (source, destination) in pairs {
            let _ = write!(text, "{source} . {destination} . {DESTINATION_PORT}, ");
        }
        text
    };
    let (v4, v6) = (elements(&mut v4.into_iter()), elements(&mut v6.into_iter()));
    format!(
        "table inet bench {{
    set allowed4 {{
        type ipv4_addr . ipv4_addr . inet_service
        elements = {{ {v4} }}
    }}
    set allowed6 {{
        type ipv6_addr . ipv6_addr . inet_service
        elements = {{ {v6} }}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ip saddr . ip daddr . udp dport @allowed4 accept
        ip6 saddr . ip6 daddr . udp dport @allowed6 accept
    }}
}}
"
    )
}

//! The maps through which the gate program is told what to do and tells what it did.
//!
//! Shapes and records mirror bpf/gate.bpf.c. A pinned map of another shape, from another version of
//! the program, is not reused.

use std::io;
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, MapInfo, PerCpuArray, XskMap};

use super::{Fallback, GateError, GateRole, NODE_ADDRESSES_MAX, QUEUES_MAX};
use crate::interface::Interface;
use crate::pins::{MAPS, Pins};

pub(super) struct Maps {
    pub(super) sockets: XskMap<MapData>,
    pub(super) config: Array<MapData, [u8; 16]>,
    pub(super) node_addresses: HashMap<MapData, [u8; 16], u8>,
    pub(super) counters: PerCpuArray<MapData, u64>,
}

pub(super) fn take_maps(ebpf: &mut Ebpf, interface: &Interface) -> Result<Maps, GateError> {
    Ok(Maps {
        sockets: take_map(ebpf, interface, "sockets")?,
        config: take_map(ebpf, interface, "config")?,
        node_addresses: take_map(ebpf, interface, "node_addresses")?,
        counters: take_map(ebpf, interface, "counters")?,
    })
}

fn take_map<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    interface: &Interface,
    name: &'static str,
) -> Result<T, GateError> {
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| GateError::load(interface, format!("the object has no map {name}")))?;
    T::try_from(map).map_err(|source| GateError::map(interface.name(), name, source))
}

/// True if the pinned maps, as far as there are any, have the shape that this program expects.
pub(super) fn maps_fit(pins: &Pins) -> bool {
    let shapes = [(4, 4, QUEUES_MAX), (4, 16, 1), (16, 1, NODE_ADDRESSES_MAX), (4, 8, 4)];
    MAPS.iter().zip(shapes).all(|(name, shape)| match MapInfo::from_pin(pins.map(name)) {
        Ok(info) => (info.key_size(), info.value_size(), info.max_entries()) == shape,
        Err(_) => !pins.map(name).exists(),
    })
}

pub(super) fn write_node_addresses(
    map: &mut HashMap<MapData, [u8; 16], u8>,
    addresses: &[IpAddr],
    interface: &str,
) -> Result<(), GateError> {
    let mut wanted: Vec<[u8; 16]> = addresses.iter().map(key_of).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.len() > NODE_ADDRESSES_MAX as usize {
        let count = wanted.len();
        return Err(GateError::NodeAddresses { interface: interface.to_owned(), count });
    }
    let failed = |source| GateError::map(interface, "node_addresses", source);
    let present = map.keys().collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let kept = present.iter().filter(|key| wanted.binary_search(key).is_ok()).count();
    // Adding first leaves no gap; only a nearly full map must make room before.
    let room_first = present.len() + wanted.len() - kept > NODE_ADDRESSES_MAX as usize;
    let stale: Vec<_> =
        present.into_iter().filter(|key| wanted.binary_search(key).is_err()).collect();
    let mut add = || wanted.iter().try_for_each(|key| map.insert(key, 1, 0));
    if !room_first {
        add().map_err(failed)?;
    }
    for key in &stale {
        map.remove(key).map_err(failed)?;
    }
    if room_first {
        wanted.iter().try_for_each(|key| map.insert(key, 1, 0)).map_err(failed)?;
    }
    Ok(())
}

/// The key of an address: IPv4 as IPv4-mapped IPv6.
fn key_of(address: &IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// What the gate of an interface goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) role: GateRole,
    pub(super) fallback: Fallback,
    pub(super) mac: [u8; 6],
    /// Receive queues that came with the gate.
    pub(super) added_queues: u16,
}

/// Where `added_queues` lies in a record.
const ADDED_QUEUES: usize = 14;

/// The number of added queues that a record of this or an earlier process holds.
pub(super) fn added_queues(record: &[u8; 16]) -> u16 {
    let bytes = record.get(ADDED_QUEUES..).and_then(|rest| rest.first_chunk::<2>());
    bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// Mirrors `struct gate_config` of bpf/gate.bpf.c.
pub(super) fn bytes_of(record: Record) -> [u8; 16] {
    let Record { role, fallback, mac, added_queues } = record;
    let role: u32 = match role {
        GateRole::Steer => 0,
        GateRole::Uplink => 1,
    };
    let fallback: u32 = match fallback {
        Fallback::Drop => 0,
        Fallback::Pass => 1,
    };
    let mut bytes = [0; 16];
    let fields = role.to_ne_bytes().into_iter().chain(fallback.to_ne_bytes()).chain(mac);
    let fields = fields.chain(added_queues.to_ne_bytes());
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = from;
    }
    bytes
}

pub(super) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_layout_of_the_program() {
        let (role, fallback) = (GateRole::Uplink, Fallback::Pass);
        let record = Record { role, fallback, mac: [1, 2, 3, 4, 5, 6], added_queues: 258 };
        let bytes = bytes_of(record);
        assert_eq!(bytes[..8], [1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[8..], [1, 2, 3, 4, 5, 6, 2, 1]);
        assert_eq!(added_queues(&bytes), 258);
    }

    #[test]
    fn ipv4_keys_are_mapped() {
        let key = key_of(&"10.1.2.3".parse().unwrap());
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
    }
}

//! Access lists: ordered five-tuple rules for the whole node.

use ipnet::IpNet;

/// An access list. Of its rules the first that matches denies a connection, or ends the list;
/// what follows, other lists and then policies, is asked as if the list were not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessList {
    /// The list's name. Lists are asked in the order of their names.
    pub name: String,
    /// Its rules, by rising priority.
    pub rules: Vec<AccessRule>,
}

/// A rule of an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Its place in the list, the lowest first; no other rule of the list has it.
    pub priority: u32,
    /// What it does with what it matches.
    pub action: AccessAction,
    /// The sender's prefix; `None` for every address.
    pub source: Option<IpNet>,
    /// The receiver's prefix; `None` for every address.
    pub destination: Option<IpNet>,
    /// The number of the IP protocol; `None` for all.
    pub protocol: Option<u8>,
    /// The first and the last of the sender's ports; `None` for every packet, with ports or
    /// without.
    pub source_ports: Option<(u16, u16)>,
    /// The first and the last of the receiver's ports; `None` for every packet, with ports or
    /// without.
    pub destination_ports: Option<(u16, u16)>,
}

/// What a rule of an access list does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessAction {
    /// The list has no more to say.
    Allow,
    /// The connection is dropped.
    Deny,
}

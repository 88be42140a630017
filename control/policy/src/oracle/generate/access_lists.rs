//! Access lists.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::objects::{address, port_range};
use super::random::Random;
use crate::model::{AccessAction, AccessList, AccessRule, RuleSet};

/// What access lists are called.
pub(super) const NAMES: [&str; 3] = ["edge", "inner", "last"];

pub(super) fn access_list(random: &mut Random, rules: &RuleSet, name: &str) -> AccessList {
    let mut priority = 0;
    let list = random.some(0, 24, |random| {
        priority += random.between(1u32, 3);
        rule(random, rules, priority)
    });
    AccessList { name: name.to_owned(), rules: list }
}

pub(super) fn rule(random: &mut Random, rules: &RuleSet, priority: u32) -> AccessRule {
    let source = net(random, rules, None);
    let destination = net(random, rules, source);
    let (protocol, has_ports) = match random.below(10) {
        0..=3 => (Some(TCP), true),
        4 | 5 => (Some(UDP), true),
        6 => (Some(SCTP), true),
        7 => (Some(random.one(&[ICMP, ICMPV6, 47, 255])), false),
        _ => (None, true),
    };
    let mut ports = |percent| (has_ports && random.chance(percent)).then(|| port_range(random));
    let (source_ports, destination_ports) = (ports(20), ports(60));
    let action = if random.chance(50) { AccessAction::Deny } else { AccessAction::Allow };
    AccessRule { priority, action, source, destination, protocol, source_ports, destination_ports }
}

/// A prefix around somebody's address, of the same IP version as `other`.
fn net(random: &mut Random, rules: &RuleSet, other: Option<IpNet>) -> Option<IpNet> {
    if random.chance(40) {
        return None;
    }
    let address = address(random, rules);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let len = bits - random.one(&[0u8, 0, 0, 1, 2, 4, 8, 16]);
    let is_like = |it: &IpAddr| other.is_none_or(|other| other.addr().is_ipv4() == it.is_ipv4());
    Some(address).filter(is_like).and_then(|it| IpNet::new(it, len).ok()).map(|net| net.trunc())
}

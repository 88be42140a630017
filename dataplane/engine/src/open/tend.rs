//! Looking after open ports: what has changed under them is noticed and mended.
//!
//! A port whose interface is not any more what its queues were bound to is suspended: its queues
//! end, its gate stays, so its frames are dropped. It is opened again at once, and if that fails,
//! again and again, at longer and longer intervals. Its connections, stations and counts are kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sluice_xdp::{Gate, Interface};

use super::{OpenError, OpenPort, PortRequest, Ports, check, node_addresses, spec};
use crate::port::PortKind;

/// How long after a failure a port is tried again: doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Why a port is not open, and when it is tried again.
pub(super) struct Waiting {
    pub(super) why: String,
    next: Instant,
    interval: Duration,
    /// The interface after the last attempt: once it looks different, another one is worth it.
    seen: Option<Interface>,
}

impl Waiting {
    fn from(now: Instant, why: String) -> Self {
        Self { why, next: now, interval: RETRY_FIRST, seen: None }
    }

    fn is_due(&self, name: &str, now: Instant) -> bool {
        self.next <= now || Interface::open(name).ok() != self.seen
    }

    fn failed_again(&mut self, now: Instant, name: &str, why: String) {
        self.why = why;
        self.seen = Interface::open(name).ok();
        self.next = now + self.interval;
        self.interval = (self.interval * 2).min(RETRY_LONGEST);
    }
}

impl Ports {
    /// Looks after the ports: suspends those whose interface has changed or gone, opens them again,
    /// and tells the uplinks' gates what is the node's own. Call it about once a second, and when the
    /// kernel says that interfaces have changed.
    pub fn tend(&self) {
        let mut ports = self.locked();
        let now = Instant::now();
        for (name, port) in ports.iter_mut().filter(|(_, port)| port.waiting.is_none()) {
            if let Some(why) = what_changed(port) {
                tracing::warn!(port = name, why, "the port is suspended");
                port.waiting = Some(Waiting::from(now, why));
                if let Err(error) = self.engine.suspend_port(name) {
                    tracing::error!(port = name, %error, "the port did not come loose");
                }
            }
        }
        let is_due = |(name, port): &(&String, &OpenPort)| {
            port.waiting.as_ref().is_some_and(|waiting| waiting.is_due(name, now))
        };
        let due: Vec<PortRequest> =
            ports.iter().filter(is_due).map(|(_, port)| port.request.clone()).collect();
        for request in due {
            self.try_again(&mut ports, &request, now);
        }
        for (name, port) in ports.iter_mut().filter(|(_, port)| port.waiting.is_none()) {
            refresh_node_addresses(name, port);
        }
    }

    /// The ports that are not as they should be, and why.
    #[must_use]
    pub fn troubles(&self) -> Vec<(String, String)> {
        let trouble = |(name, port): (&String, &OpenPort)| match &port.waiting {
            Some(waiting) => Some((name.clone(), format!("is not open: {}", waiting.why))),
            // A pod that is not up yet is nothing to worry about.
            None if matches!(port.request.kind, PortKind::Pod { .. }) => None,
            None => Interface::open(name)
                .is_ok_and(|interface| !interface.is_up() || !interface.link_detected())
                .then(|| (name.clone(), "has no link".to_owned())),
        };
        self.locked().iter().filter_map(trouble).collect()
    }

    fn try_again(
        &self,
        ports: &mut BTreeMap<String, OpenPort>,
        request: &PortRequest,
        now: Instant,
    ) {
        let name = &request.interface;
        let opened = self.reopen(ports, request);
        let Some(port) = ports.get_mut(name) else { return };
        match opened {
            Ok((gate, interface)) => {
                tracing::info!(port = name, "the port is open again");
                *port = OpenPort { request: request.clone(), gate, interface, waiting: None };
            }
            Err(error) => {
                let why = error.to_string();
                if let Some(waiting) = &mut port.waiting {
                    if waiting.why != why {
                        tracing::warn!(port = name, why, "the port is still not open");
                    }
                    waiting.failed_again(now, name, why);
                }
            }
        }
    }

    fn reopen(
        &self,
        ports: &BTreeMap<String, OpenPort>,
        request: &PortRequest,
    ) -> Result<(Gate, Interface), OpenError> {
        let (gate, interface, queues) = self.bind(ports, request)?;
        // The gate stays whatever comes: it was there before, and keeps the interface closed.
        self.engine.resume_port(spec(request, &interface), queues)?;
        Ok((gate, interface))
    }
}

/// What is not any more as it was when the port's queues were bound.
fn what_changed(port: &OpenPort) -> Option<String> {
    let now = match Interface::open(port.interface.name()) {
        Ok(now) => now,
        Err(error) => return Some(error.to_string()),
    };
    if let Some(why) = difference(&port.interface, &now) {
        return Some(why);
    }
    if !port.gate.guards(&now) {
        return Some(format!("the gate of {} was taken away", now.name()));
    }
    // Whether it is up is told apart: queues outlive a link.
    match check(&now) {
        Ok(()) | Err(OpenError::Down(_)) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// In what two looks at an interface differ, as far as queues depend on it.
fn difference(before: &Interface, now: &Interface) -> Option<String> {
    let name = now.name();
    if before.index() != now.index() {
        return Some(format!("interface {name} was made anew"));
    }
    let changed = |what: &str, before: String, now: String| {
        (before != now).then(|| format!("interface {name} has {what} {now} now, and had {before}"))
    };
    let mac = |interface: &Interface| interface.mac().map(|byte| format!("{byte:02x}")).join(":");
    let queues = |interface: &Interface| interface.rx_queue_count().to_string();
    changed("a number of queues of", queues(before), queues(now))
        .or_else(|| changed("MTU", before.mtu().to_string(), now.mtu().to_string()))
        .or_else(|| changed("MAC", mac(before), mac(now)))
}

/// Reads an uplink's addresses again and tells its gate what is the node's own.
fn refresh_node_addresses(name: &str, port: &mut OpenPort) {
    if port.request.kind != PortKind::Uplink {
        return;
    }
    let refreshed = Interface::open(name).map_err(OpenError::from).and_then(|interface| {
        let addresses: Vec<IpAddr> = node_addresses(&interface, &port.request);
        Ok(port.gate.set_node_addresses(&addresses)?)
    });
    if let Err(error) = refreshed {
        tracing::warn!(port = name, %error, "the node's addresses were not read again");
    }
}

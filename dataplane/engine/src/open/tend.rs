//! Looking after open ports: what has changed under them is noticed and mended.
//!
//! A port whose interface is not any more what its queues were bound to is suspended: its queues
//! end and its gate stays, closed, so its frames are dropped whatever the port falls back to. It is opened
//! again at once, and if that fails, again and again, at longer and longer intervals. Its connections,
//! stations and counts are kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sluice_xdp::{Fallback, Interface, InterfaceError};

use super::bind::{check, node_addresses, spec};
use super::{OpenError, OpenPort, PortRequest, Ports};
use crate::port::PortKind;

/// How long after a failure a port is tried again: doubled each time, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// How an interface looks now, or that it does not.
type Look = Result<Interface, InterfaceError>;

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

    fn is_due(&self, look: &Look, now: Instant) -> bool {
        match (look, &self.seen) {
            _ if self.next <= now => true,
            (Ok(look), Some(seen)) => !look.is_shaped_as(seen),
            (look, seen) => look.is_ok() != seen.is_some(),
        }
    }

    fn failed_again(&mut self, now: Instant, seen: Option<Interface>, why: String) {
        self.why = why;
        self.seen = seen;
        self.next = now + self.interval;
        self.interval = (self.interval * 2).min(RETRY_LONGEST);
    }
}

impl Ports {
    /// Looks after the ports: suspends those whose interface has changed or gone, opens them again,
    /// and tells the uplinks' gates what is the node's own. Call it about once a second, and when the
    /// kernel says that interfaces have changed.
    pub fn tend(&self) {
        let _operation = self.operate();
        let names: Vec<String> = self.locked().keys().cloned().collect();
        let looks: BTreeMap<&str, Look> =
            names.iter().map(String::as_str).zip(Interface::open_each(&names)).collect();
        let now = Instant::now();
        for (name, look) in &looks {
            if self.close_if_changed(name, look, now)
                && let Err(error) = self.engine.suspend_port(name)
            {
                tracing::error!(port = name, %error, "the port did not come loose");
            }
        }
        for (name, look) in &looks {
            if let Some(request) = self.due(name, look, now) {
                self.try_again(&request);
            }
        }
        for (name, look) in &looks {
            if let (Some(port), Ok(interface)) = (self.locked().get_mut(*name), look) {
                refresh(port, interface);
            }
        }
    }

    /// The ports that were not as they should be when they were last looked after, and why.
    #[must_use]
    pub fn troubles(&self) -> Vec<(String, String)> {
        let trouble = |(name, port): (&String, &OpenPort)| match &port.waiting {
            Some(waiting) => Some((name.clone(), format!("is not open: {}", waiting.why))),
            // A pod that is not up yet is nothing to worry about.
            None if port.has_link || matches!(port.request.kind, PortKind::Pod { .. }) => None,
            None => Some((name.clone(), "has no link".to_owned())),
        };
        self.locked().iter().filter_map(trouble).collect()
    }

    /// Closes the gate of a port whose interface has changed; tells whether it has.
    fn close_if_changed(&self, name: &str, look: &Look, now: Instant) -> bool {
        let mut ports = self.locked();
        let Some(port) = ports.get_mut(name).filter(|port| port.waiting.is_none()) else {
            return false;
        };
        let Some(why) = what_changed(port, look) else { return false };
        tracing::warn!(port = name, why, "the port is suspended");
        // Of no use where the gate has gone with its interface.
        let _ = port.gate.set_fallback(Fallback::Drop);
        port.waiting = Some(Waiting::from(now, why));
        true
    }

    /// What is to be tried again now.
    fn due(&self, name: &str, look: &Look, now: Instant) -> Option<PortRequest> {
        let ports = self.locked();
        let port = ports.get(name)?;
        port.waiting.as_ref()?.is_due(look, now).then(|| port.request.clone())
    }

    fn try_again(&self, request: &PortRequest) {
        let name = &request.interface;
        let Err(error) = self.reopen(request) else {
            tracing::info!(port = name, "the port is open again");
            return;
        };
        let (why, seen) = (error.to_string(), Interface::open(name).ok());
        if let Some(waiting) = self.locked().get_mut(name).and_then(|port| port.waiting.as_mut()) {
            if waiting.why != why {
                tracing::warn!(port = name, why, "the port is still not open");
            }
            // An attempt may take longer than the interval.
            waiting.failed_again(Instant::now(), seen, why);
        }
    }

    /// Opens a suspended port. Whatever fails, the interface that is there now has a gate, closed.
    fn reopen(&self, request: &PortRequest) -> Result<(), OpenError> {
        let interface = Interface::open(&request.interface)?;
        let mut gate = self.attach(&interface, request)?;
        let opened = self.bind(&mut gate, request).and_then(|(interface, queues)| {
            self.engine.resume_port(spec(request, &interface), queues)?;
            gate.set_fallback(request.fallback)?;
            Ok(interface)
        });
        let mut ports = self.locked();
        let Some(port) = ports.get_mut(&request.interface) else { return Ok(()) };
        match opened {
            Ok(interface) => {
                let why_before = port.why_generic.take();
                *port = OpenPort::new(request.clone(), gate, interface, why_before);
                Ok(())
            }
            Err(error) => {
                port.gate = gate;
                Err(error)
            }
        }
    }
}

/// What is not any more as it was when the port's queues were bound.
fn what_changed(port: &OpenPort, look: &Look) -> Option<String> {
    let now = match look {
        Ok(now) => now,
        Err(error) => return Some(error.to_string()),
    };
    let name = now.name();
    if port.interface.index() != now.index() {
        return Some(format!("interface {name} was made anew"));
    }
    // It carries nothing while it is down, and queues outlive that: whatever else has changed can
    // wait until it is up, and the kernel then says when it has let go of the queues' memory.
    if !now.is_up() {
        return None;
    }
    if let Some(why) = difference(&port.interface, now) {
        return Some(why);
    }
    if !port.gate.guards(now) {
        return Some(format!("the gate of {name} was taken away"));
    }
    check(now).err().map(|error| error.to_string())
}

/// In what two looks at an interface differ, as far as queues depend on it.
fn difference(before: &Interface, now: &Interface) -> Option<String> {
    let name = now.name();
    let changed = |what: &str, before: String, now: String| {
        (before != now).then(|| format!("interface {name} has {what} {now} now, and had {before}"))
    };
    let mac = |interface: &Interface| interface.mac().map(|byte| format!("{byte:02x}")).join(":");
    let queues = |interface: &Interface| interface.rx_queue_count().to_string();
    changed("a number of queues of", queues(before), queues(now))
        .or_else(|| changed("MTU", before.mtu().to_string(), now.mtu().to_string()))
        .or_else(|| changed("MAC", mac(before), mac(now)))
}

/// Notes the link of a port, and tells an uplink's gate what is the node's own: while the port waits
/// too, or a new address would cut the node off.
fn refresh(port: &mut OpenPort, interface: &Interface) {
    port.has_link = interface.is_up() && interface.link_detected();
    let is_guarded = port.gate.interface().index() == interface.index();
    if port.request.kind != PortKind::Uplink || !is_guarded {
        return;
    }
    let addresses: Vec<IpAddr> = node_addresses(interface, &port.request);
    let told = port.gate.set_node_addresses(&addresses).and_then(|()| {
        if port.gate.mac() == interface.mac() { Ok(()) } else { port.gate.set_mac(interface.mac()) }
    });
    if let Err(error) = told {
        let port = interface.name();
        tracing::warn!(port, %error, "the gate was not told of the node's addresses");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_at_longer_and_longer_intervals_or_when_something_looks_different() {
        let missing = || Err(InterfaceError::Missing { name: "x".into() });
        let start = Instant::now();
        let mut waiting = Waiting::from(start, "it has gone".into());
        assert!(waiting.is_due(&missing(), start), "at once for the first time");
        let mut now = start;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            waiting.failed_again(now, None, "it is still gone".into());
            let next = now + Duration::from_secs(seconds);
            assert!(!waiting.is_due(&missing(), next - Duration::from_millis(1)));
            assert!(waiting.is_due(&missing(), next));
            now = next;
        }
        waiting.failed_again(now, None, "it is still gone".into());
        let there = Interface::open("lo").unwrap();
        assert!(waiting.is_due(&Ok(there.clone()), now), "it has come");
        waiting.failed_again(now, Some(there.clone()), "it is unfit".into());
        assert!(!waiting.is_due(&Ok(there), now));
    }
}

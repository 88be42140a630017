//! Busy polling: whether interrupts give way to it.

use super::finding::{Finding, list};
use super::machine::Port;
use super::nic::Nic;

/// How many polls may find nothing, and how many nanoseconds may pass until the next one, before
/// interrupts come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deferral {
    pub(super) polls: u32,
    pub(super) nanoseconds: u64,
}

/// What the remedy sets: the numbers of the kernel's own documentation of AF_XDP.
const POLLS: u32 = 2;
const NANOSECONDS: u64 = 200_000;

/// Nothing where no queue of a port is polled.
pub(super) fn check(nic: &Nic, port: Option<&Port>) -> Option<Finding> {
    let check = "busy poll";
    let polled = &port?.polled;
    if polled.is_empty() {
        return None;
    }
    let unknown: Vec<u32> = polled.iter().filter(|it| !it.1).map(|(queue, _)| *queue).collect();
    if !unknown.is_empty() {
        let found = format!(
            "on, but queues {} are left to interrupts: the driver does not tell the kernel what to poll, or \
             sends by other work than it receives by, or no frame has come yet",
            list(unknown)
        );
        let remedy =
            "in sluice.toml, [engine]: busy_poll_us = 0, unless it goes away: docs/nics.md";
        return Some(Finding::warning(check, found, remedy));
    }
    let Some(Deferral { polls, nanoseconds }) = nic.deferral else {
        let found = "on, and whether interrupts give way to it is not seen from here";
        return Some(Finding::unknown(check, found, None));
    };
    if polls > 0 && nanoseconds > 0 {
        let found = format!(
            "on, and interrupts give way: {polls} empty polls, {} us",
            nanoseconds.div_ceil(1000)
        );
        return Some(Finding::ok(check, found));
    }
    let place = format!("/sys/class/net/{}", nic.link.name);
    let setting = |file: &str, value: u64| {
        format!("echo {value} > {}", sluice_xdp::shell_word(&format!("{place}/{file}")))
    };
    let remedy =
        [setting("napi_defer_hard_irqs", POLLS.into()), setting("gro_flush_timeout", NANOSECONDS)]
            .join("; ");
    let found =
        "on, but interrupts do not give way to it, so the kernel polls too and little is gained";
    Some(Finding::warning(check, found, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;
    use crate::commands::doctor::machine::Role;

    fn port(polled: &[(u32, bool)]) -> Port {
        Port {
            role: Role::Uplink,
            tagged: false,
            waiting: None,
            why_generic: None,
            sockets: [(0, None)].into(),
            polled: polled.iter().copied().collect(),
        }
    }

    fn nic(deferral: Option<(u32, u64)>) -> Nic {
        let mut nic = Nic {
            deferral: deferral.map(|(polls, nanoseconds)| Deferral { polls, nanoseconds }),
            ..Nic::default()
        };
        nic.link.name = "eth1".to_owned();
        nic
    }

    #[test]
    fn a_port_that_is_not_polled_needs_nothing() {
        assert_eq!(check(&nic(Some((0, 0))), Some(&port(&[]))), None);
        assert_eq!(check(&nic(Some((0, 0))), None), None);
    }

    #[test]
    fn queues_that_the_kernel_does_not_poll_are_told() {
        let some = port(&[(0, true), (1, false), (2, false)]);
        let finding = check(&nic(Some((2, 200_000))), Some(&some)).unwrap();
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.found.starts_with("on, but queues 1-2 are left"), "{finding:?}");
    }

    #[test]
    fn interrupts_that_do_not_give_way_are_told_with_what_mends_it() {
        for deferral in [(0, 0), (2, 0), (0, 200_000)] {
            let finding = check(&nic(Some(deferral)), Some(&port(&[(0, true)]))).unwrap();
            assert_eq!(finding.level, Level::Warning);
            assert_eq!(
                finding.remedy.unwrap(),
                "echo 2 > /sys/class/net/eth1/napi_defer_hard_irqs; \
                 echo 200000 > /sys/class/net/eth1/gro_flush_timeout"
            );
        }
        let fine = check(&nic(Some((2, 200_000))), Some(&port(&[(0, true)]))).unwrap();
        assert_eq!(fine.found, "on, and interrupts give way: 2 empty polls, 200 us");
        let unseen = check(&nic(None), Some(&port(&[(0, true)]))).unwrap();
        assert_eq!(unseen.level, Level::Unknown);
    }
}

//! Asks up front whether this process may do what the dataplane needs.
//!
//! Without this the first refusal would come from deep inside a map creation, as a bare EPERM.

use std::fmt;

/// Bit numbers of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// Checks that the process may load XDP programs and open AF_XDP sockets.
///
/// # Errors
/// [`PrivilegeError`] names every capability that is missing.
pub fn check_privileges() -> Result<(), PrivilegeError> {
    // An unreadable or odd file means that we cannot tell: let the kernel decide.
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(()) };
    match effective(&status) {
        Some(capabilities) => check(capabilities),
        None => Ok(()),
    }
}

/// Capabilities that the process lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the dataplane loads an XDP program and opens AF_XDP sockets, and this process lacks {missing}; \
     run as root or grant them (systemd: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_NET_RAW, and \
     LimitMEMLOCK=infinity for packet memory)"
)]
pub struct PrivilegeError {
    missing: Names,
}

impl PrivilegeError {
    /// The capabilities, such as `CAP_NET_ADMIN`.
    #[must_use]
    pub fn missing(&self) -> &[&'static str] {
        &self.missing.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Names(Vec<&'static str>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn check(capabilities: u64) -> Result<(), PrivilegeError> {
    let has = |bit: u32| capabilities & (1 << bit) != 0;
    let mut missing = Vec::new();
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if !has(CAP_NET_RAW) {
        missing.push("CAP_NET_RAW");
    }
    if missing.is_empty() { Ok(()) } else { Err(PrivilegeError { missing: Names(missing) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let text = check(1 << CAP_NET_ADMIN).unwrap_err().to_string();
        assert!(text.contains("lacks CAP_BPF, CAP_NET_RAW;"), "{text}");
        assert!(text.contains("run as root"), "{text}");
    }

    #[test]
    fn root_and_the_exact_set_pass() {
        assert_eq!(check(u64::MAX), Ok(()));
        assert_eq!(check(1 << CAP_BPF | 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW), Ok(()));
        // Before Linux 5.8 there was no CAP_BPF.
        assert_eq!(check(1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW), Ok(()));
    }

    #[test]
    fn the_status_file_is_read() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}

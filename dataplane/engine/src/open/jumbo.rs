//! Ports whose frames are longer than a chunk of packet memory, and kernels and drivers that have
//! none of them.

use sluice_xdp::{CHUNK_MTU_MAX, GateError, Interface, QueueError};

use super::OpenError;

/// Whether frames of an interface may take more than one chunk of packet memory.
pub(super) fn needs_chains(interface: &Interface) -> bool {
    interface.mtu() > CHUNK_MTU_MAX
}

/// What a refused gate is told as.
pub(super) fn refused_gate(interface: &Interface, error: GateError) -> OpenError {
    match error {
        GateError::Load { .. } if needs_chains(interface) => jumbo(interface, error),
        _ => error.into(),
    }
}

/// What a refused socket is told as.
pub(super) fn refused_queue(interface: &Interface, error: QueueError) -> OpenError {
    match error {
        QueueError::NoChains { .. } => jumbo(interface, error),
        _ => error.into(),
    }
}

fn jumbo(
    interface: &Interface,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    let (name, mtu) = (interface.name().to_owned(), interface.mtu());
    OpenError::Jumbo { name, mtu, source: source.into() }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// The loopback has an MTU of 65,536 everywhere.
    fn long() -> Interface {
        Interface::open("lo").unwrap()
    }

    #[test]
    fn a_kernel_without_long_frames_is_told_with_the_mtu_and_a_remedy() {
        assert!(needs_chains(&long()));
        let source = io::Error::from_raw_os_error(nix::libc::EINVAL);
        let refused = QueueError::NoChains { interface: "lo".into(), queue_id: 0, source };
        let text = refused_queue(&long(), refused).to_string();
        assert!(text.starts_with("interface lo has MTU 65536, and this kernel or its"), "{text}");
        assert!(text.contains("Linux 6.6"), "{text}");
        assert!(text.ends_with("`ip link set dev lo mtu 3500` or less"), "{text}");
    }

    #[test]
    fn a_gate_that_does_not_load_with_frags_is_told_alike() {
        let refused = GateError::Load { interface: "lo".into(), source: "invalid".into() };
        let error = refused_gate(&long(), refused);
        assert!(matches!(error, OpenError::Jumbo { mtu: 65_536, .. }), "{error}");
    }

    #[test]
    fn other_refusals_are_told_as_they_are() {
        let taken = QueueError::InUse { interface: "lo".into(), queue_id: 0 };
        let error = refused_queue(&long(), taken);
        assert!(matches!(error, OpenError::Queue(QueueError::InUse { .. })), "{error}");
    }
}

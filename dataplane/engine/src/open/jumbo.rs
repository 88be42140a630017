//! Ports whose frames are longer than a chunk of packet memory, and kernels and drivers that have
//! none of them.

use sluice_xdp::{CHUNK_MTU_MAX, GateError, Interface, QueueError, WhyCopied};

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
        QueueError::NoZeroCopy { why: WhyCopied::NotOffered, .. } if needs_chains(interface) => {
            OpenError::JumboCopied { name: interface.name().to_owned(), mtu: interface.mtu() }
        }
        _ => error.into(),
    }
}

/// Why a queue of an interface with that MTU copies its frames.
///
/// A driver refuses zero-copy with the same words whether it has none or none for frames that long.
#[must_use]
pub fn why_copied(why: WhyCopied, mtu: u32) -> String {
    match why {
        WhyCopied::NotOffered if mtu > CHUNK_MTU_MAX => {
            format!("{why}, or none for an MTU above {CHUNK_MTU_MAX}")
        }
        _ => why.to_string(),
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
    fn zero_copy_that_is_refused_may_be_had_for_shorter_frames() {
        let refused = |why| QueueError::NoZeroCopy { interface: "lo".into(), queue_id: 0, why };
        let text = refused_queue(&long(), refused(WhyCopied::NotOffered)).to_string();
        let remedy = "`ip link set dev lo mtu 3500` or less, or demand no mode, or `copy`";
        assert!(
            text.contains("no zero-copy for frames that long") && text.ends_with(remedy),
            "{text}"
        );
        let broken = refused_queue(&long(), refused(WhyCopied::SetUpFailed(12)));
        assert!(matches!(broken, OpenError::Queue(_)), "{broken}");
        let told = |mtu| why_copied(WhyCopied::NotOffered, mtu);
        assert_eq!(told(3_500), "the driver offers no zero-copy on this kernel");
        assert!(told(3_501).ends_with(", or none for an MTU above 3500"), "{}", told(3_501));
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

//! Peers: what others built, and how a round of it is run.

pub(crate) mod dpdk;
pub(crate) mod ebpf;
pub(crate) mod ovs;
pub(crate) mod testpmd;

use crate::rig::BenchError;

/// Checks that a program of a Debian package is installed.
pub(crate) fn installed(program: &str, package: &str) -> Result<(), BenchError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if here {
        return Ok(());
    }
    Err(BenchError::Missing(format!("there is no {program}: install {package}")))
}

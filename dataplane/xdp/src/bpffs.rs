//! The BPF file system, where the gate's pins live past the end of the process.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

/// Makes sure that `path` is a directory on a BPF file system; mounts one there if it is not.
///
/// True if this call mounted it: the caller may then unmount it at the end of a test. A daemon leaves
/// it, since the pins are to outlive it.
///
/// # Errors
/// [`BpffsError`] if the directory or the mount cannot be made.
pub fn ensure_bpffs(path: &Path) -> Result<bool, BpffsError> {
    let path_buf = || path.to_owned();
    std::fs::create_dir_all(path)
        .map_err(|source| BpffsError::Directory { path: path_buf(), source })?;
    if is_bpffs(path).map_err(|source| BpffsError::Directory { path: path_buf(), source })? {
        return Ok(false);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
        .map_err(|error| BpffsError::Mount { path: path_buf(), source: error.into() })?;
    Ok(true)
}

/// True if `path` lies on a BPF file system.
///
/// # Errors
/// If there is no such path, or it cannot be asked about.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Why there is no BPF file system.
#[derive(Debug, thiserror::Error)]
pub enum BpffsError {
    /// The directory cannot be made or read.
    #[error(
        "directory {} for the gate's pins cannot be made: {source}; choose another pin_dir",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system cannot be mounted.
    #[error(
        "no BPF file system at {}, and mounting one failed: {source}; run as root, or mount it \
         before the start: mount -t bpf bpf {}",
        path.display(), path.display()
    )]
    Mount {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

//! A lab: namespaces, the cables between them, and their removal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::LabError;
use crate::namespace::Namespace;
use crate::wait::is_root;

static LAB_COUNT: AtomicU32 = AtomicU32::new(0);

/// A set of namespaces that goes away together.
#[derive(Debug)]
pub struct Lab {
    name: String,
    namespaces: Mutex<Vec<String>>,
    mounts: Mutex<Vec<PathBuf>>,
    kept: bool,
}

/// A veth pair. The default: one queue, random MAC addresses, MTU 1500, both ends up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethOptions {
    /// MAC address of the first end.
    pub mac_a: Option<[u8; 6]>,
    /// MAC address of the second end.
    pub mac_b: Option<[u8; 6]>,
    /// Receive and send queues at each end.
    pub queues: u32,
    /// MTU of both ends in bytes.
    pub mtu: u32,
    /// Whether to set both ends up.
    pub up: bool,
}

impl Default for VethOptions {
    fn default() -> Self {
        Self { mac_a: None, mac_b: None, queues: 1, mtu: 1500, up: true }
    }
}

impl Lab {
    /// An empty lab. `name_prefix` shows in the names of its namespaces.
    ///
    /// # Errors
    /// [`LabError::NotRoot`] without root.
    pub fn new(name_prefix: &str) -> Result<Self, LabError> {
        if !is_root() {
            return Err(LabError::NotRoot);
        }
        let number = LAB_COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name_prefix}-{}-{number}", std::process::id());
        Ok(Self { name, namespaces: Mutex::default(), mounts: Mutex::default(), kept: false })
    }

    /// The name that all of the lab's namespaces start with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a namespace: loopback up, no duplicate address detection, no reverse path filter.
    ///
    /// # Errors
    /// [`LabError`] if it exists or cannot be made.
    pub fn namespace(&self, name: &str) -> Result<Namespace, LabError> {
        let full = format!("{}-{name}", self.name);
        ip(&["netns", "add", &full])?;
        lock(&self.namespaces).push(full.clone());
        let namespace = Namespace::new(full);
        namespace.up("lo")?;
        for (key, value) in [
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ] {
            namespace.sysctl(key, value)?;
        }
        Ok(namespace)
    }

    /// Lays a cable: a veth pair with one end in each namespace.
    ///
    /// # Errors
    /// [`LabError`] if it cannot be made.
    pub fn veth(
        &self,
        namespace_a: &Namespace,
        name_a: &str,
        namespace_b: &Namespace,
        name_b: &str,
        options: &VethOptions,
    ) -> Result<(), LabError> {
        let (queues, mtu) = (options.queues.to_string(), options.mtu.to_string());
        let (mac_a, mac_b) = (options.mac_a.map(mac_text), options.mac_b.map(mac_text));
        let mut arguments = vec!["-n", namespace_a.name(), "link", "add", name_a, "mtu", &mtu];
        arguments.extend(["numrxqueues", &queues, "numtxqueues", &queues]);
        if let Some(mac) = &mac_a {
            arguments.extend(["address", mac.as_str()]);
        }
        arguments.extend(["type", "veth", "peer", "name", name_b, "mtu", &mtu]);
        arguments.extend(["numrxqueues", &queues, "numtxqueues", &queues]);
        if let Some(mac) = &mac_b {
            arguments.extend(["address", mac.as_str()]);
        }
        arguments.extend(["netns", namespace_b.name()]);
        ip(&arguments)?;
        if options.up {
            namespace_a.up(name_a)?;
            namespace_b.up(name_b)?;
        }
        Ok(())
    }

    /// Mounts a BPF file system of the lab's own and returns its directory.
    ///
    /// # Errors
    /// [`LabError::Bpffs`] if the directory or the mount cannot be made.
    pub fn bpffs(&self) -> Result<PathBuf, LabError> {
        let mut mounts = lock(&self.mounts);
        let path = std::env::temp_dir().join(format!("{}-bpf-{}", self.name, mounts.len()));
        let failed = |source| LabError::Bpffs { path: path.display().to_string(), source };
        std::fs::create_dir_all(&path).map_err(failed)?;
        let mounted = mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), Some("mode=0700"));
        if let Err(error) = mounted {
            // The directory is empty and ours; if it cannot go, the error below is still the cause.
            let _ = std::fs::remove_dir(&path);
            return Err(failed(error.into()));
        }
        mounts.push(path.clone());
        Ok(path)
    }

    /// Leaves everything up when the lab is dropped, for a look by hand.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // A failed removal must not hide the test's own outcome; it is told, and the rest goes on.
        for path in lock(&self.mounts).drain(..) {
            if let Err(error) = remove_mount(&path) {
                eprintln!("lab {}: {} stays: {error}", self.name, path.display());
            }
        }
        for namespace in lock(&self.namespaces).drain(..) {
            if let Err(error) = ip(&["netns", "delete", &namespace]) {
                eprintln!("lab {}: {error}", self.name);
            }
        }
    }
}

/// Runs iproute2's `ip` in the caller's own namespace and reports what it said on failure.
pub(crate) fn ip(arguments: &[&str]) -> Result<(), LabError> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|source| LabError::MissingCommand { program: "ip".to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Command {
        command: format!("ip {}", arguments.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn remove_mount(path: &Path) -> std::io::Result<()> {
    umount2(path, MntFlags::MNT_DETACH)?;
    std::fs::remove_dir(path)
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The lock of a list that stays sound whatever panics while it is held.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_written_as_ip_reads_it() {
        assert_eq!(mac_text([2, 0, 0, 0, 0xab, 1]), "02:00:00:00:ab:01");
    }
}

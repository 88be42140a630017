//! The files under `<pin_dir>/<interface>/` that keep a gate alive without its process.

use std::io;
use std::path::{Path, PathBuf};

use crate::attached;

/// Names of the maps, in the program and as pins.
pub(crate) const MAPS: [&str; 4] = ["sockets", "config", "node_addresses", "counters"];

/// The pins of one interface.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The pins of an interface.
    ///
    /// A BPF file system refuses names with dots, which VLAN interfaces have (`eth0.100`).
    pub(crate) fn new(pin_dir: &Path, interface: &str) -> Self {
        let name = interface.replace('%', "%25").replace('.', "%2e");
        Self { directory: pin_dir.join(name) }
    }

    /// The pins in a directory that was found.
    pub(crate) fn of_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// True if there is any.
    pub(crate) fn exist(&self) -> bool {
        self.link().exists() || MAPS.iter().any(|name| self.map(name).exists())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn link(&self) -> PathBuf {
        self.directory.join("link")
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the directory if there is none.
    pub(crate) fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)
    }

    /// Removes the pins of the maps; a map lives on for whoever has it open.
    pub(crate) fn remove_maps(&self) -> io::Result<()> {
        MAPS.iter().try_for_each(|name| remove(&self.map(name)))
    }

    /// Removes everything, and takes the program off its interface: the gate ends here.
    ///
    /// Only files of our own names go; a directory with other files in it stays.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        let link = attached::pinned_link(&self.link());
        remove(&self.link())?;
        if let Ok(link) = link {
            // It fails where the interface has gone, and the program with it.
            let _ = attached::detach_link(&link);
        }
        self.remove_maps()?;
        match std::fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Removes a file that may be missing.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

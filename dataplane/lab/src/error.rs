//! What can go wrong in building a lab.

use std::io;

/// Why a lab or a part of it could not be built.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces need root.
    #[error("a lab makes network namespaces and needs root; run the test with sudo")]
    NotRoot,
    /// A command of the system is missing.
    #[error("`{program}` does not start: {source}; install iproute2")]
    MissingCommand {
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A command of the system failed.
    #[error("`{command}` failed: {message}; the lab is in an unexpected state")]
    Command {
        /// The whole command line.
        command: String,
        /// What it said.
        message: String,
    },
    /// A namespace could not be entered.
    #[error("namespace {namespace} cannot be entered: {source}; check that the lab still exists")]
    Enter {
        /// The namespace.
        namespace: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A kernel parameter could not be written.
    #[error("{key} in namespace {namespace} cannot be set: {source}; check the name")]
    Sysctl {
        /// The namespace.
        namespace: String,
        /// The parameter.
        key: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A BPF file system could not be mounted.
    #[error(
        "a BPF file system cannot be mounted at {path}: {source}; the kernel needs CONFIG_BPF_SYSCALL"
    )]
    Bpffs {
        /// The directory.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A server could not be started.
    #[error(
        "a server on {address} in namespace {namespace} does not start: {source}; is the address assigned?"
    )]
    Serve {
        /// The namespace.
        namespace: String,
        /// Where it should listen.
        address: std::net::SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program could not be started in a namespace.
    #[error("`{program}` does not start in namespace {namespace}: {source}; is it installed?")]
    Spawn {
        /// The namespace.
        namespace: String,
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
}

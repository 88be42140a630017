//! Network namespaces with real sockets: for tests, the demo and benches. Never part of the daemon.
//!
//! ```text
//!   namespace pod-a                namespace node                 namespace pod-b
//!   +--------------+        +--------------------------+        +--------------+
//!   |  if-a  10.0.0.1 ----- veth-a   (switch)   veth-b ----- if-b  10.0.0.2    |
//!   +--------------+        +--------------------------+        +--------------+
//! ```
//!
//! A [`Lab`] owns its namespaces, and with them every veth and process-free trace of a test: dropping
//! it removes them all. Names carry the process id and a counter, so tests run in parallel. Nothing
//! outside of the lab's own namespaces is touched.
//!
//! Code runs *inside* a namespace on a thread that has entered it ([`Namespace::run`]), so that mounts
//! and files stay those of the host; `ip netns exec` would hide a BPF file system.
//!
//! It needs root and iproute2. Tests begin with [`root_or_skip`].
//!
//! ```no_run
//! use std::time::Duration;
//! use sluice_lab::{Lab, VethOptions, probe, serve};
//!
//! let lab = Lab::new("docs")?;
//! let (left, right) = (lab.namespace("left")?, lab.namespace("right")?);
//! lab.veth(&left, "if-l", &right, "if-r", &VethOptions::default())?;
//! left.address("if-l", "10.0.0.1/24")?;
//! right.address("if-r", "10.0.0.2/24")?;
//! let server = serve::tcp_echo(&right, "10.0.0.2:80".parse()?)?;
//! let seen = left.run(|| probe::tcp_connect(server.address(), Duration::from_secs(1)))?;
//! assert_eq!(seen, probe::Probe::Open);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod lab;
mod namespace;
pub mod probe;
pub mod serve;
mod wait;

pub use error::LabError;
pub use lab::{Lab, VethOptions};
pub use namespace::Namespace;
pub use wait::{is_root, root_or_skip, wait_until};

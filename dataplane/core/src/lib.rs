//! Judges packets. One pure function of frame, table, connections and time gives a verdict.
//!
//! ```text
//!  frame --packet--> Packet --guard--> --conntrack--> --policy--> verdict
//!                                 |            |           |
//!                                 +---- table (compiled, immutable) ----+
//! ```
//!
//! This crate owns the meaning of bytes and of the compiled [`table::Table`]. It refuses to do
//! I/O, to lock, to wait, to log and to ask the time: whoever calls it brings those. It has no
//! idea of Kubernetes; the compiler in `control/policy` turns manifests into a
//! [`table::Edit`].
//!
//! ```
//! use sluice_core::address::NetworkId;
//! use sluice_core::policy::Attempt;
//! use sluice_core::table::Table;
//!
//! // A table without pods knows everybody as a stranger, and strangers have no policy.
//! let table = Table::empty();
//! let decision = table.decide(&Attempt {
//!     network: NetworkId::DEFAULT,
//!     source: [192, 0, 2, 1].into(),
//!     destination: [192, 0, 2, 2].into(),
//!     protocol: sluice_core::ports::TCP,
//!     source_port: Some(50_000),
//!     port: Some(443),
//! });
//! assert!(decision.allows());
//! ```

#![forbid(unsafe_code)]

pub mod address;
pub mod blocks;
mod buckets;
pub mod checksum;
pub mod classifier;
pub mod conntrack;
pub mod drop;
pub mod flow;
pub mod fragments;
pub mod guard;
mod icmp;
pub mod judge;
pub mod packet;
pub mod pieces;
pub mod policy;
pub mod ports;
mod shared;
pub mod table;
pub mod time;

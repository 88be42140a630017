//! Moves frames: a pinned thread per core that receives, judges and forwards.
//!
//! ```text
//!            +------------- worker (one per core) --------------+
//!  rx ring ->| parse -> owner of the flow? --no--> inbox of that worker
//!            |              yes                                 |
//!            |   guard -> FDB -> judge -> checksum, tag -> tx   |-> tx ring, or the inbox of
//!            +--------------------------------------------------+   the worker that owns it
//!                        ^ one pointer, read once a batch
//!                     Scene: table + ports + FDB   <- Engine (control side) publishes
//! ```
//!
//! A flow belongs to the worker that its hash names, so connections are never shared; what
//! workers share is the immutable [`scene::Scene`] and their inboxes. The engine owns ports,
//! forwarding by MAC and counters. It refuses to know what a policy is: it asks
//! [`sluice_core::judge`]. Every frame is counted once: received and flooded copies together
//! equal sent and dropped.

mod batch;
#[cfg(not(all(test, loom)))]
mod bell;
pub mod capture;
mod chained;
pub mod clock;
pub mod counters;
mod desk;
pub mod engine;
pub mod error;
mod fdb;
mod flood;
mod forward;
mod fragments;
pub mod io;
pub mod open;
mod own_queue;
pub mod port;
pub mod scene;
pub mod stages;
mod start;
pub mod stepped;
mod steward;
mod sync;
mod tag;
mod waiting;
pub mod worker;

pub use engine::{Engine, EngineConfig, Idle, PlacedQueue};
pub use error::EngineError;

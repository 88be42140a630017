//! The gRPC control API.
//!
//! Owns the wire format (`proto/sluice/v1`), its conversion to and from the domain, the service,
//! and a client. Wire types stop here: the daemon implements [`backend::Backend`] in domain terms,
//! `sluicectl` calls [`client::Client`] and gets domain terms back. Refuses every message that it
//! does not understand in full, a field of a newer client among them; answers are read leniently.
//!
//! ```text
//! Client --wire--> strict decode --> convert --> Backend (the daemon)
//!        <--wire--        convert <-- Committed | Refused, Status, Counters, ...
//! ```
//!
//! ```no_run
//! use sluice_api::backend::{CommitOrder, Content};
//! use sluice_api::client::{Client, Endpoint};
//! use sluice_policy::model::{Pod, RuleSet};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rules = RuleSet::default();
//! rules.insert(Pod::new("shop", "web"))?;
//! let client = Client::connect(&Endpoint::default()).await?;
//! let content = Content::Snapshot(rules);
//! let order = CommitOrder { version: "v1".into(), content, ..CommitOrder::default() };
//! match client.commit(&order).await? {
//!     Ok(done) => println!("revision {} is in force", done.revision),
//!     Err(refused) => println!("{refused}"),
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod backend;
pub mod client;
mod convert;
pub mod server;
mod service;
pub mod snapshot;
mod strict;
pub mod text;
mod wire;

/// Bytes of a message at most, in either direction.
pub const MESSAGE_LEN_MAX: usize = 64 << 20;

/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/control.sock";

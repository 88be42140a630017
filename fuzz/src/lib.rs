//! The bodies of the fuzz targets, as plain functions of bytes that panic on a finding.
//!
//! ```text
//! cargo fuzz run T ------> fuzz_targets/T.rs --\
//!                                               +--> sluice_fuzz::T(bytes)
//! cargo test --> tests/regressions.rs ---------/
//!                 each file of regressions/T/
//! ```
//!
//! `parse` holds the parser to its own promises and to etherparse's reading of the frame;
//! `engine` drives whole workers, with ports and tables that come and go, and has an oracle of its
//! own explain whatever leaves; frames and counts have to add up;
//! `judge` plays packets, tables and time and holds every verdict to `Table::decide`. It knows
//! what a verdict did to the connections, which `engine` sees from outside only, and is many
//! times as fast; fragments and all that a worker does are left to `engine`;
//! `conntrack` holds the connection table to a plain list of what it should hold;
//! `rule_set` reads a stored rule set and compiles it, twice;
//! `policy` follows a cluster through changes and holds table and compiler to the oracle.

#![forbid(unsafe_code)]

mod cast;
mod conntrack;
mod engine;
mod judge;
mod parse;
mod policy;
mod rule_set;
mod sums;
mod view;

pub use conntrack::conntrack;
pub use engine::engine;
pub use judge::judge;
pub use parse::parse;
pub use policy::policy;
pub use rule_set::rule_set;

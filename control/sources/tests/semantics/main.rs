//! The rules of NetworkPolicy and ClusterNetworkPolicy one by one, each by its number, on the
//! whole way: manifest text is parsed, compiled, and asked, or given packets to judge.
//!
//! A test has a hit and a near miss. Where Kubernetes leaves something open, it says what Sluice
//! does and that this is its choice.
//!
//! | rules | |
//! |---|---|
//! | 1 to 8 | `isolation` |
//! | 9 to 17 | `peers` |
//! | 18 to 22 | `ports` |
//! | 23, 24, 28, 30 | `connections` |
//! | 25, 26, 27, 29 | `hosts` |
//! | 31 to 38 | `cluster` |

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

mod cluster;
mod connections;
mod given;
mod hosts;
mod isolation;
mod peers;
mod ports;
mod wire;

//! The stage on which the demo and the daemon's tests play: a node, its pods and the outside.
//!
//! Everything on it is real: namespaces, veths, sockets, and a `sluiced` that is a process of
//! its own. See [`stage::Stage`].

pub mod push;
pub mod stage;
pub mod transfer;

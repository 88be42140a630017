//! The load: a sender of the frames of many flows, in sizes that alternate, and a sink that counts
//! them and the time that each was under way.
//!
//! The sender is an XDP program that the kernel runs over and over with live frames; the sink is
//! one that drops in the driver. Each costs a tenth of what a forwarder costs, so neither takes
//! part in what is measured. A paced frame is stamped with the moment at which it was due, not with
//! the one at which it was sent: who keeps the sender waiting is not to profit from it.

mod sender;
mod shape;
mod sink;
mod socket;
mod times;

pub(crate) use sender::{Load, Sender};
pub(crate) use shape::{DESTINATION_PORT, Ends, FLOWS_MAX, Family, SIZES, Shape, Sizes, sources};
pub(crate) use sink::{Seen, Sink};
pub(crate) use socket::send;
pub(crate) use times::Times;

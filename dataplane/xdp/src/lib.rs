//! The kernel's side of the dataplane: packet memory, AF_XDP sockets and the gate program.
//!
//! This crate owns every frame of packet memory, says who holds each one, and carries frames between
//! the kernel's rings and the engine. It judges nothing: a frame goes in and out as bytes.
//!
//! ```text
//!    NIC or veth queue
//!         |
//!    gate program (bpf/gate.bpf.c, pinned)  ---- node traffic ---->  the kernel's own stack
//!         |                                 ---- no socket -------->  fallback: drop or pass
//!         v
//!    rx ring --receive--> Vec<Frame> --(engine judges)--> send --> tx ring --> wire
//!    fill ring <--refill-- FramePool <------------------complete-- completion ring
//! ```
//!
//! It refuses: a second owner for a frame (a [`Frame`] is a move-only token), a queue that another
//! program has, an interface on which another XDP program runs, and a start without privileges.
//!
//! Frames work without a kernel, which is how the engine is tested:
//!
//! ```
//! use sluice_xdp::Umem;
//!
//! let (umem, mut pool) = Umem::in_memory(8)?;
//! let mut frame = pool.take().ok_or("the pool is empty")?;
//! assert!(frame.copy_from(b"any bytes"));
//! assert_eq!(&frame[..3], b"any");
//! pool.put(frame);
//! assert_eq!((pool.len(), umem.leaked()), (8, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(
    unsafe_code,
    reason = "packet memory is shared with the kernel; this crate is the only one that touches it"
)]

mod attached;
mod bpffs;
mod chain;
mod cycles;
mod ethtool;
mod features;
mod frame;
mod gate;
mod interface;
mod link;
mod link_watch;
mod netdev;
mod netlink;
mod pins;
mod pool;
mod privilege;
mod promiscuous;
mod queue;
mod region;
mod rx_queues;
mod shell;
mod socket;
mod sockets;
mod topology;
mod umem;

pub use attached::{pinned_program, xdp_program_name};
pub use bpffs::{BpffsError, ensure_bpffs, is_bpffs};
pub use cycles::{CYCLE_UNIT, CycleUnit, cycles};
pub use ethtool::{Channels, Driver, Ethtool, Offloads, RingSizes, RssTable};
pub use features::{XdpFeatures, xdp_features};
pub use frame::{CHUNK_MTU_MAX, FRAME_SIZE, Frame, HEADROOM, MTU_MAX, PIECES_MAX, Pieces};
pub use gate::{
    Fallback, Gate, GateConfig, GateCounters, GateError, GateMode, GateRole, NODE_ADDRESSES_MAX,
    QUEUES_MAX, detach_all,
};
pub use interface::{Interface, InterfaceError};
pub use link::{Link, XdpProgram};
pub use link_watch::LinkWatch;
pub use pool::FramePool;
pub use privilege::{PrivilegeError, check_privileges};
pub use queue::{
    BATCH_LEN_MAX, BusyPoll, Copying, FramesHeld, Queue, QueueConfig, QueueError, QueueReport,
    QueueStatistics, WhyCopied,
};
pub use shell::shell_word;
pub use sockets::XdpSocket;
pub use topology::{Interrupt, Topology};
pub use umem::{FRAME_COUNT_MAX, Umem, UmemConfig, UmemError};

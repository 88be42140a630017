//! What threads share state through, under one roof, so that models can put loom's in its place.
//!
//! `make loom` runs the engine's own code in every order of threads, and with every stale value,
//! that the memory model allows within a bound. loom knows only its own atomics; for queues, the
//! scene's pointer, channels and the bell it gets stand-ins, which order nothing beyond release
//! and acquire. What the engine needs beyond that has to come from its own fences.

#[cfg(test)]
#[cfg(loom)]
mod stand_ins;

#[cfg(all(test, loom))]
pub(crate) use stand_ins::*;

#[cfg(not(all(test, loom)))]
pub(crate) use self::real::*;

#[cfg(not(all(test, loom)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, fence};
    pub(crate) use std::sync::{Mutex, MutexGuard};
    pub(crate) use std::thread::sleep;

    pub(crate) use arc_swap::ArcSwap;
    pub(crate) use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
    pub(crate) use crossbeam::queue::ArrayQueue;

    pub(crate) use crate::bell::{Bell, Listener};
}

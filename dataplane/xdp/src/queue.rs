//! A queue: one AF_XDP socket on one receive queue of one interface, in terms of whole frames.
//!
//! Frames that enter a queue (`refill`, `send`) are marked as the kernel's in the owner table; frames
//! that leave it (`receive`, `complete`, `close`) are marked as user space's. An address that the
//! kernel hands back without having been lent it is counted and ignored, never believed. Bound: a
//! queue holds at most `fill_frames_max` frames to receive into and `ring_size` to send. Nothing
//! allocates after `bind`, provided that the caller's `Vec` has room for what is received.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

mod bind;
mod busy_poll;
mod error;
mod gather;

pub use bind::WhyCopied;
use bind::{bind_patiently, released};
pub use busy_poll::BusyPoll;
use busy_poll::{Polling, STALLED_KICKS_MAX, is_polled};
pub use error::QueueError;
use gather::{Foreign, Gathering, index_of};

use crate::frame::{FRAME_SIZE, Frame, HEADROOM, Parts};
use crate::interface::Interface;
use crate::pool::FramePool;
use crate::region::Region;
use crate::socket::{Socket, Unbound};
use crate::umem::Umem;

/// The most frames that one step on a ring moves.
pub const BATCH_LEN_MAX: usize = 64;

/// How long a close waits for frames that are still being sent.
const DRAIN_PATIENCE: Duration = Duration::from_millis(200);

/// System calls that one `kick` makes at most; in copy mode each sends about 32 frames.
const KICK_CALLS_MAX: u32 = 128;

/// Whether driver and socket share memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Copying {
    /// The driver reads and writes the frames itself if it can, else the kernel copies them.
    #[default]
    IfNeeded,
    /// The kernel copies, even if the driver could do without.
    Always,
    /// The driver does without, or the queue is refused.
    Never,
}

/// Sizes and mode of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Places on each of the four rings: a power of two from 64 to 32768.
    pub ring_size: u32,
    /// Frames to keep with the kernel for receiving, at most `ring_size`.
    pub fill_frames_max: u32,
    /// Zero-copy or not.
    pub copying: Copying,
    /// Whether it can only receive: some drivers send nothing by queues that came with the gate.
    pub receive_only: bool,
    /// Receive and send packets that are longer than a frame, in chained ones (`XDP_USE_SG`; Linux
    /// 6.6). Without it the kernel drops them on receive.
    pub chains: bool,
    /// Whether the driver's work is done when the queue is asked, in place of interrupts.
    pub busy_poll: Option<BusyPoll>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            ring_size: 2048,
            fill_frames_max: 1024,
            copying: Copying::IfNeeded,
            receive_only: false,
            chains: false,
            busy_poll: None,
        }
    }
}

/// Frames of a queue that are with the kernel, those of a packet that is not complete included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FramesHeld {
    /// To receive into, or received and not yet read.
    pub fill: usize,
    /// To be sent, or sent and not yet completed.
    pub tx: usize,
}

/// The kernel's counters for one socket, since bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Dropped on receive for other reasons, such as a packet longer than a frame.
    pub rx_dropped: u64,
    /// Dropped on receive because the rx ring was full: the engine was too slow.
    pub rx_ring_full: u64,
    /// Dropped on receive because the fill ring was empty: too few frames.
    pub rx_fill_ring_empty: u64,
    /// Fill ring entries that the kernel found invalid. Zero in a sound program.
    pub rx_invalid_descriptors: u64,
    /// Tx ring entries that the kernel found invalid. Zero in a sound program.
    pub tx_invalid_descriptors: u64,
    /// Times the kernel looked for something to send and found nothing.
    pub tx_ring_empty: u64,
    /// Addresses that the kernel handed back without holding them; ignored. Zero on a sound kernel.
    pub foreign_descriptors: u64,
}

/// How a queue runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueReport {
    /// Its number on its interface, from zero.
    pub queue_id: u32,
    /// Whether driver and socket share memory without a copy.
    pub zero_copy: bool,
    /// Why it copies though it would have done without.
    pub why_copied: Option<WhyCopied>,
    /// How it is to be polled, if it is.
    pub busy_poll: Option<BusyPoll>,
    /// Whether polls do receive and send; otherwise interrupts do, all the same.
    pub polled: bool,
    /// The kernel's counters; `None` if it does not tell them.
    pub statistics: Option<QueueStatistics>,
}

/// One AF_XDP socket with the frames that it has lent to the kernel.
pub struct Queue {
    socket: Socket,
    region: &'static Region,
    owner: u32,
    config: QueueConfig,
    interface_name: String,
    interface_index: u32,
    queue_id: u32,
    zero_copy: bool,
    why_copied: Option<WhyCopied>,
    polling: Polling,
    /// Kicks in a row that have sent nothing, while it is polled.
    stalled_kicks: u32,
    held: FramesHeld,
    foreign_descriptors: u64,
    gathering: Gathering,
}

impl Queue {
    /// Opens a socket on a queue of an interface of the current network namespace.
    ///
    /// Waits up to two seconds for the kernel to finish the
    /// teardown of a socket that was there before. Attach the gate first: some drivers never deliver
    /// to a socket that was bound before their program came.
    ///
    /// # Errors
    /// [`QueueError`] if the configuration is out of range, the queue is taken or the kernel refuses.
    pub fn bind(
        umem: &Umem,
        interface: &Interface,
        queue_id: u32,
        config: &QueueConfig,
    ) -> Result<Self, QueueError> {
        check(config)?;
        let region = umem.region();
        let name = interface.name();
        let refused = |source| QueueError::refused(name, queue_id, source);
        let unbound = Unbound::new(region, config.ring_size).map_err(refused)?;
        let (socket, why_copied) = bind_patiently(
            unbound,
            name,
            queue_id,
            config.copying,
            config.chains,
        )
        .map_err(|source| {
            // The kernel's EINVAL has many causes; this one can be told apart.
            let beyond = source.raw_os_error() == Some(libc::EINVAL)
                && Interface::open(name).is_ok_and(|now| queue_id >= now.rx_queue_count());
            if beyond {
                return QueueError::NoSuchQueue { interface: name.to_owned(), queue_id };
            }
            if config.copying == Copying::Never
                && let Some(why) = WhyCopied::of(&source)
            {
                return QueueError::NoZeroCopy { interface: name.to_owned(), queue_id, why };
            }
            let no_chains = [libc::EINVAL, libc::EOPNOTSUPP].map(Some);
            if config.chains && no_chains.contains(&source.raw_os_error()) {
                let interface = name.to_owned();
                return QueueError::NoChains { interface, queue_id, source };
            }
            refused(source)
        })?;
        let zero_copy = socket.zero_copy().map_err(refused)?;
        let polling = match config.busy_poll {
            Some(busy_poll) => busy_poll.begin(&socket, name, queue_id)?,
            None => Polling::Off,
        };
        let owner = region.new_owner();
        Ok(Self {
            socket,
            region,
            owner,
            config: *config,
            interface_name: name.to_owned(),
            interface_index: interface.index(),
            queue_id,
            zero_copy,
            why_copied,
            polling,
            stalled_kicks: 0,
            held: FramesHeld::default(),
            foreign_descriptors: 0,
            gathering: Gathering::new(region, owner),
        })
    }

    /// Appends received frames to `out`, in the order of arrival; tells how many. Reads at most `max`
    /// chunks: a packet of which there is more to come is kept until it is complete. A queue that is
    /// polled and has nothing polls once, which is a system call.
    #[inline]
    pub fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let frames = self.take_received(out, max);
        match self.polling {
            Polling::Off => frames,
            Polling::Unknown if frames == 0 => 0,
            Polling::Unknown => {
                self.polling = Polling::after_a_frame(&self.socket);
                frames
            }
            Polling::On if frames > 0 => frames,
            Polling::On => {
                self.socket.wake_rx();
                self.take_received(out, max)
            }
        }
    }

    #[inline]
    fn take_received(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let Self { socket, gathering, .. } = self;
        let (mut frames, mut chunks, mut foreign) = (0, 0, 0);
        let max = u32::try_from(max).unwrap_or(u32::MAX).min(self.config.ring_size);
        socket.receive(max, |address, len, goes_on| match gathering.next(address, len, goes_on) {
            Ok(Some(frame)) => {
                frames += 1;
                chunks += frame.chunk_count();
                out.push(frame);
            }
            Ok(None) => {}
            Err(Foreign) => foreign += 1,
        });
        self.held.fill = self.held.fill.saturating_sub(chunks);
        self.foreign_descriptors += foreign;
        frames
    }

    /// Tops up the kernel's stock of frames to receive into; tells how many it took from the pool.
    ///
    /// Waits until a batch (or a quarter of a small stock) is missing, to spare work per packet.
    #[inline]
    pub fn refill(&mut self, pool: &mut FramePool) -> usize {
        debug_assert!(std::ptr::eq(pool.region(), self.region), "a pool of another UMEM");
        let target = self.config.fill_frames_max as usize;
        let missing = target.saturating_sub(self.held.fill);
        let worthwhile = missing >= BATCH_LEN_MAX.min((target / 4).max(1));
        let same = std::ptr::eq(pool.region(), self.region);
        let mut taken = 0;
        if worthwhile && same {
            let want = u32::try_from(missing.min(pool.len())).unwrap_or(u32::MAX);
            let count = want.min(self.socket.fill_free(want));
            let (region, owner) = (self.region, self.owner);
            self.socket.fill(count, || {
                let index = pool.take_index()?;
                region.lend(index, owner);
                taken += 1;
                Some(u64::from(index) * FRAME_SIZE as u64 + u64::from(HEADROOM))
            });
            self.held.fill += taken;
        }
        if self.socket.fill_needs_wakeup() {
            self.socket.wake_rx();
        }
        taken
    }

    /// Moves as many frames as fit from the front of `frames` to the tx ring, in order and each with
    /// all of its chunks; tells how many.
    ///
    /// The rest stay in `frames`. Nothing is sent before [`Queue::kick`].
    #[inline]
    pub fn send(&mut self, frames: &mut Vec<Frame>) -> usize {
        if self.config.receive_only {
            return 0;
        }
        let room = (self.config.ring_size as usize).saturating_sub(self.held.tx);
        let wanted = match self.config.chains {
            false => frames.len(),
            true => frames.iter().map(Frame::chunk_count).sum(),
        };
        let want = u32::try_from(wanted.min(room)).unwrap_or(u32::MAX);
        if want == 0 {
            return 0;
        }
        let free = want.min(self.socket.tx_free(want)) as usize;
        let (region, owner, chains) = (self.region, self.owner, self.config.chains);
        let mut chunks = 0;
        // A frame of another UMEM would name other memory here: it ends the batch, and stays. So does
        // a chain that the socket was not opened for.
        let fits = |frame: &&Frame| {
            let after = chunks + frame.chunk_count();
            let fits = after <= free
                && (chains || !frame.is_chained())
                && std::ptr::eq(frame.region(), region);
            chunks = if fits { after } else { chunks };
            fits
        };
        let count = frames.iter().take_while(fits).count();
        let mut leaving = frames.drain(..count);
        let mut behind = None;
        self.socket.transmit(u32::try_from(chunks).unwrap_or(0), || {
            let Parts { index, place, next } = match behind.take() {
                None => leaving.next()?.into_parts(),
                Some(index) => Parts::of_chained(region, index),
            };
            behind = next;
            region.lend(index, owner);
            let address = u64::from(index) * FRAME_SIZE as u64 + u64::from(place.offset);
            Some((address, place.len.into(), next.is_some()))
        });
        drop(leaving);
        self.held.tx += chunks;
        count
    }

    /// Makes the kernel send what is on the tx ring, as far as the device takes it now.
    ///
    /// A full device is not an error: the frames wait on the ring for the next kick.
    ///
    /// # Errors
    /// What the kernel said: `ENETDOWN` for a link that is down, `ENXIO` for a device that is gone.
    pub fn kick(&mut self) -> io::Result<()> {
        if self.held.tx == 0 {
            return Ok(());
        }
        let mut waiting = self.socket.tx_waiting();
        for _ in 0..KICK_CALLS_MAX {
            // Where interrupts give way to polls, nobody else finishes what is on the ring.
            let wanted = self.polling == Polling::On || self.socket.tx_needs_wakeup();
            if waiting == 0 || !wanted {
                break;
            }
            let outcome = self.socket.wake_tx();
            if let Err(error) = outcome
                && !matches!(
                    error.raw_os_error(),
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)
                )
            {
                return Err(error);
            }
            let before = std::mem::replace(&mut waiting, self.socket.tx_waiting());
            if waiting < before {
                self.stalled_kicks = 0;
            } else if self.polling == Polling::On {
                return self.stall();
            } else {
                break;
            }
        }
        Ok(())
    }

    /// A poll has sent nothing. If none does, the driver has to be woken again.
    #[cold]
    fn stall(&mut self) -> io::Result<()> {
        self.stalled_kicks += 1;
        if self.stalled_kicks < STALLED_KICKS_MAX {
            return Ok(());
        }
        self.stalled_kicks = 0;
        busy_poll::end(&self.socket)?;
        self.polling = Polling::Off;
        Ok(())
    }

    /// Gives frames whose sending is over back to the pool; tells how many.
    #[inline]
    pub fn complete(&mut self, pool: &mut FramePool) -> usize {
        if self.held.tx == 0 || !std::ptr::eq(pool.region(), self.region) {
            return 0;
        }
        let (region, owner) = (self.region, self.owner);
        let (mut returned, mut foreign) = (0, 0);
        self.socket.complete(self.config.ring_size, |address| {
            match index_of(address).filter(|index| region.reclaim(*index, owner)) {
                Some(index) => {
                    pool.put_index(index);
                    returned += 1;
                }
                None => foreign += 1,
            }
        });
        self.held.tx = self.held.tx.saturating_sub(returned);
        self.foreign_descriptors += foreign;
        returned
    }

    /// Number of frames that are with the kernel for this queue.
    #[must_use]
    pub fn frames_held(&self) -> usize {
        self.held.fill + self.held.tx
    }

    /// The same, by direction.
    #[must_use]
    pub fn held(&self) -> FramesHeld {
        self.held
    }

    /// False if what is given to it to send would not leave.
    #[must_use]
    pub fn can_send(&self) -> bool {
        !self.config.receive_only
    }

    /// True if the driver reads and writes the frames itself, without a copy.
    #[must_use]
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Why the queue copies though it would have done without; `None` if it does as was wanted.
    #[must_use]
    pub fn why_copied(&self) -> Option<WhyCopied> {
        self.why_copied
    }

    /// Name of the interface.
    #[must_use]
    pub fn interface_name(&self) -> &str {
        &self.interface_name
    }

    /// Number of the queue on its interface, from zero.
    #[must_use]
    pub fn queue_id(&self) -> u32 {
        self.queue_id
    }

    /// The kernel's counters.
    ///
    /// # Errors
    /// What the kernel said, should it refuse to tell.
    pub fn statistics(&self) -> io::Result<QueueStatistics> {
        let kernel = self.socket.statistics()?;
        Ok(QueueStatistics {
            rx_dropped: kernel.rx_dropped,
            rx_ring_full: kernel.rx_ring_full,
            rx_fill_ring_empty: kernel.rx_fill_ring_empty_descs,
            rx_invalid_descriptors: kernel.rx_invalid_descs,
            tx_invalid_descriptors: kernel.tx_invalid_descs,
            tx_ring_empty: kernel.tx_ring_empty_descs,
            foreign_descriptors: self.foreign_descriptors,
        })
    }

    /// How it runs. A few system calls.
    #[must_use]
    pub fn report(&self) -> QueueReport {
        QueueReport {
            queue_id: self.queue_id,
            zero_copy: self.zero_copy,
            why_copied: self.why_copied,
            busy_poll: self.config.busy_poll,
            polled: self.polling != Polling::Off && is_polled(&self.socket),
            statistics: self.statistics().ok(),
        }
    }

    /// Closes the socket and gives every frame that the kernel held to `pool`; tells how many.
    ///
    /// In copy mode the kernel is done with the receive side when the close returns. Where it may
    /// not be (zero-copy, or frames whose sending does not end within 200 ms) this waits up to two
    /// seconds until the queue could be bound again, which is when the kernel has let go of the memory.
    /// If even that fails, the frames are not reused: they count as leaked and are not in the result.
    pub fn close(mut self, pool: &mut FramePool) -> usize {
        debug_assert!(std::ptr::eq(pool.region(), self.region), "a pool of another UMEM");
        let mut count = self.drain_tx(pool);
        if let Some(unfinished) = self.gathering.take_unfinished() {
            count += unfinished.chunk_count();
            pool.put(unfinished);
        }
        let doubtful = self.zero_copy || self.held.tx > 0;
        let Self { socket, region, owner, interface_index, queue_id, .. } = self;
        drop(socket);
        if doubtful && !released(interface_index, queue_id) {
            let lost = region.reclaim_all(owner, |_| {});
            region.count_leaked(lost);
            return count;
        }
        if std::ptr::eq(pool.region(), region) {
            count += region.reclaim_all(owner, |index| pool.put_index(index));
        }
        count
    }

    /// Waits a short while for sending to end.
    fn drain_tx(&mut self, pool: &mut FramePool) -> usize {
        let deadline = Instant::now() + DRAIN_PATIENCE;
        let mut count = self.complete(pool);
        while self.held.tx > 0 && Instant::now() < deadline {
            if self.kick().is_err() {
                break;
            }
            count += self.complete(pool);
            if self.held.tx > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        count
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("interface", &self.interface_name)
            .field("queue_id", &self.queue_id)
            .field("zero_copy", &self.zero_copy)
            .field("held", &self.held)
            .finish()
    }
}

fn check(config: &QueueConfig) -> Result<(), QueueError> {
    let QueueConfig { ring_size, fill_frames_max, .. } = *config;
    if !ring_size.is_power_of_two() || !(64..=32_768).contains(&ring_size) {
        return Err(QueueError::RingSize { ring_size });
    }
    if fill_frames_max == 0 || fill_frames_max > ring_size {
        return Err(QueueError::FillFrames { fill_frames_max, ring_size });
    }
    Ok(())
}

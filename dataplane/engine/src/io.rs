//! The engine's view of a queue, so that it runs over memory in tests as over AF_XDP.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use sluice_xdp::{Frame, FramePool, Queue, QueueReport};

/// The rings of one queue of one port.
pub trait QueueIo: Send {
    /// Takes at most `max` received frames, in order, to the end of `frames`; tells how many.
    fn receive(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize;

    /// Gives the queue free frames to receive into.
    fn refill(&mut self, pool: &mut FramePool);

    /// Takes frames to be sent from the front of `frames`; those that do not fit stay there.
    fn send(&mut self, frames: &mut Vec<Frame>) -> usize;

    /// Whether it sends at all.
    fn can_send(&self) -> bool {
        true
    }

    /// Makes sure that what was sent gets on its way.
    ///
    /// # Errors
    /// What the kernel says of a socket that cannot send any more.
    fn kick(&mut self) -> io::Result<()>;

    /// Whether frames wait to be sent that a kick may move.
    fn is_sending(&self) -> bool;

    /// Takes back frames that have left.
    fn complete(&mut self, pool: &mut FramePool);

    /// Chunks of packet memory that the queue holds.
    fn held(&self) -> usize;

    /// Ends the queue and gives back every frame that it holds.
    fn close(self: Box<Self>, pool: &mut FramePool);

    /// What a sleeping worker waits on.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;

    /// How the kernel runs the queue; `None` where no kernel does.
    fn report(&self) -> Option<QueueReport>;
}

impl QueueIo for Queue {
    fn receive(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
        Self::receive(self, frames, max)
    }

    fn refill(&mut self, pool: &mut FramePool) {
        Self::refill(self, pool);
    }

    fn send(&mut self, frames: &mut Vec<Frame>) -> usize {
        Self::send(self, frames)
    }

    fn can_send(&self) -> bool {
        Self::can_send(self)
    }

    fn kick(&mut self) -> io::Result<()> {
        Self::kick(self)
    }

    fn is_sending(&self) -> bool {
        Self::held(self).tx > 0
    }

    fn complete(&mut self, pool: &mut FramePool) {
        Self::complete(self, pool);
    }

    fn held(&self) -> usize {
        self.frames_held()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        Self::close(*self, pool);
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }

    fn report(&self) -> Option<QueueReport> {
        Some(Self::report(self))
    }
}

pub mod memory {
    //! A queue whose wire is two lists in memory, for tests of the engine without a kernel.

    use std::sync::Arc;

    use crossbeam::queue::ArrayQueue;

    use super::{BorrowedFd, Frame, FramePool, QueueIo, QueueReport, io};

    /// The outside of a queue: what a test sends into it and finds sent by it.
    #[derive(Debug, Clone)]
    pub struct Wire {
        inbound: Arc<ArrayQueue<Vec<u8>>>,
        outbound: Arc<ArrayQueue<Vec<u8>>>,
    }

    /// The inside of the same queue.
    #[derive(Debug)]
    pub struct MemoryQueue {
        wire: Wire,
        /// Bytes that each chunk takes of a packet that is received.
        piece_len: usize,
        /// A packet for which too few chunks are left.
        stuck: Option<Vec<u8>>,
        fill: Vec<Frame>,
        fill_len_max: usize,
        sent: Vec<Frame>,
        receive_only: bool,
    }

    impl Wire {
        /// A wire that holds at most `len` frames each way, and the queue on it.
        #[must_use]
        pub fn new(len: usize) -> (Self, MemoryQueue) {
            Self::with_piece_len(len, 3840)
        }

        /// The same, with packets that are longer than `piece_len` (1 to 3840) received in several
        /// chunks.
        #[must_use]
        pub fn with_piece_len(len: usize, piece_len: usize) -> (Self, MemoryQueue) {
            let wire = Self {
                inbound: Arc::new(ArrayQueue::new(len)),
                outbound: Arc::new(ArrayQueue::new(len)),
            };
            let queue = MemoryQueue {
                wire: wire.clone(),
                piece_len: piece_len.clamp(1, 3840),
                stuck: None,
                fill: Vec::new(),
                fill_len_max: len,
                sent: Vec::new(),
                receive_only: false,
            };
            (wire, queue)
        }

        /// Sends a frame into the queue. Returns whether there was room.
        pub fn push(&self, frame: &[u8]) -> bool {
            self.inbound.push(frame.to_vec()).is_ok()
        }

        /// The next frame that the queue has sent.
        #[must_use]
        pub fn pop(&self) -> Option<Vec<u8>> {
            self.outbound.pop()
        }
    }

    impl MemoryQueue {
        /// A chunk with these bytes, which are no more than fit.
        fn next(&mut self, piece: &[u8]) -> Option<Frame> {
            let mut frame = self.fill.pop()?;
            let _fits = frame.copy_from(piece);
            Some(frame)
        }
    }

    impl MemoryQueue {
        /// The same queue, if it could not send.
        #[must_use]
        pub fn receive_only(self) -> Self {
            Self { receive_only: true, ..self }
        }
    }

    impl QueueIo for MemoryQueue {
        fn receive(&mut self, frames: &mut Vec<Frame>, max: usize) -> usize {
            let mut count = 0;
            while count < max && !self.fill.is_empty() {
                let Some(bytes) = self.stuck.take().or_else(|| self.wire.inbound.pop()) else {
                    break;
                };
                let mut pieces = bytes.chunks(self.piece_len);
                if pieces.len() > self.fill.len() {
                    self.stuck = Some(bytes);
                    break;
                }
                let Some(mut frame) = self.next(pieces.next().unwrap_or_default()) else { break };
                for piece in pieces {
                    if let Some(Err(refused)) = self.next(piece).map(|next| frame.append(next)) {
                        self.fill.push(refused);
                    }
                }
                frames.push(frame);
                count += 1;
            }
            count
        }

        fn refill(&mut self, pool: &mut FramePool) {
            while self.fill.len() < self.fill_len_max {
                let Some(frame) = pool.take() else { break };
                self.fill.push(frame);
            }
        }

        fn send(&mut self, frames: &mut Vec<Frame>) -> usize {
            let room = self.wire.outbound.capacity() - self.wire.outbound.len();
            let count = room.min(frames.len());
            for frame in frames.drain(..count) {
                // Only this queue pushes, so the room cannot have gone.
                let _ = self.wire.outbound.push(frame.pieces().flatten().copied().collect());
                self.sent.push(frame);
            }
            count
        }

        fn can_send(&self) -> bool {
            !self.receive_only
        }

        fn kick(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn is_sending(&self) -> bool {
            false
        }

        fn complete(&mut self, pool: &mut FramePool) {
            for frame in self.sent.drain(..) {
                pool.put(frame);
            }
        }

        fn held(&self) -> usize {
            self.fill.iter().chain(&self.sent).map(Frame::chunk_count).sum()
        }

        fn close(mut self: Box<Self>, pool: &mut FramePool) {
            for frame in self.fill.drain(..).chain(self.sent.drain(..)) {
                pool.put(frame);
            }
        }

        fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn report(&self) -> Option<QueueReport> {
            None
        }
    }
}

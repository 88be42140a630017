//! What loom does not have, built on what it has, and promising no more than it must: who looks
//! whether there is something may get an old answer, unless its own fences or what it has read
//! before say otherwise.
//!
//! The values themselves are behind a mutex of std, which loom does not see, so that it orders
//! nothing. It is never held across an operation of loom's, where threads take turns.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Release};
use std::sync::{Arc, Mutex as Plain, MutexGuard as PlainGuard, Weak};
use std::time::Duration;

use loom::sync::Condvar;
use loom::sync::atomic::{AtomicIsize, AtomicUsize};

pub(crate) use crossbeam::channel::{RecvTimeoutError, SendError, TryRecvError};
pub(crate) use loom::sync::atomic::{AtomicU64, fence};
pub(crate) use loom::sync::{Mutex, MutexGuard};

fn plain<T>(mutex: &Plain<T>) -> PlainGuard<'_, T> {
    mutex.lock().unwrap()
}

/// Time does not pass in a model; other threads get their turn.
pub(crate) fn sleep(_: Duration) {
    loom::thread::yield_now();
}

/// loom's own, but for `store`, which is a swap here. loom does not know that nothing comes between
/// what a swap reads and what it writes. It would let a swap overlook a store that has to be before
/// it, and report wake-ups as lost that no machine loses.
#[derive(Debug)]
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(crate) fn store(&self, value: bool, ordering: Ordering) {
        self.0.swap(value, ordering);
    }

    pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        self.0.swap(value, ordering)
    }
}

/// In place of crossbeam's. The length changes in one step each time: a load before it would hide
/// from loom that another thread had looked at it.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    /// Below zero for a moment, if two take the last item.
    len: AtomicIsize,
    len_max: usize,
    items: Plain<VecDeque<T>>,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { len: AtomicIsize::new(0), len_max, items: Plain::default() }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.len.fetch_add(1, AcqRel);
        let mut items = plain(&self.items);
        if items.len() < self.len_max {
            items.push_back(item);
            return Ok(());
        }
        drop(items);
        if cfg!(mutant = "full_queue_swallows") {
            std::mem::forget(item);
            return Ok(());
        }
        self.len.fetch_sub(1, AcqRel);
        Err(item)
    }

    pub(crate) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        if cfg!(mutant = "pop_in_two_steps") {
            self.len.store(self.len.load(Acquire) - 1, Release);
        } else if self.len.fetch_sub(1, AcqRel) <= 0 {
            self.len.fetch_add(1, AcqRel);
            return None;
        }
        let mut items = plain(&self.items);
        if cfg!(mutant = "newest_first") { items.pop_back() } else { items.pop_front() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Acquire).try_into().unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// In place of arc-swap's. Every value that was ever in it is known, so that a thread that would
/// pick up one which has been freed is found out.
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    newest: AtomicUsize,
    all: Plain<Vec<Weak<T>>>,
    held: Plain<Arc<T>>,
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        let value = Arc::new(value);
        let all = Plain::new(vec![Arc::downgrade(&value)]);
        Self { newest: AtomicUsize::new(0), all, held: Plain::new(value) }
    }

    pub(crate) fn load(&self) -> Arc<T> {
        let index = self.newest.load(Acquire);
        let picked_up = plain(&self.all).get(index).and_then(Weak::upgrade);
        picked_up.expect("a thread still saw what has been freed")
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.load()
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        let index = {
            let mut all = plain(&self.all);
            all.push(Arc::downgrade(&value));
            all.len() - 1
        };
        let old = std::mem::replace(&mut *plain(&self.held), value);
        self.newest.swap(index, AcqRel);
        old
    }
}

/// In place of crossbeam's: nobody goes away before the other end.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Channel<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Channel<T>>);

#[derive(Debug)]
struct Channel<T> {
    queue: ArrayQueue<T>,
    /// Who waits for an item waits here.
    arrival: (Mutex<()>, Condvar),
}

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let arrival = (Mutex::new(()), Condvar::new());
    let channel = Arc::new(Channel { queue: ArrayQueue::new(usize::MAX), arrival });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

pub(crate) fn bounded<T>(_: usize) -> (Sender<T>, Receiver<T>) {
    unbounded()
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.0.queue.push(item).map_err(SendError)?;
        drop(self.0.arrival.0.lock().unwrap());
        self.0.arrival.1.notify_one();
        Ok(())
    }
}

impl<T> Receiver<T> {
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.queue.pop().ok_or(TryRecvError::Empty)
    }

    pub(crate) fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        let mut waiting = self.0.arrival.0.lock().unwrap();
        loop {
            if let Some(item) = self.0.queue.pop() {
                return Ok(item);
            }
            waiting = self.0.arrival.1.wait(waiting).unwrap();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }
}

/// In place of an eventfd and the epoll that waits for it. A wake-up that is lost is lost for
/// good: no time-out makes up for it.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self(Arc::new((Mutex::new(false), Condvar::new()))))
    }

    pub(crate) fn ring(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_one();
    }

    pub(crate) fn silence(&self) {
        *self.0.0.lock().unwrap() = false;
    }
}

#[derive(Debug)]
pub(crate) struct Listener(Option<Bell>);

impl Listener {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self(None))
    }

    pub(crate) fn add_bell(&mut self, bell: &Bell) -> nix::Result<()> {
        self.0 = Some(bell.clone());
        Ok(())
    }

    pub(crate) fn add(&self, _: BorrowedFd<'_>) -> nix::Result<()> {
        Ok(())
    }

    pub(crate) fn wait(&self, _: u16) {
        let Bell(bell) = self.0.as_ref().unwrap();
        let mut rings = bell.0.lock().unwrap();
        while !*rings {
            rings = bell.1.wait(rings).unwrap();
        }
    }
}

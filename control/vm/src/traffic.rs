//! Counted datagrams of many flows.
//!
//! A sender never has more than a window of datagrams under way, however slow the emulation is: what is lost was
//! not overrun.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use sluice_lab::{Namespace, wait_until};

use crate::stage::PATIENCE;

const WINDOW: u64 = 128;

/// Datagrams between two looks at the window, and the pause after them: 8,000 a second at most.
const BURST: u64 = 8;
const PAUSE: Duration = Duration::from_millis(1);

/// Counts the datagrams that arrive at an address inside a namespace.
pub(crate) struct Sink {
    address: SocketAddr,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    pub(crate) fn listen(namespace: &Namespace, address: SocketAddr) -> Self {
        let socket = namespace.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (received, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, until) = (Arc::clone(&received), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while !until.load(Relaxed) {
                if socket.recv(&mut buffer).is_ok() {
                    count.fetch_add(1, Relaxed);
                }
            }
        });
        Self { address, received, stop, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Who sends, from which addresses, and what.
pub(crate) struct Load {
    /// Source addresses; each has one flow to each destination.
    pub(crate) sources: Vec<IpAddr>,
    /// Where a sink counts.
    pub(crate) allowed: SocketAddr,
    pub(crate) allowed_count: u64,
    /// Where nothing may arrive.
    pub(crate) denied: SocketAddr,
    pub(crate) denied_count: u64,
    /// The longest payload, in bytes; they are of all lengths.
    pub(crate) length_max: u64,
}

/// Addresses of the outside, for flows that differ by address.
pub(crate) fn outside_addresses(count: u8) -> Vec<IpAddr> {
    (0..count)
        .map(|place| Ipv4Addr::new(198, 18, place, place.wrapping_mul(37).max(1)).into())
        .collect()
}

impl Load {
    /// Sends it all, and waits until as many as are allowed have arrived.
    pub(crate) fn send(&self, from: &Namespace, sink: &Sink) {
        let already = sink.received();
        from.run(|| self.pour(sink, already)).unwrap();
        let arrived = || sink.received() - already >= self.allowed_count;
        let in_time = wait_until(Duration::from_secs(10), arrived);
        let received = sink.received() - already;
        assert!(
            in_time && received == self.allowed_count,
            "{received} of {} arrived",
            self.allowed_count
        );
    }

    fn pour(&self, sink: &Sink, already: u64) {
        let sockets: Vec<UdpSocket> =
            self.sources.iter().map(|ip| UdpSocket::bind((*ip, 0)).unwrap()).collect();
        let payload = [0x5a; 9000];
        let (mut allowed, mut denied) = (0, 0);
        while allowed < self.allowed_count || denied < self.denied_count {
            for step in 0..BURST {
                let turn = allowed + denied + step;
                let socket =
                    &sockets[usize::try_from(allowed / 2 + denied / 2).unwrap() % sockets.len()];
                let length = usize::try_from(18 + turn * 37 % (self.length_max - 17)).unwrap();
                // Both run out together.
                if allowed * self.denied_count <= denied * self.allowed_count
                    && allowed < self.allowed_count
                {
                    socket.send_to(&payload[..length], self.allowed).unwrap();
                    allowed += 1;
                } else if denied < self.denied_count {
                    socket.send_to(&payload[..length], self.denied).unwrap();
                    denied += 1;
                }
            }
            std::thread::sleep(PAUSE);
            let in_window = || allowed - (sink.received() - already) <= WINDOW;
            let moves = wait_until(PATIENCE, in_window);
            assert!(moves, "{} of {allowed} arrived, and no more come", sink.received() - already);
        }
    }
}

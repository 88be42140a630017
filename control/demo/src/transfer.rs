//! A transfer that goes on until it is stopped: bytes to an echo server and back, counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_lab::{LabError, Namespace};

/// Bytes sent before they are awaited back.
const BLOCK_LEN: usize = 16 * 1024;

/// How often a transfer without progress looks whether it shall stop.
const TICK: Duration = Duration::from_millis(50);

/// A TCP connection that carries bytes all the time.
pub struct Transfer {
    echoed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Transfer {
    /// Connects from a namespace to an echo server and begins.
    ///
    /// # Errors
    /// [`LabError`], if no thread can enter the namespace. A connection that does not come about
    /// shows as no progress.
    pub fn start(from: &Namespace, to: SocketAddr) -> Result<Self, LabError> {
        let echoed = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, until) = (Arc::clone(&echoed), Arc::clone(&stop));
        let thread = from.spawn(move || {
            // What ends it is seen from the count.
            let _ = carry(to, &count, &until);
        })?;
        Ok(Self { echoed, stop, thread: Some(thread) })
    }

    /// Bytes that have come back.
    #[must_use]
    pub fn echoed(&self) -> u64 {
        self.echoed.load(Relaxed)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(to: SocketAddr, count: &AtomicU64, stop: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    let block = vec![0x5a; BLOCK_LEN];
    let mut back = vec![0; BLOCK_LEN];
    let (mut sent, mut received) = (BLOCK_LEN, BLOCK_LEN);
    while !stop.load(Relaxed) {
        if received == BLOCK_LEN {
            (sent, received) = (0, 0);
        }
        if sent < BLOCK_LEN {
            match stream.write(block.get(sent..).unwrap_or_default()) {
                Ok(count) => sent += count,
                Err(error) if is_tick(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match stream.read(back.get_mut(received..).unwrap_or_default()) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                received += len;
                count.fetch_add(len as u64, Relaxed);
            }
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_tick(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock)
}

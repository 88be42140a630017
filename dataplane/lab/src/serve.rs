//! Small servers inside a namespace, for probes to talk to. Bounded, and stopped when dropped.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::LabError;
use crate::namespace::Namespace;

/// The most TCP connections that a server holds at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 64;

/// How often a server looks whether it is to stop.
const TICK: Duration = Duration::from_millis(20);

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens; the port is filled in if it was zero.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted or datagrams echoed so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends the server and waits for it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so on standard error already.
            let _ = thread.join();
        }
    }
}

/// Starts a TCP server that sends back what it gets.
///
/// # Errors
/// [`LabError`] if the address cannot be listened on.
pub fn tcp_echo(namespace: &Namespace, address: SocketAddr) -> Result<Server, LabError> {
    start(namespace, address, TcpListener::bind, TcpListener::local_addr, accept)
}

/// Starts a UDP server that sends back what it gets.
///
/// # Errors
/// [`LabError`] if the address cannot be listened on.
pub fn udp_echo(namespace: &Namespace, address: SocketAddr) -> Result<Server, LabError> {
    start(namespace, address, UdpSocket::bind, UdpSocket::local_addr, echo_datagrams)
}

/// Opens a socket inside the namespace and serves it on a thread; the socket stays in the namespace.
fn start<S: Send + 'static>(
    namespace: &Namespace,
    address: SocketAddr,
    open: fn(SocketAddr) -> io::Result<S>,
    local: fn(&S) -> io::Result<SocketAddr>,
    serve: fn(S, &AtomicBool, &AtomicU64),
) -> Result<Server, LabError> {
    let failed =
        |source| LabError::Serve { namespace: namespace.name().to_owned(), address, source };
    let socket = namespace.run(|| open(address))?.map_err(failed)?;
    let address = local(&socket).map_err(failed)?;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (until, count) = (Arc::clone(&stop), Arc::clone(&served));
    let thread = std::thread::spawn(move || serve(socket, &until, &count));
    Ok(Server { address, stop, served, thread: Some(thread) })
}

fn accept(listener: TcpListener, stop: &AtomicBool, served: &AtomicU64) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    std::thread::scope(|scope| {
        let mut connections = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => {
                    connections.retain(|thread: &std::thread::ScopedJoinHandle<'_, ()>| {
                        !thread.is_finished()
                    });
                    if connections.len() < CONNECTIONS_MAX {
                        served.fetch_add(1, Ordering::Relaxed);
                        connections.push(scope.spawn(move || echo_stream(stream, stop)));
                    }
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    });
}

fn echo_stream(mut stream: TcpStream, stop: &AtomicBool) {
    if stream.set_nonblocking(false).is_err() || stream.set_read_timeout(Some(TICK)).is_err() {
        return;
    }
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                let Some(bytes) = buffer.get(..length) else { return };
                if stream.write_all(bytes).is_err() {
                    return;
                }
            }
            Err(error) if is_tick(&error) => {}
            Err(_) => return,
        }
    }
}

fn echo_datagrams(socket: UdpSocket, stop: &AtomicBool, served: &AtomicU64) {
    if socket.set_read_timeout(Some(TICK)).is_err() {
        return;
    }
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        // Errors here are ticks, or ICMP answers to an earlier echo: neither ends the server.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(bytes) = buffer.get(..length) else { continue };
        if socket.send_to(bytes, from).is_ok() {
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

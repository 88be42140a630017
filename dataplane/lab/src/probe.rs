//! What a client sees: one attempt, one answer. Run it inside a namespace.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The other side answered.
    Open,
    /// The other side refused: a TCP reset or an ICMP port unreachable.
    Refused,
    /// No answer in time, as with a silent drop.
    TimedOut,
    /// No way there: no route, or an ICMP host or network unreachable.
    Unreachable,
    /// The answer was not what was sent.
    Corrupted,
    /// Anything else, in words.
    Failed(String),
}

impl Probe {
    /// True for [`Probe::Open`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// Opens a TCP connection and closes it.
#[must_use]
pub fn tcp_connect(address: SocketAddr, timeout: Duration) -> Probe {
    match TcpStream::connect_timeout(&address, timeout) {
        Ok(_) => Probe::Open,
        Err(error) => read(&error),
    }
}

/// Opens a TCP connection to an echo server, sends `bytes`, and compares what comes back.
#[must_use]
pub fn tcp_echo(address: SocketAddr, bytes: &[u8], timeout: Duration) -> Probe {
    match try_tcp_echo(address, bytes, timeout) {
        Ok(back) if back == bytes => Probe::Open,
        Ok(_) => Probe::Corrupted,
        Err(error) => read(&error),
    }
}

/// Sends a datagram to an echo server and waits for it to come back; repeats until the time is over.
#[must_use]
pub fn udp_echo(address: SocketAddr, timeout: Duration) -> Probe {
    match try_udp_echo(address, b"sluice probe", timeout) {
        Ok(true) => Probe::Open,
        Ok(false) => Probe::Corrupted,
        Err(error) => read(&error),
    }
}

/// Sends `bytes` in one datagram, once, without waiting for anything.
///
/// # Errors
/// What the kernel said.
pub fn udp_send(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    UdpSocket::bind(any(address))?.send_to(bytes, address).map(drop)
}

fn try_tcp_echo(address: SocketAddr, bytes: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut writer = stream.try_clone()?;
    let mut back = vec![0; bytes.len()];
    // Both ways at once, or long payloads would fill both buffers and stand still.
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || writer.write_all(bytes));
        stream.read_exact(&mut back)?;
        sending.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })?;
    Ok(back)
}

fn try_udp_echo(address: SocketAddr, bytes: &[u8], timeout: Duration) -> io::Result<bool> {
    let socket = UdpSocket::bind(any(address))?;
    socket.connect(address)?;
    let deadline = Instant::now() + timeout;
    // A lost datagram is not a verdict: four attempts within the time.
    socket.set_read_timeout(Some((timeout / 4).max(Duration::from_millis(1))))?;
    loop {
        socket.send(bytes)?;
        let mut back = [0; 64];
        match socket.recv(&mut back) {
            Ok(length) => return Ok(back.get(..length) == Some(bytes)),
            Err(error) if is_timeout(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
    }
}

/// The unspecified address of the same family.
fn any(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}

fn read(error: &io::Error) -> Probe {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Probe::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Probe::Unreachable,
        _ if is_timeout(error) => Probe::TimedOut,
        _ => Probe::Failed(error.to_string()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

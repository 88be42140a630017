//! One AF_XDP socket and its four rings: the thin layer over libxdp.
//!
//! Each socket registers the region as a UMEM of its own (see [`crate::umem`]), is bound to one queue
//! of one device and releases both when it is dropped. Rings are read and written in batches: libxdp
//! moves the ring positions with the right memory barriers, the descriptors in between are plain
//! memory that the position hands over. Who owns which frame is the caller's business.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use libxdp_sys::{xdp_desc, xsk_ring_cons, xsk_ring_prod, xsk_socket, xsk_umem};

use crate::region::Region;

/// [`crate::FRAME_SIZE`], as the kernel wants it.
const CHUNK_SIZE: u32 = 4096;

/// What libxdp keeps pointers to for the life of the socket, so it must not move.
struct Rings {
    rx: xsk_ring_cons,
    tx: xsk_ring_prod,
    fill: xsk_ring_prod,
    completion: xsk_ring_cons,
}

/// A bound socket. Dropping it releases the device queue and unmaps the rings.
pub(crate) struct Socket {
    socket: NonNull<xsk_socket>,
    umem: NonNull<xsk_umem>,
    rings: NonNull<Rings>,
    fd: RawFd,
}

// SAFETY: nothing in libxdp's socket is tied to a thread, the rings are reached only through this
// value, and their methods that write take `&mut self`.
unsafe impl Send for Socket {}

/// A socket that has its memory and fill ring, not yet bound to a queue.
pub(crate) struct Unbound {
    umem: NonNull<xsk_umem>,
    rings: NonNull<Rings>,
    ring_size: u32,
}

impl Unbound {
    /// Registers the region with a new socket; `ring_size` is a power of two.
    pub(crate) fn new(region: &'static Region, ring_size: u32) -> io::Result<Self> {
        let fd = open_socket()?;
        let rings = NonNull::from(Box::leak(Box::new(Rings {
            rx: empty_consumer(),
            tx: empty_producer(),
            fill: empty_producer(),
            completion: empty_consumer(),
        })));
        let config = libxdp_sys::xsk_umem_config {
            fill_size: ring_size,
            comp_size: ring_size,
            frame_size: CHUNK_SIZE,
            frame_headroom: 0,
            flags: 0,
        };
        let mut umem = ptr::null_mut();
        let memory = region.base().as_ptr();
        // SAFETY: the memory is mapped for ever and page-aligned, the rings stay allocated until the
        // UMEM is deleted, and libxdp takes over the descriptor (it closes it on failure as well).
        let error = unsafe {
            let (fill, completion) =
                (&raw mut (*rings.as_ptr()).fill, &raw mut (*rings.as_ptr()).completion);
            libxdp_sys::xsk_umem__create_with_fd(
                &mut umem,
                fd.into_raw_fd(),
                memory,
                region.length(),
                fill,
                completion,
                &config,
            )
        };
        match (error, NonNull::new(umem)) {
            (0, Some(umem)) => Ok(Self { umem, rings, ring_size }),
            (error, _) => {
                // SAFETY: libxdp failed, so it keeps no pointer; this is the box leaked above.
                drop(unsafe { Box::from_raw(rings.as_ptr()) });
                Err(io::Error::from_raw_os_error(-error))
            }
        }
    }

    /// Binds to a queue; on failure the socket comes back for another try.
    pub(crate) fn bind(
        self,
        interface_name: &str,
        queue_id: u32,
        bind_flags: u16,
    ) -> Result<Socket, (Self, io::Error)> {
        let Some(name) = padded_name(interface_name) else {
            return Err((self, io::ErrorKind::InvalidInput.into()));
        };
        let config = libxdp_sys::xsk_socket_config {
            rx_size: self.ring_size,
            tx_size: self.ring_size,
            __bindgen_anon_1: libxdp_sys::xsk_socket_config__bindgen_ty_1 {
                // The gate is our own program: libxdp must load none.
                libxdp_flags: libxdp_sys::XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
            },
            xdp_flags: 0,
            bind_flags,
        };
        let mut socket = ptr::null_mut();
        let rings = self.rings.as_ptr();
        // SAFETY: name and configuration live through the call, the rings until the socket is deleted,
        // and the UMEM is ours and has no other socket.
        let error = unsafe {
            libxdp_sys::xsk_socket__create(
                &mut socket,
                name.as_ptr().cast(),
                queue_id,
                self.umem.as_ptr(),
                &raw mut (*rings).rx,
                &raw mut (*rings).tx,
                &config,
            )
        };
        match (error, NonNull::new(socket)) {
            (0, Some(socket)) => {
                let unbound = std::mem::ManuallyDrop::new(self);
                // SAFETY: the socket was just created.
                let fd = unsafe { libxdp_sys::xsk_socket__fd(socket.as_ptr()) };
                Ok(Socket { socket, umem: unbound.umem, rings: unbound.rings, fd })
            }
            (error, _) => Err((self, io::Error::from_raw_os_error(-error))),
        }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        // SAFETY: no socket was made from this UMEM (a bind takes `self` apart without dropping it),
        // and the rings outlive the call that unmaps them.
        unsafe {
            libxdp_sys::xsk_umem__delete(self.umem.as_ptr());
            drop(Box::from_raw(self.rings.as_ptr()));
        }
    }
}

impl Socket {
    /// Hands every received descriptor, at most `max`, to `take(address, length, goes_on)`; a packet
    /// that goes on does so in the next one.
    #[inline]
    pub(crate) fn receive(&mut self, max: u32, mut take: impl FnMut(u64, u32, bool)) -> u32 {
        // SAFETY: the rings live as long as `self`; `&mut self` excludes any other access.
        let ring = unsafe { &raw mut (*self.rings.as_ptr()).rx };
        let mut start = 0;
        // SAFETY: the ring is initialised.
        let count = unsafe { libxdp_sys::xsk_ring_cons__peek(ring, max, &mut start) };
        for position in 0..count {
            // SAFETY: peek gave us `count` entries from `start` on, until they are released.
            let descriptor = unsafe { *consumer_entry::<xdp_desc>(ring, start, position) };
            let goes_on = descriptor.options & libc::XDP_PKT_CONTD != 0;
            take(descriptor.addr, descriptor.len, goes_on);
        }
        // SAFETY: exactly the entries that were peeked, all of which have been read.
        unsafe { libxdp_sys::xsk_ring_cons__release(ring, count) };
        count
    }

    /// Hands the address of every frame whose transmission is over, at most `max`, to `take`.
    #[inline]
    pub(crate) fn complete(&mut self, max: u32, mut take: impl FnMut(u64)) -> u32 {
        // SAFETY: as in `receive`.
        let ring = unsafe { &raw mut (*self.rings.as_ptr()).completion };
        let mut start = 0;
        // SAFETY: the ring is initialised.
        let count = unsafe { libxdp_sys::xsk_ring_cons__peek(ring, max, &mut start) };
        for position in 0..count {
            // SAFETY: peek gave us `count` entries from `start` on, until they are released.
            take(unsafe { *consumer_entry::<u64>(ring, start, position) });
        }
        // SAFETY: exactly the entries that were peeked, all of which have been read.
        unsafe { libxdp_sys::xsk_ring_cons__release(ring, count) };
        count
    }

    /// Free places on the tx ring, up to `want` (a greater number may be told).
    #[inline]
    pub(crate) fn tx_free(&mut self, want: u32) -> u32 {
        // SAFETY: as in `receive`.
        unsafe { libxdp_sys::xsk_prod_nb_free(&raw mut (*self.rings.as_ptr()).tx, want) }
    }

    /// Puts `count` descriptors (address, length, whether the packet goes on in the next one) on the
    /// tx ring; the caller asked `tx_free` before.
    #[inline]
    pub(crate) fn transmit(
        &mut self,
        count: u32,
        mut next: impl FnMut() -> Option<(u64, u32, bool)>,
    ) {
        // SAFETY: as in `receive`.
        let ring = unsafe { &raw mut (*self.rings.as_ptr()).tx };
        let mut start = 0;
        // SAFETY: the ring is initialised.
        let reserved = unsafe { libxdp_sys::xsk_ring_prod__reserve(ring, count, &mut start) };
        for position in 0..reserved {
            let Some((addr, len, goes_on)) = next() else { break };
            let options = if goes_on { libc::XDP_PKT_CONTD } else { 0 };
            // SAFETY: reserve gave us `reserved` entries from `start` on, until they are submitted.
            unsafe {
                *producer_entry::<xdp_desc>(ring, start, position) =
                    xdp_desc { addr, len, options };
            }
        }
        // SAFETY: exactly the entries that were reserved, all of which have been written.
        unsafe { libxdp_sys::xsk_ring_prod__submit(ring, reserved) };
    }

    /// Free places on the fill ring, up to `want` (a greater number may be told).
    #[inline]
    pub(crate) fn fill_free(&mut self, want: u32) -> u32 {
        // SAFETY: as in `receive`.
        unsafe { libxdp_sys::xsk_prod_nb_free(&raw mut (*self.rings.as_ptr()).fill, want) }
    }

    /// Puts `count` addresses on the fill ring; the caller asked `fill_free` before.
    #[inline]
    pub(crate) fn fill(&mut self, count: u32, mut next: impl FnMut() -> Option<u64>) {
        // SAFETY: as in `receive`.
        let ring = unsafe { &raw mut (*self.rings.as_ptr()).fill };
        let mut start = 0;
        // SAFETY: the ring is initialised.
        let reserved = unsafe { libxdp_sys::xsk_ring_prod__reserve(ring, count, &mut start) };
        for position in 0..reserved {
            let Some(address) = next() else { break };
            // SAFETY: reserve gave us `reserved` entries from `start` on, until they are submitted.
            unsafe { *producer_entry::<u64>(ring, start, position) = address };
        }
        // SAFETY: exactly the entries that were reserved, all of which have been written.
        unsafe { libxdp_sys::xsk_ring_prod__submit(ring, reserved) };
    }

    /// Frames on the tx ring that the kernel has not taken yet.
    pub(crate) fn tx_waiting(&mut self) -> u32 {
        // SAFETY: as in `receive`; asking for the whole size makes libxdp read the true position.
        unsafe {
            let ring = &raw mut (*self.rings.as_ptr()).tx;
            let size = (*ring).size;
            size.saturating_sub(libxdp_sys::xsk_prod_nb_free(ring, size))
        }
    }

    /// True if the kernel wants a system call before it sends.
    pub(crate) fn tx_needs_wakeup(&self) -> bool {
        // SAFETY: reads one flag word of an initialised ring.
        unsafe {
            libxdp_sys::xsk_ring_prod__needs_wakeup(&raw const (*self.rings.as_ptr()).tx) != 0
        }
    }

    /// True if the driver waits for a system call before it uses the fill ring.
    pub(crate) fn fill_needs_wakeup(&self) -> bool {
        // SAFETY: reads one flag word of an initialised ring.
        unsafe {
            libxdp_sys::xsk_ring_prod__needs_wakeup(&raw const (*self.rings.as_ptr()).fill) != 0
        }
    }

    /// Asks the kernel to send what is on the tx ring.
    pub(crate) fn wake_tx(&self) -> io::Result<()> {
        // SAFETY: an empty send on our own descriptor; no memory is passed.
        let result =
            unsafe { libc::sendto(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Asks the driver to look at the fill ring.
    pub(crate) fn wake_rx(&self) {
        // The only outcome is that the driver looked or that it cannot at present; the next refill asks
        // again, so the result carries nothing.
        // SAFETY: an empty receive on our own descriptor; no memory is passed.
        let _ = unsafe {
            libc::recvfrom(
                self.fd,
                ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
    }

    /// True if driver and socket share memory without a copy.
    pub(crate) fn zero_copy(&self) -> io::Result<bool> {
        let options: libc::xdp_options = self.option(libc::XDP_OPTIONS)?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// The kernel's counters for this socket.
    pub(crate) fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        self.option(libc::XDP_STATISTICS)
    }

    /// Reads an option of sockets in general.
    pub(crate) fn general_option(&self, name: libc::c_int) -> io::Result<libc::c_int> {
        self.option_of(libc::SOL_SOCKET, name)
    }

    /// Sets an option of sockets in general.
    pub(crate) fn set_option(&self, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
        // SAFETY: the kernel reads `length` bytes of `value`, which lives through the call.
        let result = unsafe {
            libc::setsockopt(self.fd, libc::SOL_SOCKET, name, (&raw const value).cast(), length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Reads a socket option whose value is a structure of plain integers.
    fn option<T: PlainIntegers>(&self, name: libc::c_int) -> io::Result<T> {
        self.option_of(libc::SOL_XDP, name)
    }

    fn option_of<T: PlainIntegers>(&self, level: libc::c_int, name: libc::c_int) -> io::Result<T> {
        // SAFETY: `T` consists of integers only, for which zero is a value.
        let mut value: T = unsafe { std::mem::zeroed() };
        let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        // SAFETY: the kernel writes at most `length` bytes to `value`, both of which are ours.
        let result =
            unsafe { libc::getsockopt(self.fd, level, name, (&raw mut value).cast(), &mut length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: socket and UMEM are deleted once, in the order that libxdp asks for, and the rings
        // that it reads to unmap them are freed last.
        unsafe {
            libxdp_sys::xsk_socket__delete(self.socket.as_ptr());
            libxdp_sys::xsk_umem__delete(self.umem.as_ptr());
            drop(Box::from_raw(self.rings.as_ptr()));
        }
    }
}

/// Option values for which any bit pattern is valid.
trait PlainIntegers: Copy {}
impl PlainIntegers for libc::c_int {}
impl PlainIntegers for libc::xdp_options {}
impl PlainIntegers for libc::xdp_statistics {}

/// An AF_XDP socket that child processes do not inherit, or they would keep the queue occupied.
pub(crate) fn open_socket() -> io::Result<OwnedFd> {
    // SAFETY: creates a descriptor; nothing else is touched.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just created and is owned by nobody else.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) })
}

/// An interface's name as libxdp reads it: `IFNAMSIZ` bytes, however short the name is. `None` for
/// what cannot be a name.
fn padded_name(name: &str) -> Option<[u8; libc::IFNAMSIZ]> {
    let mut padded = [0; libc::IFNAMSIZ];
    let (_end, room) = padded.split_last_mut()?;
    if name.contains('\0') {
        return None;
    }
    room.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(padded)
}

/// The entry `position` places after `start` on a consumer ring.
///
/// # Safety
/// `ring` is initialised, holds entries of type `T`, and the entry was peeked and not yet released.
#[inline]
unsafe fn consumer_entry<T>(ring: *const xsk_ring_cons, start: u32, position: u32) -> *const T {
    // SAFETY: the mask keeps the index within the ring, whose entries are of type `T`.
    unsafe {
        let index = start.wrapping_add(position) & (*ring).mask;
        (*ring).ring.cast::<T>().add(index as usize)
    }
}

/// The entry `position` places after `start` on a producer ring.
///
/// # Safety
/// `ring` is initialised, holds entries of type `T`, and the entry was reserved and not yet submitted.
#[inline]
unsafe fn producer_entry<T>(ring: *const xsk_ring_prod, start: u32, position: u32) -> *mut T {
    // SAFETY: the mask keeps the index within the ring, whose entries are of type `T`.
    unsafe {
        let index = start.wrapping_add(position) & (*ring).mask;
        (*ring).ring.cast::<T>().add(index as usize)
    }
}

fn empty_consumer() -> xsk_ring_cons {
    xsk_ring_cons {
        cached_prod: 0,
        cached_cons: 0,
        mask: 0,
        size: 0,
        producer: ptr::null_mut(),
        consumer: ptr::null_mut(),
        ring: ptr::null_mut(),
        flags: ptr::null_mut(),
    }
}

fn empty_producer() -> xsk_ring_prod {
    xsk_ring_prod {
        cached_prod: 0,
        cached_cons: 0,
        mask: 0,
        size: 0,
        producer: ptr::null_mut(),
        consumer: ptr::null_mut(),
        ring: ptr::null_mut(),
        flags: ptr::null_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_padded_to_what_libxdp_reads() {
        assert_eq!(padded_name("veth-a"), Some(*b"veth-a\0\0\0\0\0\0\0\0\0\0"));
        assert_eq!(padded_name("fifteen-letters"), Some(*b"fifteen-letters\0"));
        assert_eq!(padded_name("sixteen-letters-"), None);
        assert_eq!(padded_name("no\0name"), None);
    }
}

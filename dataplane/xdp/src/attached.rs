//! What XDP program an interface runs at present, and where a pinned link leads.
//!
//! Asked through libbpf, which libxdp brings along; in the network namespace of the calling thread.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::pins::Pins;

/// Modes in which an interface can run a program (linux/if_link.h).
pub(crate) const NATIVE: u32 = 1 << 2;
pub(crate) const GENERIC: u32 = 1 << 1;

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkTarget {
    /// The interface; 0 once it was deleted.
    pub(crate) interface_index: u32,
    /// The program.
    pub(crate) program_id: u32,
}

/// Id of the program that the interface runs in a mode, if it runs one.
pub(crate) fn program_id(interface_index: u32, mode: u32) -> io::Result<Option<u32>> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let index = libc::c_int::try_from(interface_index).map_err(invalid)?;
    let mode = libc::c_int::try_from(mode).map_err(invalid)?;
    let mut id = 0;
    // SAFETY: the call writes one integer, which is ours.
    let result = unsafe { libxdp_sys::bpf_xdp_query_id(index, mode, &mut id) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok((id != 0).then_some(id))
}

/// Name of a loaded program; empty if it went away, or if this process may not ask.
#[must_use]
pub fn xdp_program_name(id: u32) -> String {
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Id of the program on the gate that is pinned for an interface, if one is.
///
/// # Errors
/// What the kernel said; pins are for root's eyes only.
pub fn pinned_program(pin_dir: &Path, interface: &str) -> io::Result<Option<u32>> {
    match link_target(&Pins::new(pin_dir, interface).link()) {
        Ok(target) => Ok(Some(target.program_id)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The link that is pinned at `path`.
pub(crate) fn pinned_link(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that lives through the call.
    let fd = unsafe { libxdp_sys::bpf_obj_get(path.as_ptr()) };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: a descriptor that was just created and is owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a link's program off its interface now, whoever else has the link open.
///
/// Without it the kernel does so some time after the last reference has gone.
pub(crate) fn detach_link(link: &OwnedFd) -> io::Result<()> {
    // SAFETY: passes a descriptor of ours; no memory is touched.
    let result = unsafe { libxdp_sys::bpf_link_detach(link.as_raw_fd()) };
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Where the link that is pinned at `path` leads.
pub(crate) fn link_target(path: &Path) -> io::Result<LinkTarget> {
    let link = pinned_link(path)?;
    // SAFETY: the structure consists of integers (and unions of them), for which zero is a value.
    let mut info: libxdp_sys::bpf_link_info = unsafe { std::mem::zeroed() };
    let mut length = u32::try_from(size_of::<libxdp_sys::bpf_link_info>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `info`, both of which are ours.
    let result = unsafe {
        libxdp_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &mut length)
    };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    if info.type_ != libxdp_sys::bpf_link_type_BPF_LINK_TYPE_XDP {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: for a link of type XDP the kernel filled this member of the union.
    let interface_index = unsafe { info.__bindgen_anon_1.xdp.ifindex };
    Ok(LinkTarget { interface_index, program_id: info.prog_id })
}

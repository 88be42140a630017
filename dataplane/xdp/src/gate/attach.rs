//! How a gate comes to its interface: adopted from an earlier run, or new.

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::maps::{Record, added_queues, bytes_of, maps_fit, take_maps, write_node_addresses};
use super::{Gate, GateConfig, GateError, GateMode, GateRole};
use crate::attached;
use crate::interface::Interface;
use crate::pins::{MAPS, Pins};
use crate::promiscuous::Promiscuous;

/// Why an adopted gate is in generic mode, as far as that is known.
const STAYS_GENERIC: &str = "an earlier run attached it so, and it stays until it is taken away: \
                             sluiced --detach, and start again";

/// The compiled bpf/gate.bpf.c.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gate.bpf.o"));

/// True if the pinned link is the one that guards this very interface.
///
/// A deleted device leaves a link that leads nowhere; one of the same name in another namespace may
/// even share the number, so the program that the interface runs must be the link's as well.
pub(super) fn adoptable(interface: &Interface, pins: &Pins) -> bool {
    let Ok(target) = attached::link_target(&pins.link()) else { return false };
    target.interface_index == interface.index()
        && running_program(interface).is_some_and(|(id, _)| id == target.program_id)
}

pub(super) fn refuse_foreign(interface: &Interface) -> Result<(), GateError> {
    match running_program(interface) {
        None => Ok(()),
        Some((program_id, _)) => Err(GateError::Foreign {
            interface: interface.name().to_owned(),
            program: attached::xdp_program_name(program_id),
            program_id,
        }),
    }
}

/// An interface cannot go over to another mode without a moment in which it has no gate.
pub(super) fn refuse_other_mode(
    interface: &Interface,
    wanted: Option<GateMode>,
) -> Result<(), GateError> {
    match (wanted, running_program(interface)) {
        (Some(wanted), Some((_, running))) if wanted != running => Err(GateError::OtherMode {
            interface: interface.name().to_owned(),
            running: running.name(),
            wanted: wanted.name(),
        }),
        _ => Ok(()),
    }
}

/// The program that the interface runs, and how.
fn running_program(interface: &Interface) -> Option<(u32, GateMode)> {
    let in_mode = |mode| attached::program_id(interface.index(), mode).ok().flatten();
    match in_mode(attached::NATIVE) {
        Some(id) => Some((id, GateMode::Native)),
        None => in_mode(attached::GENERIC).map(|id| (id, GateMode::Generic)),
    }
}

pub(super) fn load_and_attach(
    interface: &Interface,
    config: &GateConfig,
    pins: &Pins,
    adopt: bool,
) -> Result<Gate, GateError> {
    if !maps_fit(pins) {
        pins.remove_maps().map_err(|source| GateError::pins(pins, source))?;
    }
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    for name in MAPS {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(PROGRAM).map_err(|error| GateError::load(interface, error))?;
    let mut maps = take_maps(&mut ebpf, interface)?;
    // The maps say the right thing before the program meets its first frame.
    write_node_addresses(&mut maps.node_addresses, &config.node_addresses, interface.name())?;
    let refused = |source| GateError::map(interface.name(), "config", source);
    let added_queues =
        if adopt { added_queues(&maps.config.get(&0, 0).map_err(refused)?) } else { 0 };
    let (role, fallback, mac) = (config.role, config.fallback, interface.mac());
    let record = Record { role, fallback, mac, added_queues };
    maps.config.set(0, bytes_of(record), 0).map_err(refused)?;
    let promiscuous = match config.role {
        GateRole::Uplink => Some(Promiscuous::hold(interface).map_err(|source| {
            GateError::Promiscuous { interface: interface.name().to_owned(), source }
        })?),
        GateRole::Steer => None,
    };
    let (link, why_generic) = if adopt {
        match replace(load_program(&mut ebpf, interface, config.chains)?, interface, pins) {
            // The kernel replaces either program by the other. But a driver may have let frames in
            // since that only the gate with frags can take: the other end of a veth may still have
            // the long MTU that this end had. Without it the old gate would stay, with no port.
            Err(_) if !config.chains => {
                (replace(load_program(&mut ebpf, interface, true)?, interface, pins)?, None)
            }
            replaced => (replaced?, None),
        }
    } else {
        attach_new(&mut ebpf, interface, config, pins)?
    };
    let mode = running_program(interface).map_or(GateMode::Generic, |(_, mode)| mode);
    let stays_generic = adopt && mode == GateMode::Generic && config.mode.is_none();
    let why_generic = if stays_generic { Some(STAYS_GENERIC.to_owned()) } else { why_generic };
    Ok(Gate {
        pins: pins.clone(),
        interface: interface.clone(),
        mode,
        why_generic,
        record,
        adopted: adopt,
        maps,
        _promiscuous: promiscuous,
        link,
    })
}

/// Loads the gate, for frames in several buffers or for those in one.
fn load_program<'a>(
    ebpf: &'a mut Ebpf,
    interface: &Interface,
    chains: bool,
) -> Result<&'a mut Xdp, GateError> {
    let name = if chains { "sluice_gate_frags" } else { "sluice_gate" };
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .ok_or_else(|| GateError::load(interface, format!("the object has no program {name}")))?
        .try_into()
        .map_err(|error: ProgramError| GateError::load(interface, error))?;
    if program.fd().is_err() {
        program.load().map_err(|error| GateError::load(interface, error))?;
    }
    Ok(program)
}

/// Puts the new program in the place of the old one, on the same link, at once.
fn replace(program: &mut Xdp, interface: &Interface, pins: &Pins) -> Result<FdLink, GateError> {
    let failed = |error: ProgramError| GateError::attach(interface, error);
    let pinned =
        PinnedLink::from_pin(pins.link()).map_err(|error| GateError::attach(interface, error))?;
    let link = XdpLink::try_from(FdLink::from(pinned))
        .map_err(|error| GateError::attach(interface, error))?;
    let id = program.attach_to_link(link).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    FdLink::try_from(link).map_err(|error| GateError::attach(interface, error))
}

/// Attaches in the mode that is wanted and pins the link. Tells why it is generic, if it need not
/// have been.
fn attach_new(
    ebpf: &mut Ebpf,
    interface: &Interface,
    config: &GateConfig,
    pins: &Pins,
) -> Result<(FdLink, Option<String>), GateError> {
    let failed = |error: ProgramError| GateError::attach(interface, error);
    let mut attach = |chains, mode| -> Result<Result<XdpLink, ProgramError>, GateError> {
        let program = load_program(ebpf, interface, chains)?;
        let attached = program.attach_to_if_index(interface.index(), mode);
        Ok(attached.and_then(|id| program.take_link(id)))
    };
    let pinned = |link: XdpLink| -> Result<FdLink, GateError> {
        let link = FdLink::try_from(link).map_err(|error| GateError::attach(interface, error))?;
        let pinned = link.pin(pins.link()).map_err(|error| GateError::attach(interface, error))?;
        Ok(FdLink::from(pinned))
    };
    if config.mode == Some(GateMode::Generic) {
        return Ok((pinned(attach(config.chains, XdpMode::Skb)?.map_err(failed)?)?, None));
    }
    let refused = match attach(config.chains, XdpMode::Driver)? {
        Ok(link) => return Ok((pinned(link)?, None)),
        Err(error) => error,
    };
    // Somebody may have been faster since the first look.
    refuse_foreign(interface)?;
    // A veth refuses the gate without frags for what its other end might send. Older kernels do not
    // load the other one.
    if !config.chains
        && let Ok(Ok(link)) = attach(true, XdpMode::Driver)
    {
        return Ok((pinned(link)?, None));
    }
    let reason = reason(&refused);
    if config.mode.is_some() {
        return Err(GateError::NoNative { interface: interface.name().to_owned(), reason });
    }
    let link = attach(config.chains, XdpMode::Skb)?.map_err(failed)?;
    Ok((pinned(link)?, Some(reason)))
}

/// The kernel's own words, below what the loader wraps around them.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK. Newer ones do not, so a refusal means nothing.
pub(super) fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads a structure that lives through the call.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}

//! The file of a capture: pcapng, which grows by whole blocks.
//!
//! The format is draft-ietf-opsawg-pcapng. Each port is an interface, and the reason of each drop
//! is the packet's comment. libpcap wants one snapshot length and one link type in a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};
use sluice_api::backend::DroppedFrame;
use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::text::printable;

/// What stands for a port that has gone.
pub(super) const NO_PORT: &str = "(gone)";

/// Letters of a name at most: an option has room for 65535 bytes.
const NAME_LEN_MAX: usize = 200;

/// Nanoseconds, in the words of the option if_tsresol.
const NANOSECONDS: u8 = 9;

/// A file of dropped frames.
pub(super) struct PcapngFile {
    /// Blocks that have not been written yet.
    blocks: PcapNgWriter<Vec<u8>>,
    interfaces: HashMap<Option<String>, u32>,
    snap_len: u32,
    place: Place,
}

/// Where the blocks go.
enum Place {
    /// A file beside the one that it will replace.
    Fresh {
        file: NamedTempFile,
        path: PathBuf,
    },
    /// A file in its place.
    Regular {
        file: Whole<File>,
        path: PathBuf,
    },
    /// A pipe or a device, which has been there before.
    Other {
        file: File,
        path: PathBuf,
    },
    Stdout,
}

/// A file that is cut where a write fails half-way.
struct Whole<F> {
    file: F,
    len: u64,
}

/// What can be cut.
trait Cut: Write {
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl PcapngFile {
    /// Makes a file with an interface for each of `ports`; without a path, of standard output.
    /// What is at `path` stays until the capture begins.
    pub(super) fn create(
        path: Option<&Path>,
        snap_len: u32,
        ports: impl Iterator<Item = String>,
    ) -> Result<Self, Failure> {
        let place = match path {
            Some(path) => Place::open(path).map_err(|error| refused(path, &error))?,
            None => Place::Stdout,
        };
        let program = concat!("sluicectl ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..SectionHeaderBlock::default()
        };
        let blocks = PcapNgWriter::with_section_header(Vec::new(), section).map_err(unwritten)?;
        let mut file = Self { blocks, interfaces: HashMap::new(), snap_len, place };
        for port in ports {
            file.interface(Some(port))?;
        }
        if file.interfaces.is_empty() {
            // libpcap reads no file without an interface.
            file.interface(None)?;
        }
        Ok(file)
    }

    /// Puts the file in its place.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if let Place::Fresh { .. } = &self.place
            && let Place::Fresh { file, path } = std::mem::replace(&mut self.place, Place::Stdout)
        {
            let failed = |error| refused(&path, &error);
            let file = file.persist(&path).map_err(|it| failed(it.error))?;
            self.place = Place::Regular { file: Whole { file, len: 0 }, path };
        }
        self.flush()
    }

    /// Adds a frame, or leaves the file as it was.
    pub(super) fn write(&mut self, frame: &DroppedFrame) -> Result<(), Failure> {
        let interface_id = self.interface(frame.port.clone())?;
        let since = frame.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let data = frame.data.get(..self.snap_len as usize).unwrap_or(&frame.data);
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: since,
            original_len: frame.len,
            data: data.into(),
            options: vec![EnhancedPacketOption::Comment(name(&frame.reason).into())],
        };
        self.blocks.write_block(&block.into_block()).map_err(unwritten)?;
        self.flush()
    }

    /// The number of a port's interface, which the file has from now on.
    fn interface(&mut self, port: Option<String>) -> Result<u32, Failure> {
        if let Some(number) = self.interfaces.get(&port) {
            return Ok(*number);
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snap_len,
            options: vec![
                InterfaceDescriptionOption::IfName(name(port.as_deref().unwrap_or(NO_PORT)).into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.blocks.write_block(&block.into_block()).map_err(unwritten)?;
        self.interfaces.insert(port, number);
        Ok(number)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let blocks = std::mem::take(self.blocks.get_mut());
        match &mut self.place {
            Place::Fresh { .. } => {}
            Place::Regular { file, path } => {
                file.append(&blocks).map_err(|error| refused(path, &error))?;
            }
            Place::Other { file, path } => match file.write_all(&blocks) {
                // Whoever read the pipe has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error.into()),
                written => written.map_err(|error| refused(path, &error))?,
            },
            Place::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&blocks)?;
                stdout.flush()?;
            }
        }
        Ok(())
    }
}

impl Place {
    fn open(path: &Path) -> io::Result<Self> {
        // A link stays one: what it leads to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if path.metadata().is_ok_and(|it| !it.is_file()) {
            let file = File::options().write(true).open(&path)?;
            return Ok(Self::Other { file, path });
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Only its owner may read it, as packets carry what people say.
        let file = tempfile::Builder::new().prefix(".sluicectl-").tempfile_in(directory)?;
        Ok(Self::Fresh { file, path })
    }
}

impl<F: Cut> Whole<F> {
    fn append(&mut self, blocks: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(blocks);
        match written {
            Ok(()) => self.len += blocks.len() as u64,
            // Nothing better can be done where this fails too.
            Err(_) => drop(self.file.cut(self.len)),
        }
        written
    }
}

impl Cut for File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// A name that is safe to show and short enough for the format.
fn name(text: &str) -> String {
    printable(text).chars().take(NAME_LEN_MAX).collect()
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("{}: {error}; want a file that can be written", path.display()))
}

/// Blocks are made in memory, where only a mistake of this module fails.
fn unwritten(error: PcapError) -> Failure {
    Failure::refused(format!("a block of the file could not be made: {error}"))
}

#[cfg(test)]
mod tests;

//! Files as readers find them.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;

fn frame(port: Option<&str>, reason: &str, data: &[u8]) -> DroppedFrame {
    DroppedFrame {
        time: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        port: port.map(Into::into),
        reason: reason.into(),
        worker: 0,
        len: 1500,
        data: data.to_vec(),
    }
}

fn create(path: &Path, ports: &[&str]) -> Result<PcapngFile, Failure> {
    PcapngFile::create(Some(path), 64, ports.iter().map(|port| (*port).to_owned()))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

/// The interface, time in nanoseconds, length, bytes and comment of each packet, and the names of
/// the interfaces.
type Packet = (u32, u128, u32, Vec<u8>, String);

fn read(bytes: &[u8]) -> (Vec<Packet>, Vec<String>) {
    let mut reader = PcapNgReader::new(bytes).unwrap();
    let (mut packets, mut interfaces) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(it) => {
                assert_eq!((it.snaplen, it.linktype), (64, DataLink::ETHERNET));
                assert!(it.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                interfaces.extend(it.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                }));
            }
            Block::EnhancedPacket(it) => {
                let [EnhancedPacketOption::Comment(comment)] = it.options.as_slice() else {
                    panic!("{it:?}");
                };
                packets.push((
                    it.interface_id,
                    it.timestamp.as_nanos(),
                    it.original_len,
                    it.data.to_vec(),
                    comment.to_string(),
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    (packets, interfaces)
}

#[test]
fn frames_are_read_back_as_they_were_whatever_their_port() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("drops.pcapng");
    let mut file = create(&path, &["eth0", "eth1"]).unwrap();
    file.begin().unwrap();
    let frames = [
        frame(Some("eth1"), "ingress_denied", &[1, 2, 3]),
        frame(Some("new\u{1b}"), "x\n", &[]),
        frame(None, "port_gone", &[4; 100]),
    ];
    for frame in frames.iter().chain(&frames[1..]) {
        file.write(frame).unwrap();
    }

    let (packets, interfaces) = read(&std::fs::read(&path).unwrap());
    assert_eq!(interfaces, ["eth0", "eth1", "new\\u{1b}", "(gone)"]);
    let time = 1_700_000_000_123_456_789;
    let packet = |interface, bytes: &[u8], comment: &str| {
        (interface, time, 1500, bytes.to_vec(), comment.to_owned())
    };
    let first = packet(1, &[1, 2, 3], "ingress_denied");
    let rest = [packet(2, &[], "x\\u{a}"), packet(3, &[4; 64], "port_gone")];
    assert_eq!(packets, [[first].as_slice(), &rest, &rest].concat());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_name_that_fits_no_option_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("drops.pcapng");
    let mut file = create(&path, &[]).unwrap();
    file.begin().unwrap();
    file.write(&frame(Some(&"ä".repeat(70_000)), &"ö".repeat(70_000), &[1])).unwrap();
    let (packets, _) = read(&std::fs::read(&path).unwrap());
    assert!(packets[0].4.starts_with('ö') && packets[0].4.chars().count() == 200);
}

#[test]
fn what_was_there_stays_until_the_capture_begins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("drops.pcapng");
    std::fs::write(&path, "old").unwrap();
    drop(create(&path, &["eth0"]).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(directory.path()), ["drops.pcapng"], "and nothing beside it");

    let mut reader = File::open(&path).unwrap();
    create(&path, &["eth0"]).unwrap().begin().unwrap();
    assert_eq!(read(&std::fs::read(&path).unwrap()), (Vec::new(), vec!["eth0".to_owned()]));
    let old = io::read_to_string(&mut reader).unwrap();
    assert_eq!(old, "old", "whoever reads the old one reads on");
}

#[test]
fn links_devices_and_directories_stay_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("target"), directory.path().join("link"));
    std::fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    create(&link, &["eth0"]).unwrap().begin().unwrap();
    assert!(link.is_symlink());
    assert_eq!(read(&std::fs::read(&target).unwrap()).1, ["eth0"]);

    let mut null = create(Path::new("/dev/null"), &["eth0"]).unwrap();
    null.begin().unwrap();
    assert!(matches!(null.place, Place::Other { .. }));
    for (path, says) in [
        (directory.path().to_owned(), "Is a directory"),
        (directory.path().join("nowhere/x"), "No such file"),
    ] {
        let Err(Failure::Refused(lines)) = create(&path, &[]).map(drop) else { panic!("{path:?}") };
        assert!(lines[0].starts_with(&path.display().to_string()), "{lines:?}");
        assert!(lines[0].contains(says), "{lines:?}");
    }
}

/// A file on a small disk.
struct Small {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room - self.bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Cut for Small {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.bytes.truncate(usize::try_from(len).unwrap());
        Ok(())
    }
}

#[test]
fn a_full_disk_leaves_no_half_block() {
    let mut file = Whole { file: Small { bytes: Vec::new(), room: 10 }, len: 0 };
    file.append(&[1; 4]).unwrap();
    file.append(&[2; 4]).unwrap();
    assert_eq!(file.append(&[3; 4]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.file.bytes, [1, 1, 1, 1, 2, 2, 2, 2]);
}

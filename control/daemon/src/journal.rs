//! The changes since the snapshot was written, so that a small change costs a small write.
//!
//! A record is appended and synced before its change is acknowledged. One that a crash has cut
//! off at the end was never acknowledged and is passed over; anything else that does not fit is
//! damage, and never taken for an older rule set.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sluice_policy::model::Change;

use crate::snapshot::Lineage;

/// A change that was in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) revision: u64,
    pub(crate) version: String,
    pub(crate) change: Change,
}

/// The first line of a record's text; the change follows.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// The snapshot that the changes begin with.
    lineage: Lineage,
    revision: u64,
    version: String,
}

/// The file's place.
#[derive(Debug, Clone)]
pub(crate) struct Journal(pub(crate) PathBuf);

impl Journal {
    /// The records that build on a snapshot, in the order in which they were written. Those of
    /// another one are passed over: it has been replaced since, with what they say in it.
    pub(crate) fn read(&self, lineage: Lineage) -> io::Result<Vec<Record>> {
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (text, after) = match cut(rest) {
                Cut::Whole { text, after } => (text, after),
                Cut::Off => break,
                Cut::Damaged(what) => return Err(self.damaged(what)),
            };
            let (of, record) = parse(text).map_err(|what| self.damaged(&what))?;
            if of == lineage {
                records.push(record);
            }
            rest = after;
        }
        Ok(records)
    }

    /// Adds a record. Where that fails, the file may end in half of it.
    pub(crate) fn append(
        &self,
        lineage: Lineage,
        revision: u64,
        version: &str,
        change: &[u8],
    ) -> io::Result<u64> {
        let version = version.to_owned();
        let mut text = serde_json::to_vec(&Header { lineage, revision, version })?;
        text.push(b'\n');
        text.extend_from_slice(change);
        let len = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut record = Vec::with_capacity(text.len() + PREFIX_LEN);
        record.extend(len.to_le_bytes());
        record.extend(crc32c::crc32c(&len.to_le_bytes()).to_le_bytes());
        record.extend(crc32c::crc32c(&text).to_le_bytes());
        record.extend(text);
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        file.write_all(&record)?;
        file.sync_data()?;
        Ok(record.len() as u64)
    }

    /// Forgets all records, which a snapshot holds by now.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match OpenOptions::new().write(true).open(&self.0) {
            Ok(file) => {
                file.set_len(0)?;
                file.sync_data()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::create(&self.0)?.sync_all()?;
                // The name itself must be on the disk before a record is.
                self.0.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
            }
            Err(error) => Err(error),
        }
    }

    fn damaged(&self, what: &str) -> io::Error {
        let file = self.0.display();
        io::Error::new(io::ErrorKind::InvalidData, format!("{file} is damaged: {what}"))
    }
}

/// The text's length, the checksum of the length, and that of the text.
const PREFIX_LEN: usize = 12;

/// What the first record is.
enum Cut<'a> {
    Whole {
        text: &'a [u8],
        after: &'a [u8],
    },
    /// It is the last, and was never wholly written.
    Off,
    Damaged(&'static str),
}

/// Cuts off the first record.
///
/// A crash leaves less of the last record than its length says, zeros where the file has grown and
/// nothing was written yet, or, since blocks come to the disk in any order, a last text whose
/// checksum is wrong. A wrong length is none of these: what follows it may be whole.
fn cut(bytes: &[u8]) -> Cut<'_> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else { return Cut::Off };
    let [a, b, c, d, len_sum @ .., e, f, g, h] = *prefix;
    let len = [a, b, c, d];
    if crc32c::crc32c(&len) != u32::from_le_bytes(len_sum) {
        let is_unwritten = bytes.iter().all(|byte| *byte == 0);
        return if is_unwritten { Cut::Off } else { Cut::Damaged("a record's length is wrong") };
    }
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    let Some((text, after)) = rest.split_at_checked(len) else { return Cut::Off };
    if crc32c::crc32c(text) == u32::from_le_bytes([e, f, g, h]) {
        Cut::Whole { text, after }
    } else if after.is_empty() {
        Cut::Off
    } else {
        Cut::Damaged("a record's checksum is wrong")
    }
}

fn parse(text: &[u8]) -> Result<(Lineage, Record), String> {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (header, body) =
        end.and_then(|end| text.split_at_checked(end)).ok_or("a record has no header")?;
    let Header { lineage, revision, version } =
        serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let change = sluice_api::snapshot::decode_change(body.get(1..).unwrap_or_default())
        .map_err(|error| error.to_string())?;
    Ok((lineage, Record { revision, version, change }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_policy::model::{Namespace, Object};

    fn record(revision: u64) -> Record {
        let namespace = Namespace::new(format!("n{revision}"));
        let gone = Object::from(Namespace::new("gone")).key();
        let change =
            Change { upserts: vec![namespace.into()], removals: vec![gone], ..Change::default() };
        Record { revision, version: format!("line\nbreak {revision}"), change }
    }

    fn journal_of(records: &[Record]) -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal(directory.path().join("journal"));
        journal.clear().unwrap();
        for it in records {
            let change = sluice_api::snapshot::encode_change(&it.change);
            journal.append(Lineage::default(), it.revision, &it.version, &change).unwrap();
        }
        (directory, journal)
    }

    #[test]
    fn a_record_cut_off_at_the_end_is_passed_over_and_no_other() {
        let records = [record(1), record(2), record(3)];
        let (_directory, journal) = journal_of(&records);
        assert_eq!(journal.read(Lineage::default()).unwrap(), records);
        let bytes = std::fs::read(&journal.0).unwrap();
        let (_other, two) = journal_of(&records[..2]);
        let two_len = std::fs::read(&two.0).unwrap().len();
        for len in two_len..bytes.len() {
            std::fs::write(&journal.0, &bytes[..len]).unwrap();
            assert_eq!(journal.read(Lineage::default()).unwrap(), records[..2], "{len}");
        }
        for zeros in [1, 8, PREFIX_LEN, 4096] {
            let mut bytes = bytes.clone();
            bytes.extend(vec![0; zeros]);
            std::fs::write(&journal.0, &bytes).unwrap();
            assert_eq!(journal.read(Lineage::default()).unwrap(), records, "{zeros} zeros");
        }
        journal.clear().unwrap();
        assert_eq!(journal.read(Lineage::default()).unwrap(), []);
    }

    #[test]
    fn damage_before_the_end_is_noticed() {
        let (_directory, journal) = journal_of(&[record(1), record(2)]);
        let whole = std::fs::read(&journal.0).unwrap();
        let first_len = whole.len() / 2;
        for at in 0..first_len {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&journal.0, &bytes).unwrap();
            assert_eq!(
                journal.read(Lineage::default()).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{at}"
            );
        }
    }
}

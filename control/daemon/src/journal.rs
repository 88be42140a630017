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
    revision: u64,
    version: String,
}

/// The file's place.
#[derive(Debug, Clone)]
pub(crate) struct Journal(pub(crate) PathBuf);

impl Journal {
    /// All records, in the order in which they were written.
    pub(crate) fn read(&self) -> io::Result<Vec<Record>> {
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((text, after)) = split(rest) {
            match text {
                Ok(text) => records.push(parse(text).map_err(|what| self.damaged(&what))?),
                // Cut off, or its blocks came to the disk in another order: the last one only.
                Err(_) if after.is_empty() => break,
                Err(what) => return Err(self.damaged(what)),
            }
            rest = after;
        }
        Ok(records)
    }

    /// Adds a record. Where that fails, the file may end in half of it.
    pub(crate) fn append(&self, revision: u64, version: &str, change: &[u8]) -> io::Result<u64> {
        let mut text = serde_json::to_vec(&Header { revision, version: version.to_owned() })?;
        text.push(b'\n');
        text.extend_from_slice(change);
        let len = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut record = Vec::with_capacity(text.len() + PREFIX_LEN);
        record.extend(len.to_le_bytes());
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

/// Length and checksum.
const PREFIX_LEN: usize = 8;

/// The text of a record, or what is wrong with it, and what comes after.
type Cut<'a> = (Result<&'a [u8], &'static str>, &'a [u8]);

/// Cuts off the first record.
fn split(bytes: &[u8]) -> Option<Cut<'_>> {
    if bytes.is_empty() {
        return None;
    }
    let Some((prefix, after)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
        return Some((Err("a record is cut off"), &[]));
    };
    let [a, b, c, d, sum @ ..] = *prefix;
    let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let Some((text, after)) = after.split_at_checked(len) else {
        return Some((Err("a record is cut off"), &[]));
    };
    let is_whole = crc32c::crc32c(text) == u32::from_le_bytes(sum);
    Some((if is_whole { Ok(text) } else { Err("a record's checksum is wrong") }, after))
}

fn parse(text: &[u8]) -> Result<Record, String> {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (header, body) =
        end.and_then(|end| text.split_at_checked(end)).ok_or("a record has no header")?;
    let Header { revision, version } =
        serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let change = sluice_api::snapshot::decode_change(body.get(1..).unwrap_or_default())
        .map_err(|error| error.to_string())?;
    Ok(Record { revision, version, change })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_policy::model::{Namespace, Object};

    fn record(revision: u64) -> Record {
        let namespace = Namespace::new(format!("n{revision}"));
        let gone = Object::from(Namespace::new("gone")).key();
        let change = Change { upserts: vec![namespace.into()], removals: vec![gone] };
        Record { revision, version: format!("line\nbreak {revision}"), change }
    }

    fn journal_of(records: &[Record]) -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal(directory.path().join("journal"));
        journal.clear().unwrap();
        for it in records {
            let change = sluice_api::snapshot::encode_change(&it.change);
            journal.append(it.revision, &it.version, &change).unwrap();
        }
        (directory, journal)
    }

    #[test]
    fn a_record_cut_off_at_the_end_is_passed_over_and_no_other() {
        let records = [record(1), record(2), record(3)];
        let (_directory, journal) = journal_of(&records);
        assert_eq!(journal.read().unwrap(), records);
        let bytes = std::fs::read(&journal.0).unwrap();
        let (_other, two) = journal_of(&records[..2]);
        let two_len = std::fs::read(&two.0).unwrap().len();
        for len in two_len..bytes.len() {
            std::fs::write(&journal.0, &bytes[..len]).unwrap();
            assert_eq!(journal.read().unwrap(), records[..2], "{len}");
        }
        journal.clear().unwrap();
        assert_eq!(journal.read().unwrap(), []);
    }

    #[test]
    fn damage_before_the_end_is_noticed() {
        let (_directory, journal) = journal_of(&[record(1), record(2)]);
        let whole = std::fs::read(&journal.0).unwrap();
        let first_len = whole.len() / 2;
        for at in PREFIX_LEN..first_len {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&journal.0, &bytes).unwrap();
            assert_eq!(journal.read().unwrap_err().kind(), io::ErrorKind::InvalidData, "{at}");
        }
    }
}

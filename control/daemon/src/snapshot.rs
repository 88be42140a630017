//! The last good rule set on disk, so that a restart begins where the last run ended.
//!
//! The file is replaced in one step: written beside, synced, renamed. A crash leaves the old
//! one or the new one, a full disk the old one. It holds the encoding of the API's rule set
//! behind a line of JSON with its revision and version.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_policy::model::RuleSet;

/// A rule set that was in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) version: String,
    pub(crate) rules: RuleSet,
}

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    revision: u64,
    version: String,
    /// Bytes of the rule set: a file cut between two objects would read as a smaller one.
    len: u64,
}

const FORMAT: u32 = 1;

/// What tells a snapshot from all others: what has been changed since says which one it builds on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    len: u64,
    crc32c: u32,
}

impl Lineage {
    fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
    }
}

/// The file's place.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile(PathBuf);

impl SnapshotFile {
    /// The file in a state directory, which is made if it is missing.
    pub(crate) fn in_directory(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self(directory.join("rules.snapshot")))
    }

    /// The last rule set that was in force; `None` where there was none. One that cannot be read
    /// is an error: the caller must not take it for none.
    pub(crate) fn read(&self) -> io::Result<Option<(Snapshot, Lineage)>> {
        let bytes = match std::fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = |what: String| {
            let file = self.0.display();
            io::Error::new(io::ErrorKind::InvalidData, format!("{file} is damaged: {what}"))
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (header, body) = end
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or_else(|| damaged("no header".into()))?;
        let header: Header =
            serde_json::from_slice(header).map_err(|error| damaged(error.to_string()))?;
        if header.format != FORMAT {
            return Err(damaged(format!("format {} is not {FORMAT}", header.format)));
        }
        let body = body.get(1..).unwrap_or_default();
        if header.len != body.len() as u64 {
            return Err(damaged(format!("{} bytes of {}", body.len(), header.len)));
        }
        let rules =
            sluice_api::snapshot::decode(body).map_err(|error| damaged(error.to_string()))?;
        let snapshot = Snapshot { revision: header.revision, version: header.version, rules };
        Ok(Some((snapshot, Lineage::of(&bytes))))
    }

    /// Replaces the file. Gives its length and its lineage.
    pub(crate) fn write(
        &self,
        revision: u64,
        version: &str,
        rules: &RuleSet,
    ) -> io::Result<(u64, Lineage)> {
        let body = sluice_api::snapshot::encode(rules);
        let len = body.len() as u64;
        let header = Header { format: FORMAT, revision, version: version.to_owned(), len };
        let unfinished = self.0.with_extension("new");
        let mut bytes = serde_json::to_vec(&header)?;
        bytes.push(b'\n');
        bytes.extend(body);
        let mut file = File::create(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &self.0)?;
        // The rename itself must survive a crash too.
        if let Some(directory) = self.0.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok((bytes.len() as u64, Lineage::of(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_policy::model::{Namespace, Pod};

    #[test]
    fn what_was_written_is_read_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = SnapshotFile::in_directory(&directory.path().join("state")).unwrap();
        assert_eq!(file.read().unwrap(), None);
        let mut rules = RuleSet::default();
        rules.insert(Namespace::new("shop")).unwrap();
        rules.insert(Pod::new("shop", "web").with_address([10, 0, 0, 1].into())).unwrap();
        let snapshot = Snapshot { revision: 7, version: "line\nbreak".into(), rules };
        file.write(snapshot.revision, &snapshot.version, &snapshot.rules).unwrap();
        let (read, lineage) = file.read().unwrap().unwrap();
        assert_eq!(read, snapshot);
        let other = file.write(8, &snapshot.version, &snapshot.rules).unwrap().1;
        assert_ne!(lineage, other);

        let bytes = std::fs::read(&file.0).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&file.0, &bytes[..len]).unwrap();
            let error = file.read().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{len}");
        }
    }
}

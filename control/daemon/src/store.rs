//! What a restart begins with: the last snapshot and the changes since.

use std::io;
use std::path::Path;

use sluice_policy::model::RuleSet;

use crate::candidate::rules_after;
use crate::journal::Journal;
use crate::snapshot::{Lineage, Snapshot, SnapshotFile};

/// The changes may take as much room as the snapshot, or this much, before a new snapshot is
/// written.
const JOURNAL_LEN_MIN: u64 = 1 << 20;

/// The state directory.
#[derive(Debug)]
pub(crate) struct Store {
    snapshot: SnapshotFile,
    lineage: Lineage,
    journal: Journal,
    journal_len: u64,
    journal_len_max: u64,
    /// Whether the files lack something that is in force, so that only a snapshot will do.
    is_behind: bool,
}

impl Store {
    /// The store in a directory, which is made if it is missing, and what was in force last.
    ///
    /// # Errors
    /// What is there and cannot be read: the caller must not take it for none.
    pub(crate) fn open(directory: &Path) -> io::Result<(Self, Option<Snapshot>)> {
        let snapshot = SnapshotFile::in_directory(directory)?;
        let journal = Journal(directory.join("rules.journal"));
        let mut last = None;
        // Without a snapshot there is nothing that a change could build on.
        if let Some((mut it, lineage)) = snapshot.read()? {
            for record in journal.read(lineage)? {
                if record.revision != it.revision + 1 {
                    let what = format!(
                        "{}: no change leads to revision {}",
                        journal.0.display(),
                        record.revision
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                it.revision = record.revision;
                it.version = record.version;
                it.rules = rules_after(std::mem::take(&mut it.rules), record.change);
            }
            last = Some(it);
        }
        // What was passed over at the journal's end must not come before the next record.
        let lineage = Lineage::default();
        let store = Self {
            snapshot,
            lineage,
            journal,
            journal_len: 0,
            journal_len_max: 0,
            is_behind: true,
        };
        Ok((store, last))
    }

    /// Writes what is in force now: its last change if that is little, or else the whole.
    ///
    /// # Errors
    /// Then a restart would go back to what was written last; the next write makes up for it.
    pub(crate) fn write(
        &mut self,
        revision: u64,
        version: &str,
        rules: &RuleSet,
        change: &[u8],
    ) -> io::Result<()> {
        let fits = self.journal_len + change.len() as u64 <= self.journal_len_max;
        let is_behind = std::mem::replace(&mut self.is_behind, true);
        if fits && !is_behind {
            self.journal_len += self.journal.append(self.lineage, revision, version, change)?;
        } else {
            let (len, lineage) = self.snapshot.write(revision, version, rules)?;
            // Should this fail, what is in the journal is of another lineage.
            self.journal.clear()?;
            self.lineage = lineage;
            self.journal_len = 0;
            self.journal_len_max = len.max(JOURNAL_LEN_MIN);
        }
        self.is_behind = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use sluice_api::snapshot::encode_change;
    use sluice_policy::model::{Change, Namespace};

    fn commit(store: &mut Store, rules: &mut RuleSet, revision: u64) {
        let change = Change {
            upserts: vec![Namespace::new(format!("n{revision}")).into()],
            ..Change::default()
        };
        let bytes = encode_change(&change);
        *rules = rules_after(std::mem::take(rules), change);
        store.write(revision, "v", rules, &bytes).unwrap();
    }

    fn reopened(directory: &Path) -> Snapshot {
        Store::open(directory).unwrap().1.unwrap()
    }

    #[test]
    fn a_restart_finds_the_snapshot_and_every_change_since() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, last) = Store::open(directory.path()).unwrap();
        assert_eq!(last, None);
        let mut rules = RuleSet::default();
        for revision in 1..=5 {
            commit(&mut store, &mut rules, revision);
            let last = reopened(directory.path());
            assert_eq!((last.revision, &last.rules), (revision, &rules));
        }
        let snapshot = SnapshotFile::in_directory(directory.path()).unwrap();
        assert_eq!(snapshot.read().unwrap().unwrap().0.revision, 1, "the rest is in the journal");

        // After a restart the first write is a snapshot.
        let (mut store, last) = Store::open(directory.path()).unwrap();
        let mut rules = last.unwrap().rules;
        commit(&mut store, &mut rules, 6);
        assert_eq!(snapshot.read().unwrap().unwrap().0.revision, 6);
        assert_eq!(reopened(directory.path()).rules, rules);
    }

    #[test]
    fn a_journal_that_grew_large_becomes_a_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        let mut rules = RuleSet::default();
        commit(&mut store, &mut rules, 1);
        store.journal_len_max = 100;
        for revision in 2..=20 {
            commit(&mut store, &mut rules, revision);
            assert_eq!(reopened(directory.path()).rules, rules, "{revision}");
        }
        assert!(store.journal_len_max > 100, "a snapshot was written");
    }

    #[test]
    fn a_journal_of_another_snapshot_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        let mut rules = RuleSet::default();
        for revision in 1..=4 {
            commit(&mut store, &mut rules, revision);
        }
        // As if the process had died after the snapshot and before the journal was cleared.
        let snapshot = SnapshotFile::in_directory(directory.path()).unwrap();
        for revision in [1, 3, 4] {
            let mut fresh = RuleSet::default();
            fresh.insert(Namespace::new("fresh")).unwrap();
            snapshot.write(revision, "v", &fresh).unwrap();
            let last = reopened(directory.path());
            assert_eq!((last.revision, last.rules), (revision, fresh));
        }
        fs::remove_file(directory.path().join("rules.snapshot")).unwrap();
        assert_eq!(Store::open(directory.path()).unwrap().1, None);
    }

    #[test]
    fn a_gap_in_the_journal_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(directory.path()).unwrap();
        let mut rules = RuleSet::default();
        for revision in [1, 2, 4] {
            commit(&mut store, &mut rules, revision);
        }
        let error = Store::open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("no change leads to revision 4"), "{error}");
    }
}

//! Whether manifests have changed.
//!
//! A [`Fingerprint`] is taken at each interval and compared with the last. Polling sees what
//! notifications miss: mounted ConfigMaps that swap a link, network file systems, directories
//! that come and go. Small files count by content, so a file that was only touched has not
//! changed and one that was rewritten within the clock's grain has; large ones by size and time.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files::list;

/// Files above this size count by size and time of change.
const HASHED_LEN_MAX: u64 = 4 << 20;
/// Files that are looked at; more is a fault when they are loaded.
const FILES_MAX: usize = 10_000;

/// What a set of files looked like at one time. Equal fingerprints: nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint {
    files: Vec<(PathBuf, State)>,
    /// What could not be looked at, so that a change of that shows too.
    faults: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Hashed { len: u64, hash: u64 },
    Dated { len: u64, modified: Option<SystemTime> },
    Unreadable(io::ErrorKind),
}

impl Fingerprint {
    /// Looks at the files that [`crate::files::load`] would read. What cannot be read is part of
    /// the fingerprint, so this never fails; loading will say what is wrong.
    #[must_use]
    pub fn of(paths: &[PathBuf]) -> Self {
        let listing = list(paths, FILES_MAX);
        let faults = listing.faults.iter().map(ToString::to_string).collect();
        let files = listing.files.into_iter().map(|file| {
            let state = state(&file).unwrap_or_else(|error| State::Unreadable(error.kind()));
            (file, state)
        });
        Self { files: files.collect(), faults }
    }
}

fn state(file: &Path) -> io::Result<State> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() || metadata.len() > HASHED_LEN_MAX {
        return Ok(State::Dated { len: metadata.len(), modified: metadata.modified().ok() });
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(HASHED_LEN_MAX).read_to_end(&mut bytes)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(State::Hashed { len: bytes.len() as u64, hash: hasher.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_changes_when_and_only_when_the_files_do() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().to_owned()];
        let file = directory.path().join("a.yaml");
        let take = || Fingerprint::of(&paths);

        let empty = take();
        fs::write(&file, "a: 1\n").unwrap();
        let first = take();
        assert_ne!(empty, first);
        assert_eq!(first, take());

        fs::write(&file, "a: 2\n").unwrap();
        assert_ne!(first, take(), "the same size, within the same tick of the clock");
        fs::write(&file, "a: 1\n").unwrap();
        assert_eq!(first, take(), "only touched");

        fs::write(directory.path().join(".hidden.yaml"), "").unwrap();
        fs::write(directory.path().join("notes.txt"), "").unwrap();
        assert_eq!(first, take(), "files that are not read");

        fs::rename(&file, directory.path().join("b.yaml")).unwrap();
        assert_ne!(first, take());
    }

    #[test]
    fn a_missing_path_is_part_of_the_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().join("later")];
        let missing = Fingerprint::of(&paths);
        assert_eq!(missing, Fingerprint::of(&paths));
        fs::create_dir(&paths[0]).unwrap();
        assert_ne!(missing, Fingerprint::of(&paths));
    }

    #[test]
    fn a_link_that_is_swapped_shows() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, text) in [("..v1", "a: 1\n"), ("..v2", "a: 2\n")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("a.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink(at("..v1"), at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let paths = [directory.path().to_owned()];
        let before = Fingerprint::of(&paths);
        fs::remove_file(at("..data")).unwrap();
        std::os::unix::fs::symlink(at("..v2"), at("..data")).unwrap();
        assert_ne!(before, Fingerprint::of(&paths));
    }
}

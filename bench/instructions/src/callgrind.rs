//! Runs the cases under callgrind and reads what it has counted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;
use crate::baseline::Baseline;

/// What callgrind counts in: [`crate::measured`]. It takes a wildcard for one option and not for the other.
const MEASURED: &str = "sluice_instructions::measured";

/// Counts the instructions of all cases. The profile of each is left in the directory `dumps`
/// under the case's name.
pub(crate) fn count(dumps: &Path) -> Result<Baseline, Error> {
    // What an earlier run has left would be taken for this one's.
    if dumps.exists() {
        fs::remove_dir_all(dumps).map_err(Error::file(dumps))?;
    }
    fs::create_dir_all(dumps).map_err(Error::file(dumps))?;
    let program = std::env::current_exe().map_err(Error::failed("this program"))?;
    let profile = dumps.join("callgrind");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--combine-dumps=no"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(program)
        .arg("count")
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::failed("valgrind (`apt-get install valgrind`)"))?;
    if !output.status.success() {
        return Err(Error::Failed(format!("valgrind ended with {}", output.status)));
    }
    let mut counts = Vec::new();
    for (number, line) in (1..).zip(String::from_utf8_lossy(&output.stdout).lines()) {
        let (name, operations) = line
            .split_once(' ')
            .and_then(|(name, operations)| Some((name, operations.parse::<u32>().ok()?)))
            .ok_or_else(|| Error::Failed(format!("\"{line}\" is no case and its operations")))?;
        let dump = dumps.join(format!("callgrind.{number}"));
        let text = fs::read_to_string(&dump).map_err(Error::file(&dump))?;
        let total = total_of(&text)
            .ok_or_else(|| Error::Failed(format!("{} has no total", dump.display())))?;
        let named = dumps.join(name);
        fs::rename(&dump, &named).map_err(Error::file(&named))?;
        counts.push((name.to_owned(), f64::from(total) / f64::from(operations)));
    }
    Ok(Baseline::new(counts))
}

/// The instructions of a profile; `None` where it says none, or that there were none.
fn total_of(profile: &str) -> Option<u32> {
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: "))?;
    totals.trim().parse().ok().filter(|total| *total > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_in_which_nothing_was_counted_has_no_total() {
        assert_eq!(total_of("events: Ir\nfn=(1) x\n1 5\n\ntotals: 1234\n"), Some(1234));
        for text in ["", "totals: 0\n", "totals: \n", "events: Ir\n"] {
            assert_eq!(total_of(text), None, "{text:?}");
        }
    }
}

//! What a check says, and of whom.

use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at, in a word or two.
    pub(super) check: &'static str,
    pub(super) found: String,
    /// What to do; a command to paste, wherever one does it.
    pub(super) remedy: Option<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but slower, or not after the next change.
    Warning,
    /// It does not work, or drops what it should not.
    Fault,
    /// This process or this kernel does not get to see it.
    Unknown,
}

/// The machine or an interface, with what was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, found: found.into(), remedy: None }
    }

    pub(super) fn warning(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }

    pub(super) fn fault(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fault, remedy: Some(remedy.into()), ..Self::ok(check, found) }
    }

    pub(super) fn unknown(
        check: &'static str,
        found: impl Into<String>,
        remedy: Option<&str>,
    ) -> Self {
        let remedy = remedy.map(str::to_owned);
        Self { level: Level::Unknown, remedy, ..Self::ok(check, found) }
    }
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
        }
    }
}

/// Numbers as the kernel writes lists of cores: `0-3,8`.
pub(super) fn list(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last)| match first == last {
        true => format!("{first}"),
        false => format!("{first}-{last}"),
    };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_as_ranges() {
        assert_eq!(list([0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(list([]), "");
    }
}

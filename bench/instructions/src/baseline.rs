//! What was counted when somebody last looked and agreed, and how today's counts compare.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::Error;

/// A count may grow by this share before it is refused.
const MARGIN: f64 = 0.05;

/// Or by this many instructions, where the share is less than that.
const MARGIN_MIN: f64 = 2.0;

const HEAD: &str = "\
# Instructions of one operation, counted by callgrind in a release. `make instructions` compares
# with these and refuses 5 % more; `make instructions-accept` writes them anew.
";

/// Counts by case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Baseline {
    /// What compiled the code that was counted.
    compiler: String,
    counts: BTreeMap<String, f64>,
}

/// Two counts side by side.
#[derive(Debug)]
pub(crate) struct Comparison {
    lines: Vec<Line>,
    /// What compiled the baseline and what compiles now, if they differ.
    compilers: Option<[String; 2]>,
}

#[derive(Debug)]
struct Line {
    name: String,
    before: Option<f64>,
    now: Option<f64>,
}

/// What to make of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Same,
    /// It takes so much less that the baseline would let it grow back unseen.
    Less,
    More,
    New,
    Gone,
}

impl Baseline {
    /// What this compiler's code takes.
    pub(crate) fn new(counts: impl IntoIterator<Item = (String, f64)>) -> Self {
        Self { compiler: env!("SLUICE_RUSTC").to_owned(), counts: counts.into_iter().collect() }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::file(path))?;
        Self::parse(&text)
            .map_err(|line| Error::Failed(format!("{}: cannot read \"{line}\"", path.display())))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        fs::write(path, self.to_string()).map_err(Error::file(path))
    }

    /// Gives the line that is no count, if there is one.
    fn parse(text: &str) -> Result<Self, &str> {
        let (mut compiler, mut counts) = (String::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (name, value) = line.split_once(' ').ok_or(line)?;
            let value = value.trim();
            if name == "compiler" {
                value.clone_into(&mut compiler);
            } else {
                counts.insert(name.to_owned(), value.parse().map_err(|_| line)?);
            }
        }
        Ok(Self { compiler, counts })
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\ncompiler {}", self.compiler)?;
        self.counts.iter().try_for_each(|(name, count)| writeln!(f, "{name:<26} {count:.1}"))
    }
}

impl Comparison {
    pub(crate) fn of(before: &Baseline, now: &Baseline) -> Self {
        let mut names: Vec<&String> = before.counts.keys().chain(now.counts.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let line = |name: &String| Line {
            name: name.clone(),
            before: before.counts.get(name).copied(),
            now: now.counts.get(name).copied(),
        };
        let compilers = [before.compiler.clone(), now.compiler.clone()];
        let [a, b] = &compilers;
        Self {
            lines: names.into_iter().map(line).collect(),
            compilers: (a != b).then_some(compilers),
        }
    }

    /// Whether the baseline still holds: nothing takes more, and it knows all cases and no other.
    pub(crate) fn is_good(&self) -> bool {
        self.lines.iter().all(|line| matches!(line.finding(), Finding::Same | Finding::Less))
    }
}

impl Line {
    fn finding(&self) -> Finding {
        match (self.before, self.now) {
            (None, _) => Finding::New,
            (_, None) => Finding::Gone,
            (Some(before), Some(now)) => {
                let margin = (before * MARGIN).max(MARGIN_MIN);
                if now > before + margin {
                    Finding::More
                } else if now < before - margin {
                    Finding::Less
                } else {
                    Finding::Same
                }
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26} {:>9} {:>9} {:>8}", "instructions", "baseline", "now", "change")?;
        for line in &self.lines {
            let number = |it: Option<f64>| it.map(|it| format!("{it:.1}")).unwrap_or_default();
            let change = line.before.zip(line.now).filter(|(before, _)| *before > 0.0);
            let change =
                change.map(|(before, now)| format!("{:+.1} %", (now / before - 1.0) * 100.0));
            let remark = match line.finding() {
                Finding::Same => "",
                Finding::Less => "  less: accept it, or it may grow back unseen",
                Finding::More => "  *** MORE than 5 %",
                Finding::New => "  *** NEW: the baseline does not have it",
                Finding::Gone => "  *** GONE: only the baseline has it",
            };
            writeln!(
                f,
                "{:<26} {:>9} {:>9} {:>8}{remark}",
                line.name,
                number(line.before),
                number(line.now),
                change.unwrap_or_default(),
            )?;
        }
        if let Some([before, now]) = &self.compilers {
            writeln!(
                f,
                "The baseline is {before}'s, this is {now}'s: that alone may make a difference."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(counts: &[(&str, f64)]) -> Baseline {
        Baseline::new(counts.iter().map(|(name, count)| ((*name).to_owned(), *count)))
    }

    #[test]
    fn a_baseline_that_is_written_is_read_again() {
        let it = baseline(&[("parse", 123.4), ("a_name_that_is_longer_than_its_column", 1.0)]);
        assert_eq!(Baseline::parse(&it.to_string()), Ok(it));
        assert_eq!(Baseline::parse("parse x"), Err("parse x"));
        assert_eq!(Baseline::parse("parse"), Err("parse"));
    }

    #[test]
    fn what_grows_beyond_the_margin_is_refused_and_named() {
        for (before, now, is_good) in [
            (100.0, 104.9, true),
            (100.0, 105.1, false),
            (100.0, 50.0, true),
            (10.0, 11.9, true),
            (10.0, 12.1, false),
        ] {
            let all = Comparison::of(&baseline(&[("x", before)]), &baseline(&[("x", now)]));
            assert_eq!(all.is_good(), is_good, "{before} to {now}");
            assert_eq!(all.to_string().contains("MORE"), !is_good, "{all}");
        }
    }

    #[test]
    fn a_case_that_comes_or_goes_has_to_be_accepted() {
        let (none, one) = (baseline(&[]), baseline(&[("x", 1.0)]));
        for (before, now, said) in [(&none, &one, "NEW"), (&one, &none, "GONE")] {
            let all = Comparison::of(before, now);
            assert!(!all.is_good());
            assert!(all.to_string().contains(said), "{all}");
        }
    }

    #[test]
    fn another_compiler_is_told() {
        let now = baseline(&[("x", 1.0)]);
        let before = Baseline { compiler: "rustc 1.0".to_owned(), ..now.clone() };
        assert!(Comparison::of(&before, &now).to_string().contains("rustc 1.0"));
        assert!(!Comparison::of(&now, &now).to_string().contains("rustc"));
    }
}

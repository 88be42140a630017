//! Standard output: tables for people, JSON for programs.
//!
//! JSON is one line a value. Both are free of control characters: text passes through
//! [`crate::text`], and JSON strings escape what JSON itself would let through (C1, DEL, bidi).

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::text::{is_deceptive, printable};

/// How to print the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON value on one line.
    Json,
}

/// Where the answer goes.
pub(crate) struct Output {
    format: Format,
    colour: bool,
    stdout: BufWriter<Stdout>,
}

/// What a colour says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    Good,
    Bad,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let colour = stdout.is_terminal() && wants_colour();
        Self { format, colour, stdout: BufWriter::new(stdout) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a line. Text of others in it must be [`printable`] already.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> io::Result<()> {
        self.stdout.write_all(line.as_ref().as_bytes())?;
        self.stdout.write_all(b"\n")
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.stdout, Plain);
        value.serialize(&mut serializer)?;
        self.stdout.write_all(b"\n")
    }

    /// Prints rows under their headings. A column of numbers is aligned to the right.
    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        for line in align(headings, rows) {
            self.line(line)?;
        }
        Ok(())
    }

    /// `word` in a colour, where the terminal has any.
    pub(crate) fn paint(&self, mood: Mood, word: impl ToString) -> String {
        let word = word.to_string();
        match mood {
            _ if !self.colour => word,
            Mood::Good => format!("\u{1b}[32m{word}\u{1b}[0m"),
            Mood::Bad => format!("\u{1b}[31m{word}\u{1b}[0m"),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// https://no-color.org: any value but the empty one says no.
fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

fn align(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut columns = rows.iter().map(Vec::len).max().map_or_else(Vec::new, |len| vec![true; len]);
    for row in rows {
        for (numbers, cell) in columns.iter_mut().zip(row) {
            *numbers &= cell.bytes().all(|byte| byte.is_ascii_digit());
        }
    }
    layout(headings, rows, |place| columns.get(place).copied().unwrap_or(false))
}

/// A table whose columns are figures, but for the first.
pub(crate) fn figures(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    layout(headings, rows, |place| place > 0)
}

/// Lines of a table; `is_right` says which columns are aligned to the right.
fn layout(
    headings: &[&str],
    rows: &[Vec<String>],
    is_right: impl Fn(usize) -> bool,
) -> Vec<String> {
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns: Vec<(usize, bool)> = headings
        .iter()
        .enumerate()
        .map(|(place, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(place));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            (width.max(heading.len()), is_right(place))
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, &(width, right)) in cells.zip(&columns) {
            // Writing to a String cannot fail.
            let _ = match right {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        line.truncate(line.trim_end().len());
        line
    };
    std::iter::once(line(&mut headings.iter().copied()))
        .chain(rows.iter().map(|row| line(&mut row.iter().map(AsRef::as_ref))))
        .collect()
}

/// Compact JSON whose strings hold no character that could deceive a terminal.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_deceptive) {
            let (safe, tail) = rest.split_at(at);
            writer.write_all(safe.as_bytes())?;
            let mut characters = tail.chars();
            if let Some(character) = characters.next() {
                // All of them fit four digits, so that no surrogates are needed.
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_escape_what_json_would_let_through() {
        let text = "a\u{1b}\u{9b}\u{7f}\u{202e}\n\"b";
        let mut bytes = Vec::new();
        text.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Plain)).unwrap();
        let json = String::from_utf8(bytes).unwrap();
        assert_eq!(json, "\"a\\u001b\\u009b\\u007f\\u202e\\n\\\"b\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn columns_are_aligned_and_cells_escaped() {
        let rows = [["a\n", "1"], ["b", "22"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            align(&["NAME", "COUNT"], &rows),
            ["NAME    COUNT", "a\\u{a}      1", "b          22"]
        );
    }
}

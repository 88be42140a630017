//! `reach`: the matrix of who reaches whom.

use std::borrow::Cow;
use std::io;

use sluice_policy::model::Protocol;
use sluice_policy::reach::{PortReach, Reach};

use crate::args::{Connection, Reach as Arguments};
use crate::failure::Failure;
use crate::judge::Judge;
use crate::output::{Mood, Output};
use crate::text::printable;

/// Columns between two gaps, so that the eye finds its column.
const GROUP: usize = 10;

pub(crate) fn run(
    arguments: &Arguments,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    let ports: Vec<(Protocol, u16)> =
        arguments.ports.iter().map(|it| (it.protocol, it.port)).collect();
    let family = arguments.family.map(|it| it.0);
    let reach = Judge::open(&arguments.offline, connection)?.reach(&ports, family)?;
    if output.is_json() {
        output.json(&reach)?;
    } else {
        print(&reach, output)?;
    }
    Ok(())
}

/// One square for each port. Each row has its pod's number and name; columns have numbers,
/// written from top to bottom.
fn print(reach: &Reach, output: &mut Output) -> io::Result<()> {
    if reach.pods.is_empty() {
        return output.line("no pods in the rule set");
    }
    let pods: Vec<Cow<'_, str>> = reach.pods.iter().map(|pod| printable(pod)).collect();
    let name_width = pods.iter().map(|pod| pod.chars().count()).max().unwrap_or(0);
    let digits = (pods.len() - 1).to_string().len();
    for (place, entry) in reach.ports.iter().enumerate() {
        if place > 0 {
            output.line("")?;
        }
        output.line(heading(entry, pods.len()))?;
        for header in column_numbers(pods.len(), digits) {
            output.line(format!("{:digits$} {:name_width$}  {header}", "", ""))?;
        }
        for (number, (pod, cells)) in pods.iter().zip(&entry.verdict).enumerate() {
            let cells = grouped(cells.chars().map(|cell| match cell {
                '.' => cell.to_string(),
                _ => output.paint(Mood::Bad, cell),
            }));
            output.line(format!("{number:>digits$} {pod:<name_width$}  {cells}"))?;
        }
    }
    Ok(())
}

fn heading(entry: &PortReach, pods: usize) -> String {
    let allowed: usize = entry.verdict.iter().map(|row| row.matches('.').count()).sum();
    format!(
        "{} {}: {allowed} of {} pairs allowed   . allow  X drop   row: from  column: to",
        printable(&entry.protocol),
        entry.port,
        pods * pods
    )
}

/// The lines that number `count` columns, the highest digit first.
fn column_numbers(count: usize, digits: usize) -> Vec<String> {
    let digit = |column: usize, line: usize| {
        let number = format!("{column:>digits$}");
        number.chars().nth(line).unwrap_or(' ').to_string()
    };
    let line = |line| grouped((0..count).map(|column| digit(column, line)));
    (0..digits).map(|at| line(at).trim_end().to_owned()).collect()
}

/// Cells in a row, with a gap after every tenth.
fn grouped(cells: impl Iterator<Item = String>) -> String {
    let gap = |place: usize| if place > 0 && place.is_multiple_of(GROUP) { " " } else { "" };
    cells.enumerate().flat_map(|(place, cell)| [gap(place).to_owned(), cell]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_numbered_from_top_to_bottom() {
        assert_eq!(column_numbers(3, 1), ["012"]);
        assert_eq!(column_numbers(12, 2), ["           11", "0123456789 01"]);
    }
}

//! `explain`: whether a connection is allowed, and why.

use std::io;

use sluice_policy::explain::{Explanation, Question, Side, Verdict};

use super::batch;
use crate::args::{Connection, Explain};
use crate::failure::Failure;
use crate::judge::Judge;
use crate::output::{Mood, Output};
use crate::text::printable;

pub(crate) fn run(
    arguments: &Explain,
    connection: &Connection,
    output: &mut Output,
) -> Result<(), Failure> {
    if let Some(file) = &arguments.batch {
        return batch::run(file, || Judge::open(&arguments.offline, connection), output);
    }
    let (Some(from), Some(to), Some(port)) = (&arguments.from, &arguments.to, arguments.port)
    else {
        return Err(Failure::Usage("want --from, --to and --port, or --batch".to_owned()));
    };
    let question =
        Question { from: from.clone(), to: to.clone(), protocol: port.protocol, port: port.port };
    let answer = Judge::open(&arguments.offline, connection)?.explain(&question)?;
    let explanation = answer.map_err(Failure::refused)?;
    if output.is_json() {
        output.json(&explanation)?;
    } else {
        print(&explanation, output)?;
    }
    // A drop is an answer like any other; who scripts on it reads the verdict.
    Ok(())
}

fn print(explanation: &Explanation, output: &mut Output) -> io::Result<()> {
    let Explanation { from, to, port, protocol, verdict, access_list, egress, ingress } =
        explanation;
    let [from, to, protocol] = [from, to, protocol].map(|text| printable(text));
    let verdict = paint(*verdict, output);
    output.line(format!("{verdict}: {protocol} {port} from {from} to {to}"))?;
    if let Some(denial) = access_list {
        output.line(format!("  {} denies it", printable(&denial.to_string())))?;
    }
    for (end, whose, side) in [("egress", from, egress), ("ingress", to, ingress)] {
        let Side { verdict, reason, .. } = side;
        let verdict = paint(*verdict, output);
        output.line(format!("  {end} of {whose}: {verdict}: {}", printable(reason)))?;
    }
    Ok(())
}

fn paint(verdict: Verdict, output: &Output) -> String {
    let mood = match verdict {
        Verdict::Allow => Mood::Good,
        Verdict::Drop => Mood::Bad,
    };
    output.paint(mood, verdict)
}

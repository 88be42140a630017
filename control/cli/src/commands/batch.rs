//! `explain --batch`: questions as JSON lines in, answers as JSON lines out, in order.
//!
//! Each question has exactly one answer line, which is flushed before the next is read, so that a
//! program can hold a conversation. A question that means nothing, or has no answer, gets
//! `{"error": ".."}` and does not stop the others. Blank lines are passed over. Lines are bounded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_policy::explain::{Question, Who};

use crate::args::{PortArg, read_port, read_protocol};
use crate::failure::Failure;
use crate::judge::Judge;
use crate::output::Output;
use crate::text::count;

/// The longest question, in bytes; two names, a port and a protocol need less than 1,000.
const LINE_LEN_MAX: u64 = 64 << 10;

/// A question as it is written. Other fields are left to whoever wrote them: all that has a
/// meaning here must be there, so that a misspelt field is missed and not ignored.
#[derive(Deserialize)]
struct Asked {
    from: String,
    to: String,
    /// `443` or `"443"` with a protocol beside it, or `"443/TCP"`.
    port: Value,
    protocol: Option<String>,
}

/// The answer where there is none.
#[derive(Serialize)]
struct Unanswered {
    error: String,
}

pub(crate) fn run(
    file: &Path,
    open: impl FnOnce() -> Result<Judge, Failure>,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut lines = Lines(reader(file)?);
    let mut judge = open()?;
    let (mut asked, mut unanswered) = (0_u64, 0_u64);
    while let Some(line) = lines.next(file)? {
        asked += 1;
        let answer = match line.and_then(|line| read(&line)) {
            Ok(question) => judge.explain(&question)?,
            Err(error) => Err(error),
        };
        match answer {
            Ok(explanation) => output.json(&explanation)?,
            Err(error) => {
                unanswered += 1;
                output.json(&Unanswered { error })?;
            }
        }
        output.flush()?;
    }
    if unanswered == 0 {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{unanswered} of {} could not be answered",
        count(asked, "question", "questions")
    )))
}

fn reader(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(file) {
        Ok(opened) => Ok(Box::new(BufReader::new(opened))),
        Err(error) => Err(cannot_read(file, &error)),
    }
}

fn cannot_read(file: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("{}: cannot be read: {error}", file.display()))
}

/// Lines that are not blank.
struct Lines(Box<dyn BufRead>);

impl Lines {
    /// The next line, or why it cannot be taken; `None` after the last.
    fn next(&mut self, file: &Path) -> Result<Option<Result<Vec<u8>, String>>, Failure> {
        loop {
            let mut line = Vec::new();
            let bounded = &mut (&mut self.0).take(LINE_LEN_MAX);
            match bounded.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(None),
                Ok(_) if !line.ends_with(b"\n") && line.len() as u64 == LINE_LEN_MAX => {
                    self.0.skip_until(b'\n').map_err(|error| cannot_read(file, &error))?;
                    let error = format!("the line is longer than {LINE_LEN_MAX} bytes");
                    return Ok(Some(Err(error)));
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Ok(Some(Ok(line))),
                Err(error) => return Err(cannot_read(file, &error)),
            }
        }
    }
}

fn read(line: &[u8]) -> Result<Question, String> {
    let asked: Asked = serde_json::from_slice(line).map_err(|error| {
        format!(
            "{error}; want {{\"from\": \"namespace/pod or address\", \"to\": .., \"port\": 443, \
             \"protocol\": \"TCP\"}}"
        )
    })?;
    let who =
        |field: &str, text: &str| text.parse::<Who>().map_err(|error| format!("{field}: {error}"));
    let port = read_port_and_protocol(&asked.port, asked.protocol.as_deref())?;
    Ok(Question {
        from: who("from", &asked.from)?,
        to: who("to", &asked.to)?,
        protocol: port.protocol,
        port: port.port,
    })
}

fn read_port_and_protocol(port: &Value, protocol: Option<&str>) -> Result<PortArg, String> {
    let protocol = protocol
        .map(|text| read_protocol(text).map_err(|error| format!("protocol: {error}")))
        .transpose()?;
    let text = match port {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains('/') {
        let both: PortArg = text.parse().map_err(|error| format!("port: {error}"))?;
        return match protocol {
            Some(other) if other != both.protocol => {
                Err(format!("protocol: {other} contradicts port \"{text}\"; want one of them"))
            }
            _ => Ok(both),
        };
    }
    let port = read_port(&text).map_err(|error| format!("port: {error}"))?;
    let protocol = protocol.ok_or("protocol: missing; want TCP, UDP or SCTP")?;
    Ok(PortArg { protocol, port })
}

#[cfg(test)]
mod tests {
    use sluice_policy::model::Protocol;

    use super::*;

    #[test]
    fn questions() {
        for line in [
            r#"{"from":"a/b","to":"10.0.0.1","port":443,"protocol":"TCP"}"#,
            r#"{"from":"a/b","to":"10.0.0.1","port":"443","protocol":"TCP"}"#,
            r#"{"from":"a/b","to":"10.0.0.1","port":"443/TCP","note":"mine"}"#,
            r#"{"from":"a/b","to":"10.0.0.1","port":"443/TCP","protocol":"TCP"}"#,
        ] {
            let question = read(line.as_bytes()).unwrap();
            assert_eq!((question.protocol, question.port), (Protocol::Tcp, 443), "{line}");
            assert_eq!(question.to.to_string(), "10.0.0.1");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_field() {
        for (line, beginning) in [
            ("nonsense", "expected ident at line 1"),
            (r#"{"from":"a/b","to":"c/d","protocol":"TCP"}"#, "missing field `port`"),
            (r#"{"from":"a/b","to":"c/d","port":443,"protocl":"UDP"}"#, "protocol: missing"),
            (r#"{"from":"a/b","to":"c/d","port":0,"protocol":"TCP"}"#, "port: \"0\" is no port"),
            (r#"{"from":"a/b","to":"c/d","port":65536,"protocol":"TCP"}"#, "port: \"65536\""),
            (r#"{"from":"a/b","to":"c/d","port":-1,"protocol":"TCP"}"#, "port: \"-1\" is no"),
            (r#"{"from":"a/b","to":"c/d","port":null,"protocol":"TCP"}"#, "port: \"null\" is"),
            (r#"{"from":"a/b","to":"c/d","port":443,"protocol":"IP"}"#, "protocol: unknown"),
            (r#"{"from":"a/b","to":"c/d","port":"443/TCP","protocol":"UDP"}"#, "protocol: UDP"),
            (r#"{"from":"a","to":"c/d","port":443,"protocol":"TCP"}"#, "from: \"a\" is neither"),
            (r#"{"from":"a/b","to":"10.0.0.0/8","port":443,"protocol":"TCP"}"#, "to: \"10.0.0"),
        ] {
            let error = read(line.as_bytes()).unwrap_err();
            assert!(error.starts_with(beginning), "{line}: {error}");
        }
    }
}

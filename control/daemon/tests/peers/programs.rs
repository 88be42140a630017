//! Programs in a pod's namespace: whether they are there, and that they end.

use std::process::{Child, Command, Stdio};

use sluice_lab::{Namespace, root_or_skip, wait_until};

use crate::PATIENCE;

/// Not what a `PATH` finds first: Debian's Python alone has Debian's scapy.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// What no program here may need, in seconds.
const AT_MOST: &str = "30";

/// True as root and with all of `programs`; otherwise says on standard error what is missing.
pub(crate) fn ready_or_skip(programs: &[&str]) -> bool {
    if !root_or_skip() {
        return false;
    }
    let missing: Vec<_> = programs.iter().filter(|program| !runs(program, "--version")).collect();
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} not installed; `make test` installs what tests need");
    }
    missing.is_empty()
}

/// As [`ready_or_skip`], for Python with a module.
pub(crate) fn python_or_skip(module: &str) -> bool {
    if !ready_or_skip(&[PYTHON]) {
        return false;
    }
    let found = runs(PYTHON, &format!("-cimport {module}"));
    if !found {
        eprintln!("skipped: {PYTHON} has no {module}; `make test` installs what tests need");
    }
    found
}

fn runs(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a program to its end, and gives its exit status and what it wrote.
pub(crate) fn run(namespace: &Namespace, program: &str, arguments: &[&str]) -> (i32, String) {
    let all = [&[AT_MOST, program], arguments].concat();
    let output = namespace.command("timeout", &all).unwrap();
    let code = output.status.code().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(code != 124, "{program} {arguments:?} did not end:\n{text}{errors}");
    (code, text)
}

/// A program that is killed when it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(namespace: &Namespace, command: Command) -> Self {
        Self(namespace.child(command).unwrap())
    }

    /// A server that says nothing, from the moment on that it listens on a TCP port.
    pub(crate) fn serve(
        namespace: &Namespace,
        port: u16,
        program: &str,
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self::start(namespace, command);
        let listens = wait_until(PATIENCE, || listens(namespace, port));
        assert!(listens, "{program} {arguments:?} does not listen on {port}");
        server
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks the kernel, since a connection would be the one that a server waits for.
fn listens(namespace: &Namespace, port: u16) -> bool {
    let (place, listening) = (format!(":{port:04X}"), "0A");
    let listens_in = |table: &str| {
        let sockets = std::fs::read_to_string(table).unwrap();
        sockets.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let is_place = fields.next().is_some_and(|local| local.ends_with(&place));
            is_place && fields.nth(1) == Some(listening)
        })
    };
    namespace
        .run(|| listens_in("/proc/thread-self/net/tcp") || listens_in("/proc/thread-self/net/tcp6"))
        .unwrap()
}

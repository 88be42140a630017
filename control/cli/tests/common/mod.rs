//! Running `sluicectl`, and directories of manifests to run it on.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod fake;

use std::fs;
use std::path::Path;

use serde_json::Value;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Manifests in a directory of their own.
pub(crate) struct Scene(tempfile::TempDir);

/// Runs `sluicectl` with `stdin`.
pub(crate) fn sluicectl(arguments: &[&str], stdin: &str) -> Run {
    let output = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("sluicectl"))
        .args(arguments)
        .write_stdin(stdin)
        .env_remove("SLUICE_SOCKET")
        .output()
        .unwrap();
    Run {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// The one value on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of each line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Scene {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command with `-f` of the directory; a word that names a file there stands for it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &str) -> Run {
        let inside = |word: &&str| match self.path().join(word) {
            path if path.is_file() => path.to_str().unwrap().to_owned(),
            _ => (*word).to_owned(),
        };
        let words: Vec<String> = arguments.iter().map(inside).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(["-f", self.path().to_str().unwrap()]);
        sluicectl(&words, stdin)
    }

    /// `text` without the directory's own path.
    pub(crate) fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path().display()), "")
    }
}

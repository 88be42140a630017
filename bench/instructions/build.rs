//! Counts are those of one compiler: tells the program which it was.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().map(|it| it.stdout);
    let version = String::from_utf8_lossy(&said.unwrap_or_default()).trim().to_owned();
    println!("cargo::rustc-env=SLUICE_RUSTC={version}");
}

//! Compiles the load program with clang, as dataplane/xdp compiles the gate.

use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=bpf/load.bpf.c");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?;
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v2", "-Wall", "-Wextra", "-Werror"]);
    command.args(["-I", "../dataplane/xdp/bpf"]);
    for directory in std::fs::read_dir("/usr/include").into_iter().flatten().flatten() {
        if directory.file_name().to_string_lossy().ends_with("-linux-gnu") {
            command.arg("-idirafter").arg(directory.path());
        }
    }
    command.args(["-c", "bpf/load.bpf.c", "-o"]).arg(PathBuf::from(out).join("load.bpf.o"));
    let status = command.status().map_err(|error| format!("clang: {error}: install clang"))?;
    if status.success() { Ok(()) } else { Err("clang failed on bpf/load.bpf.c".into()) }
}

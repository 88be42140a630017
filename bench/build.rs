//! Compiles the BPF programs with clang, as dataplane/xdp compiles the gate.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-changed=bpf/load.h");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    for name in ["load.bpf", "peers.bpf", "sink.bpf"] {
        compile(Path::new("bpf").join(name).with_extension("bpf.c"), &out.join(name))?;
    }
    Ok(())
}

fn compile(source: PathBuf, object: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", source.display());
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v2", "-Wall", "-Wextra", "-Werror"]);
    command.args(["-I", "../dataplane/xdp/bpf"]);
    for directory in std::fs::read_dir("/usr/include").into_iter().flatten().flatten() {
        if directory.file_name().to_string_lossy().ends_with("-linux-gnu") {
            command.arg("-idirafter").arg(directory.path());
        }
    }
    command.arg("-c").arg(&source).arg("-o").arg(object.with_extension("bpf.o"));
    let status = command.status().map_err(|error| format!("clang: {error}: install clang"))?;
    if status.success() { Ok(()) } else { Err(format!("clang failed on {}", source.display())) }
}

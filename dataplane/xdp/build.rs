//! Compiles the gate program with clang; its object is embedded in the library.

use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), String> {
    for source in ["bpf/gate.bpf.c", "bpf/bpf.h"] {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = std::env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?;
    let object = PathBuf::from(out).join("gate.bpf.o");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v2", "-Wall", "-Wextra", "-Werror"]);
    // Debian keeps asm/types.h below the architecture's own directory, which `-target bpf` leaves out.
    for directory in std::fs::read_dir("/usr/include").into_iter().flatten().flatten() {
        if directory.file_name().to_string_lossy().ends_with("-linux-gnu") {
            command.arg("-idirafter").arg(directory.path());
        }
    }
    command.args(["-c", "bpf/gate.bpf.c", "-o"]).arg(&object);
    let output = command.output().map_err(|error| {
        format!("the gate program needs clang, and `{clang}` does not start ({error}): install clang, or set CLANG to its path")
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "clang failed on bpf/gate.bpf.c (if linux/bpf.h is missing: install linux-libc-dev):\n{text}"
        ));
    }
    Ok(())
}

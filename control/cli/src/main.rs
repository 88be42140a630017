//! `sluicectl`: see the library of this crate.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sluice_cli::run(std::env::args_os()).into()
}

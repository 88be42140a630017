//! Any bytes as a story that an engine plays.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::engine(bytes));

/// Without the fuzzer: runs the files that the command line names.
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        sluice_fuzz::engine(&std::fs::read(path)?);
    }
    Ok(())
}

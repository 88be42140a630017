//! Any bytes as a story of packets, tables and time.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sluice_fuzz::judge(bytes));

/// Without the fuzzer: runs the files that the command line names.
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        sluice_fuzz::judge(&std::fs::read(path)?);
    }
    Ok(())
}

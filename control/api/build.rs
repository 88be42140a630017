//! Compiles the `.proto` files without `protoc`, and keeps their descriptors.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files =
        ["capture", "control", "ports", "rules"].map(|name| format!("sluice/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    fs::write(out_dir.join("sluice.v1.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    // The strict decoder finds a message's fields by the message's name.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Maps are sorted, so that one rule set has one encoding.
        .btree_map(".")
        .codec_path("crate::strict::Codec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

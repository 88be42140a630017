//! The generated types.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::use_self,
    clippy::too_many_lines,
    reason = "generated; the documentation is in the .proto files"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/sluice.v1.rs"));
}

pub(crate) use generated::*;

/// The descriptors of all messages, as an encoded `FileDescriptorSet`.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sluice.v1.bin"));

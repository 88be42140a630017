//! What to capture, and where to.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use sluice_api::backend::{
    CAPTURE_COUNT_DEFAULT, CAPTURE_COUNT_MAX, CAPTURE_DURATION_DEFAULT, CAPTURE_DURATION_MAX,
    SNAP_LEN_MAX,
};
use sluice_core::drop::DropReason;

/// Show frames as the daemon drops them, or write them to a file for tcpdump and Wireshark.
///
/// Ends after so many frames or seconds, whichever comes first, or with Ctrl-C; whatever ends it,
/// the file is whole. Says at last how many frames were captured, and how many more were dropped
/// that nobody took in time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluicectl capture --drops --port veth7
  sluicectl capture --drops --reason ingress_denied --count 100 -w drops.pcapng
  sluicectl capture --drops -w - | tcpdump -n -r -

Files are always pcapng: each port is an interface, and each frame's comment is the reason, as
`sluicectl counters --reasons` explains it.")]
pub(crate) struct Capture {
    /// Capture what is dropped: needed, since nothing else can be captured yet
    #[arg(long)]
    pub(crate) drops: bool,
    /// End after so many frames
    #[arg(short, long, value_name = "N", default_value_t = CAPTURE_COUNT_DEFAULT,
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=CAPTURE_COUNT_MAX.into()))]
    pub(crate) count: u32,
    /// Write them to a file as pcapng, in place of one that is there; to standard output with -
    #[arg(short, long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Only what this port accounts for: it received the frame, or could not send it; repeatable
    #[arg(long = "port", value_name = "NAME")]
    pub(crate) ports: Vec<String>,
    /// Only what is dropped for this reason; repeatable
    #[arg(long = "reason", value_name = "NAME")]
    pub(crate) reasons: Vec<DropReason>,
    /// Bytes to keep of each frame at most
    #[arg(short, long, value_name = "BYTES", default_value_t = SNAP_LEN_MAX,
        value_parser = RangedU64ValueParser::<u32>::new().range(1..=SNAP_LEN_MAX.into()))]
    pub(crate) snap_len: u32,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = CAPTURE_DURATION_DEFAULT.as_secs(),
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=CAPTURE_DURATION_MAX.as_secs()))]
    pub(crate) duration: u64,
}

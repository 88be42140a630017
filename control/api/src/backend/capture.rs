//! Captures of dropped frames.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use sluice_core::drop::DropReason;

/// Frames after which a capture is over where nobody says otherwise.
pub const CAPTURE_COUNT_DEFAULT: u32 = 1_000;

/// Frames of one capture at most.
pub const CAPTURE_COUNT_MAX: u32 = 1_000_000;

/// Time after which a capture is over where nobody says otherwise.
pub const CAPTURE_DURATION_DEFAULT: Duration = Duration::from_secs(60);

/// The longest capture.
pub const CAPTURE_DURATION_MAX: Duration = Duration::from_secs(3600);

/// Ports that one capture can name.
pub const CAPTURE_PORTS_MAX: usize = 64;

/// Bytes of one frame at most: more than any frame has.
pub const SNAP_LEN_MAX: u32 = 65_535;

/// Which dropped frames to capture, and how much of them. The default is all of all frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureOrder {
    /// Frames after which the capture is over: 1 to [`CAPTURE_COUNT_MAX`].
    pub count: u32,
    /// Bytes of each frame at most: 1 to [`SNAP_LEN_MAX`].
    pub snap_len: u32,
    /// Time after which the capture is over, in whole seconds: at most [`CAPTURE_DURATION_MAX`].
    pub duration: Duration,
    /// Only drops that one of these ports accounts for; of all ports if empty. At most
    /// [`CAPTURE_PORTS_MAX`].
    pub ports: Vec<String>,
    /// Only drops for one of these reasons; for all if empty.
    pub reasons: Vec<DropReason>,
}

/// A capture under way. It ends when this is dropped.
pub trait Capture: Send + 'static {
    /// Takes at most `max` of the frames that have been captured and not taken yet, in the order
    /// in which they were dropped. Does not wait for any.
    fn take(&mut self, max: usize) -> Captured;

    /// Whether all has been taken that will ever be captured.
    fn is_over(&self) -> bool;
}

/// What has been captured since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// In the order in which they were dropped.
    pub frames: Vec<DroppedFrame>,
    /// How many more there should have been since the beginning: nobody took them in time.
    pub missed: u64,
}

/// A frame that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedFrame {
    /// When, by the wall clock of the daemon. JSON has it as RFC 3339 writes it, in UTC.
    #[serde(serialize_with = "serialize_time")]
    pub time: SystemTime,
    /// The interface of the port that accounts for the drop; `None`: the port has gone.
    pub port: Option<String>,
    /// The reason's name. It is text, since a daemon may know reasons that its client does not.
    pub reason: String,
    /// The index of the worker that dropped it.
    pub worker: u32,
    /// Its length from the Ethernet header on, in bytes.
    pub len: u32,
    /// Its first bytes. JSON has them as hexadecimal digits.
    #[serde(serialize_with = "serialize_bytes")]
    pub data: Vec<u8>,
}

impl Default for CaptureOrder {
    fn default() -> Self {
        Self {
            count: CAPTURE_COUNT_DEFAULT,
            snap_len: SNAP_LEN_MAX,
            duration: CAPTURE_DURATION_DEFAULT,
            ports: Vec::new(),
            reasons: Vec::new(),
        }
    }
}

fn serialize_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::text::rfc3339(*time))
}

fn serialize_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    serializer.serialize_str(&text)
}

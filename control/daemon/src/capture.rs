//! The engine's captures, as the control API sees them.

use sluice_api::backend::{Capture, CaptureOrder, Captured, DroppedFrame};
use sluice_engine::capture;

/// A capture of the engine.
pub(crate) struct EngineCapture(pub(crate) capture::Capture);

impl Capture for EngineCapture {
    fn take(&mut self, max: usize) -> Captured {
        let frames = self.0.take(max).into_iter().map(frame).collect();
        Captured { frames, missed: self.0.missed() }
    }

    fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

pub(crate) fn spec(order: CaptureOrder) -> capture::CaptureSpec {
    capture::CaptureSpec {
        ports: order.ports.into_iter().map(Into::into).collect(),
        reasons: order.reasons,
        count: order.count.into(),
        snap_len: usize::try_from(order.snap_len).unwrap_or(usize::MAX),
        duration: order.duration,
    }
}

fn frame(it: capture::DroppedFrame) -> DroppedFrame {
    DroppedFrame {
        time: it.wall,
        port: it.port.map(Into::into),
        reason: it.reason.name().to_owned(),
        worker: u32::try_from(it.worker).unwrap_or(u32::MAX),
        len: u32::try_from(it.len).unwrap_or(u32::MAX),
        data: it.bytes,
    }
}

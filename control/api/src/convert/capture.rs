//! Captures of dropped frames, both ways.

use std::time::{Duration, SystemTime};

use sluice_core::drop::{DropReason, UnknownReason};
use sluice_policy::model::Fault;

use super::Malformed;
use super::ports::check_interface;
use super::report::{Path, Report, gather};
use crate::backend::{
    CAPTURE_COUNT_DEFAULT, CAPTURE_COUNT_MAX, CAPTURE_DURATION_DEFAULT, CAPTURE_DURATION_MAX,
    CAPTURE_PORTS_MAX, CaptureOrder, Captured, DroppedFrame, SNAP_LEN_MAX,
};
use crate::wire;

pub(crate) fn order(request: wire::CaptureRequest) -> Result<CaptureOrder, Vec<Fault>> {
    let mut report = Report::new("request");
    let count =
        bounded(&mut report, "count", request.count, CAPTURE_COUNT_DEFAULT, CAPTURE_COUNT_MAX);
    let snap_len = bounded(&mut report, "snap_len", request.snap_len, SNAP_LEN_MAX, SNAP_LEN_MAX);
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let duration = bounded(
        &mut report,
        "duration_seconds",
        request.duration_seconds,
        seconds(CAPTURE_DURATION_DEFAULT),
        seconds(CAPTURE_DURATION_MAX),
    );
    let at = Path::Top("ports");
    let ports = match request.ports.len() {
        0..=CAPTURE_PORTS_MAX => {
            gather(request.ports.into_iter().enumerate().map(|(place, name)| {
                check_interface(&mut report, &at.item(place), &name).map(|()| name)
            }))
        }
        many => report.fault(&at, format!("there are {many}; want {CAPTURE_PORTS_MAX} at most")),
    };
    let at = Path::Top("reasons");
    let reasons = gather(request.reasons.iter().enumerate().map(|(place, name)| {
        let read = name.parse::<DropReason>();
        let refuse = |error: UnknownReason| report.fault(&at.item(place), error.to_string());
        read.map_or_else(refuse, Some)
    }));
    let order = (|| {
        Some(CaptureOrder {
            count: count?,
            snap_len: snap_len?,
            duration: Duration::from_secs(duration?.into()),
            ports: ports?,
            reasons: reasons?,
        })
    })();
    report.finish(order)
}

/// `number`, or what 0 asks for.
fn bounded(report: &mut Report, field: &str, number: u32, default: u32, most: u32) -> Option<u32> {
    match number {
        0 => Some(default),
        number if number <= most => Some(number),
        number => report.fault(&Path::Top(field), format!("it is {number}; want {most} at most")),
    }
}

pub(crate) fn order_to_wire(order: &CaptureOrder) -> wire::CaptureRequest {
    wire::CaptureRequest {
        count: order.count,
        snap_len: order.snap_len,
        // One that does not fit is too long in any case, and the daemon says so.
        duration_seconds: u32::try_from(order.duration.as_secs()).unwrap_or(u32::MAX),
        ports: order.ports.clone(),
        reasons: order.reasons.iter().map(|reason| reason.name().to_owned()).collect(),
    }
}

pub(crate) fn captured_to_wire(captured: Captured) -> wire::CaptureResponse {
    let frame = |it: DroppedFrame| {
        let since = it.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        wire::DroppedFrame {
            time_ns: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            port: it.port,
            reason: it.reason,
            worker: it.worker,
            len: it.len,
            data: it.data,
        }
    };
    wire::CaptureResponse {
        frames: captured.frames.into_iter().map(frame).collect(),
        missed: captured.missed,
    }
}

pub(crate) fn captured(response: wire::CaptureResponse) -> Result<Captured, Malformed> {
    let frame = |it: wire::DroppedFrame| {
        if it.data.len() > it.len as usize {
            return Err(format!("a frame of {} bytes shows {} of them", it.len, it.data.len()));
        }
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(it.time_ns));
        Ok(DroppedFrame {
            time: time.ok_or("a frame was dropped later than clocks can say")?,
            port: it.port,
            reason: it.reason,
            worker: it.worker,
            len: it.len,
            data: it.data,
        })
    };
    let frames = response.frames.into_iter().map(frame).collect::<Result<_, Malformed>>()?;
    Ok(Captured { frames, missed: response.missed })
}

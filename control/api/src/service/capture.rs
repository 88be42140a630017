//! The relay of a capture: from the backend, which waits for nobody, to a client that may be slow.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::Status;

use crate::backend::Capture;
use crate::convert::capture::captured_to_wire;
use crate::wire;

/// Answers that wait for the client at most.
pub(super) const ANSWERS_MAX: usize = 4;

/// Frames of one answer at most.
const FRAMES_MAX: usize = 64;

/// How often the backend is asked for what it has captured.
const INTERVAL: Duration = Duration::from_millis(5);

/// How long a client may take for the last frames, after the capture's own time.
const GRACE: Duration = Duration::from_secs(10);

pub(super) type Answers = mpsc::Sender<Result<wire::CaptureResponse, Status>>;

/// Relays a capture of at most `duration` until it is over, the client has gone or the server
/// stops. The capture ends with it.
pub(super) async fn relay(
    mut capture: Box<dyn Capture>,
    duration: Duration,
    answers: Answers,
    mut stopping: watch::Receiver<bool>,
) {
    let end = tokio::select! {
        end = timeout(duration + GRACE, forward(&mut *capture, &answers)) => end,
        () = answers.closed() => return,
        _ = stopping.wait_for(|stopping| *stopping) => {
            // A client that takes nothing finds the connection closed.
            let _ = answers.try_send(Err(Status::unavailable("the daemon ends")));
            return;
        }
    };
    // A client that does not read must not keep others from capturing.
    drop(capture);
    if end.is_err() {
        let late = "the client did not take what was captured in time; the rest is lost";
        let _ = answers.send(Err(Status::aborted(late))).await;
    }
}

/// Forwards until the capture is over.
async fn forward(capture: &mut dyn Capture, answers: &Answers) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    loop {
        let captured = capture.take(FRAMES_MAX);
        let is_over = capture.is_over();
        let may_be_more = captured.frames.len() == FRAMES_MAX;
        if !captured.frames.is_empty() || captured.missed != missed {
            missed = captured.missed;
            if answers.send(Ok(captured_to_wire(captured))).await.is_err() {
                return;
            }
        }
        if is_over {
            return;
        }
        if !may_be_more {
            ticks.tick().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::SystemTime;

    use tonic::Code;

    use super::*;
    use crate::backend::{Captured, DroppedFrame};

    /// Frames without end; counts those that have been taken.
    struct Endless(Arc<AtomicUsize>);

    impl Capture for Endless {
        fn take(&mut self, max: usize) -> Captured {
            let frame = DroppedFrame {
                time: SystemTime::UNIX_EPOCH,
                port: None,
                reason: String::new(),
                worker: 0,
                len: 0,
                data: Vec::new(),
            };
            self.0.fetch_add(max, SeqCst);
            Captured { frames: vec![frame; max], missed: 0 }
        }

        fn is_over(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_holds_neither_memory_nor_the_capture() {
        let taken = Arc::new(AtomicUsize::new(0));
        let (answers, mut received) = mpsc::channel(ANSWERS_MAX);
        let (_stop, stopping) = watch::channel(false);
        let capture = Box::new(Endless(Arc::clone(&taken)));
        let duration = Duration::from_secs(60);
        let task = tokio::spawn(relay(capture, duration, answers, stopping));
        tokio::time::sleep(duration + GRACE - INTERVAL).await;
        assert_eq!(taken.load(SeqCst), (ANSWERS_MAX + 1) * FRAMES_MAX, "one waits to be sent");
        assert_eq!(Arc::strong_count(&taken), 2, "the capture is under way");
        tokio::time::sleep(2 * INTERVAL).await;
        assert_eq!(Arc::strong_count(&taken), 1, "the capture is gone");
        for _ in 0..ANSWERS_MAX {
            assert_eq!(received.recv().await.unwrap().unwrap().frames.len(), FRAMES_MAX);
        }
        assert_eq!(received.recv().await.unwrap().unwrap_err().code(), Code::Aborted);
        assert!(received.recv().await.is_none());
        task.await.unwrap();
    }
}

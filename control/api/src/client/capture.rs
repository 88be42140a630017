//! A capture of dropped frames, as it comes in.

use tonic::Streaming;

use super::ClientError;
use crate::backend::Captured;
use crate::convert::capture::captured;
use crate::wire;

/// A capture under way. It ends when this is dropped.
#[derive(Debug)]
pub struct Capture {
    answers: Streaming<wire::CaptureResponse>,
    place: String,
}

impl Capture {
    pub(super) fn new(answers: Streaming<wire::CaptureResponse>, place: String) -> Self {
        Self { answers, place }
    }

    /// Waits for what is captured next; `None` when the capture is over. Nothing is lost where
    /// the wait is given up.
    ///
    /// # Errors
    /// [`ClientError`], if the connection is lost or the daemon ends.
    pub async fn next(&mut self) -> Result<Option<Captured>, ClientError> {
        let answer = self.answers.message().await;
        let answer = answer.map_err(|status| ClientError::from_status(&self.place, &status))?;
        answer.map(captured).transpose().map_err(ClientError::Malformed)
    }
}

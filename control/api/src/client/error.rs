//! Why a daemon cannot be asked, and what to do about it.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tonic::{Code, Status};

use crate::backend::Failure;
use crate::text::{causes, printable};

/// Why a daemon cannot be asked, or does not answer as it should. Each reads as a sentence that
/// is safe to print.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("no daemon answers on {path}: {reason}; is sluiced running?")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What came of it.
        reason: String,
    },
    /// The socket is another user's.
    #[error("{0}: permission denied; only the user that runs the daemon may open it, mostly root")]
    Permission(PathBuf),
    /// Nobody answers at the address.
    #[error(
        "no daemon answers on {address}: {reason}; is sluiced running, and does it listen there?"
    )]
    NoAnswer {
        /// The address.
        address: SocketAddr,
        /// What came of it.
        reason: String,
    },
    /// One side does not trust the other, or does not speak TLS.
    #[error(
        "no TLS with {address}: {reason}; check the CA, the certificate, its key and the server name"
    )]
    Tls {
        /// The address.
        address: SocketAddr,
        /// What came of it.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{path}: {error}; want a PEM file that this user may read")]
    File {
        /// The file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// The connection was lost before the answer came.
    #[error("the connection to {place} was lost: {reason}; if it was a commit, ask the status")]
    Lost {
        /// The socket or address.
        place: String,
        /// What came of it.
        reason: String,
    },
    /// The daemon takes too long.
    #[error("{0} gave no answer in time; if it was a commit, ask the status")]
    Timeout(String),
    /// A message is too large.
    #[error("the message is too large: {0}")]
    TooLarge(String),
    /// The daemon refuses or fails.
    #[error(transparent)]
    Failed(Failure),
    /// The daemon's answer cannot be understood.
    #[error("the daemon's answer cannot be understood: {0}; do its version and this one differ?")]
    Malformed(String),
}

impl ClientError {
    pub(super) fn from_status(place: &str, status: &Status) -> Self {
        let text = printable(status.message()).into_owned();
        // What comes from the daemon has no source; what the transport makes up has one.
        if let Some(source) = status.source()
            && status.code() != Code::OutOfRange
            && status.code() != Code::DeadlineExceeded
        {
            return Self::Lost { place: place.to_owned(), reason: causes(source) };
        }
        match status.code() {
            Code::InvalidArgument => Self::Failed(Failure::Invalid(text)),
            Code::NotFound => Self::Failed(Failure::NotFound(text)),
            Code::AlreadyExists => Self::Failed(Failure::Exists(text)),
            Code::FailedPrecondition => Self::Failed(Failure::Precondition(text)),
            Code::OutOfRange => Self::TooLarge(text),
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout(place.to_owned()),
            Code::Unavailable => Self::Lost { place: place.to_owned(), reason: text },
            Code::Unimplemented => Self::Malformed("the daemon does not know the call".to_owned()),
            _ => Self::Failed(Failure::Internal(text)),
        }
    }
}

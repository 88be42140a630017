//! Listening: a unix socket for its owner, TCP for clients with a certificate.
//!
//! There is no way to listen in the clear on TCP. What is accepted is bounded: the size of
//! messages, the streams of a connection, and the time that a call may take.

mod tls;
mod unix;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic::transport::{self, Server};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::backend::Backend;
use crate::service::Service;
use crate::wire::control_server::{self, ControlServer};
use crate::{MESSAGE_LEN_MAX, wire};

/// How long a call may take, its request's arrival included. A half-sent request ends so.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long calls under way may go on after the end is asked for.
const GRACE: Duration = Duration::from_secs(3);

/// Calls that one connection may have under way.
const STREAMS_MAX: u32 = 16;

/// How often a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket that only its owner may open (mode 0600).
    Unix(PathBuf),
    /// TCP with mutual TLS.
    Tls(TlsFiles),
}

/// A TCP address and the files that secure it, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities that a client's certificate must come from.
    pub client_ca: PathBuf,
}

/// Why a server does not listen or serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another daemon answers on the socket.
    #[error("{0}: another daemon answers there; stop it, or listen on another socket")]
    InUse(PathBuf),
    /// Something else stands where the socket should be.
    #[error("{0}: it exists and is no socket; remove it, or listen on another socket")]
    NotASocket(PathBuf),
    /// The socket cannot be made.
    #[error("{path}: {error}; is its directory there, and may this user write to it?")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// The address cannot be listened on.
    #[error("{address}: {error}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What came of it.
        error: io::Error,
    },
    /// A file of the TLS set-up cannot be read.
    #[error("{path}: {error}; want a PEM file that this user may read")]
    File {
        /// The file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// The files of the TLS set-up make none.
    #[error("TLS on {address}: {reason}; want a certificate, its key and the clients' CA in PEM")]
    Tls {
        /// The address.
        address: SocketAddr,
        /// What is wrong with them.
        reason: String,
    },
    /// Serving fails.
    #[error("the control API failed: {0}")]
    Transport(#[from] transport::Error),
}

/// The API over a backend, with health and reflection, ready to be served on several listeners.
pub struct Api {
    routes: Routes,
    health: Health,
    /// Ends what would go on for as long as its client likes.
    stopping: watch::Sender<bool>,
}

/// Sets what the health service says, for the server as a whole (`""`) and for the service.
#[derive(Debug, Clone)]
pub struct Health(HealthReporter);

/// A listener that has its address and is not served yet, so that what follows can rely on it.
/// A unix socket's file is removed in the end.
#[derive(Debug)]
pub struct Bound(Listener);

#[derive(Debug)]
enum Listener {
    Unix(tokio::net::UnixListener, unix::SocketFile),
    Tls(tokio::net::TcpListener, Box<Server>),
}

impl Api {
    /// The API over `backend`. Its health is `NOT_SERVING` until [`Health::serving`] says so.
    pub async fn new(backend: Arc<dyn Backend>) -> Self {
        let health = Health(HealthReporter::new());
        health.serving(false).await;
        let health_service =
            tonic_health::server::HealthService::from_health_reporter(health.0.clone());
        let (stopping, stops) = watch::channel(false);
        let control = ControlServer::new(Service::new(backend, stops))
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        let mut routes = Routes::new(control)
            .add_service(tonic_health::pb::health_server::HealthServer::new(health_service));
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        match reflection {
            Ok(reflection) => routes = routes.add_service(reflection),
            Err(error) => tracing::error!(%error, "the control API cannot describe itself"),
        }
        Self { routes, health, stopping }
    }

    /// The handle on what the health service says.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves on `bound` until `shutdown` is ready; calls under way then have three seconds, and
    /// captures end at once, on whichever listener.
    ///
    /// # Errors
    /// [`ServeError::Transport`].
    pub async fn serve(
        &self,
        bound: Bound,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        match bound.0 {
            Listener::Unix(listener, _file) => {
                self.run(bounded(Server::builder()), UnixListenerStream::new(listener), shutdown)
                    .await
            }
            Listener::Tls(listener, server) => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                self.run(bounded(*server), incoming, shutdown).await
            }
        }
    }

    async fn run<IO>(
        &self,
        mut server: Server,
        incoming: impl Stream<Item = io::Result<IO>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Connected + Unpin + Send + 'static,
    {
        // Accepting fails when file descriptors run out, and then fails at once again.
        let incoming = incoming.then(|accepted| async {
            if let Err(error) = &accepted {
                tracing::warn!(%error, "the control API could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            accepted
        });
        let ending = Notify::new();
        let until = async {
            shutdown.await;
            self.stopping.send_replace(true);
            ending.notify_one();
        };
        let served =
            server.add_routes(self.routes.clone()).serve_with_incoming_shutdown(incoming, until);
        let overdue = async {
            ending.notified().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = served => Ok(result?),
            () = overdue => Ok(()),
        }
    }
}

impl Health {
    /// Says whether the daemon does its work.
    pub async fn serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in ["", control_server::SERVICE_NAME] {
            self.0.set_service_status(name, status).await;
        }
    }
}

impl Bound {
    /// The TCP address; `None` for a unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Listener::Unix(..) => None,
            Listener::Tls(listener, _) => listener.local_addr().ok(),
        }
    }
}

/// Begins to listen. Clients may connect from now on; they are answered once the API is served.
///
/// # Errors
/// [`ServeError`]. A unix socket on which nobody answers any more is replaced; one on which
/// somebody does is left alone.
pub async fn bind(listen: &Listen) -> Result<Bound, ServeError> {
    match listen {
        Listen::Unix(path) => {
            let (listener, file) = unix::bind(path).await?;
            Ok(Bound(Listener::Unix(listener, file)))
        }
        Listen::Tls(files) => {
            let (listener, server) = tls::bind(files).await?;
            Ok(Bound(Listener::Tls(listener, Box::new(server))))
        }
    }
}

fn bounded(server: Server) -> Server {
    server
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
}

#[cfg(test)]
mod tests;

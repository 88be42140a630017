//! Connections to a daemon.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{self, Certificate, Channel, ClientTlsConfig, Identity, Uri};

use super::{ClientError, TlsEndpoint};
use crate::text::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A little more than the daemon gives a call, so that its own answer comes first.
const CALL_TIMEOUT: Duration = Duration::from_secs(130);

pub(super) async fn unix(path: &Path) -> Result<Channel, ClientError> {
    let socket = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The name is never looked up: the connector knows where to go.
    let channel = transport::Endpoint::from_static("http://sluiced")
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .connect_with_connector(connector)
        .await;
    channel.map_err(|error| match io_kind(&error) {
        Some(ErrorKind::PermissionDenied) => ClientError::Permission(path.to_owned()),
        _ => ClientError::NoDaemon { path: path.to_owned(), reason: deepest(&error) },
    })
}

pub(super) async fn tls(endpoint: &TlsEndpoint) -> Result<Channel, ClientError> {
    let TlsEndpoint { address, server_name, ca, certificate, key } = endpoint;
    let identity = Identity::from_pem(read(certificate)?, read(key)?);
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(ca)?))
        .identity(identity)
        .domain_name(server_name);
    let failed = |error: transport::Error| match io_kind(&error) {
        Some(ErrorKind::ConnectionRefused | ErrorKind::TimedOut | ErrorKind::HostUnreachable) => {
            ClientError::NoAnswer { address: *address, reason: deepest(&error) }
        }
        _ => ClientError::Tls { address: *address, reason: causes(&error) },
    };
    transport::Endpoint::from_shared(format!("https://{address}"))
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tls_config(config)
        .map_err(failed)?
        .connect()
        .await
        .map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::File { path: path.to_owned(), error })
}

/// What kind of I/O error is at the bottom, if one is.
fn io_kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

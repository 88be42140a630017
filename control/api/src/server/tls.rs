//! TCP with mutual TLS: a client without a certificate of the configured authority is not heard.

use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::{ServeError, TlsFiles};
use crate::text::causes;

/// How long a client may take to show who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn bind(files: &TlsFiles) -> Result<(TcpListener, Server), ServeError> {
    let identity = Identity::from_pem(read(&files.certificate)?, read(&files.key)?);
    let clients = Certificate::from_pem(read(&files.client_ca)?);
    let config = ServerTlsConfig::new()
        .identity(identity)
        .client_ca_root(clients)
        .client_auth_optional(false)
        .timeout(HANDSHAKE_TIMEOUT);
    // Before the address is taken, so that wrong files leave nothing behind.
    let server = Server::builder()
        .tls_config(config)
        .map_err(|error| ServeError::Tls { address: files.address, reason: causes(&error) })?;
    let listener = TcpListener::bind(files.address)
        .await
        .map_err(|error| ServeError::Address { address: files.address, error })?;
    Ok((listener, server))
}

fn read(path: &Path) -> Result<Vec<u8>, ServeError> {
    std::fs::read(path).map_err(|error| ServeError::File { path: path.to_owned(), error })
}

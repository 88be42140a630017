//! TLS in both directions, with authorities made for the test.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::client::TlsEndpoint;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for `name` and its key, and gives their paths.
fn issue(authority: &Authority, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let paths = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

/// A server that takes the clients of one authority, and what a client of it needs.
async fn start(directory: &Path) -> (TlsEndpoint, Authority, JoinHandle<()>) {
    let ours = authority();
    let ca = directory.join("ca.crt");
    std::fs::write(&ca, ours.pem()).unwrap();
    let (certificate, key) = issue(&ours, directory, "sluiced");
    let address = "127.0.0.1:0".parse().unwrap();
    let listen = Listen::Tls(TlsFiles { address, certificate, key, client_ca: ca.clone() });
    let bound = bind(&listen).await.unwrap();
    let (certificate, key) = issue(&ours, directory, "client");
    let address = bound.address().unwrap();
    let endpoint = TlsEndpoint { address, server_name: "sluiced".into(), ca, certificate, key };
    let api = Api::new(Arc::new(Fake::default())).await;
    let task = tokio::spawn(async move {
        api.serve(bound, std::future::pending()).await.unwrap();
    });
    (endpoint, ours, task)
}

async fn status(endpoint: &TlsEndpoint) -> Result<(), ClientError> {
    // In TLS 1.3 a client learns only with its first call that it is not welcome.
    Client::connect(&Endpoint::Tls(endpoint.clone())).await?.status().await.map(drop)
}

#[tokio::test]
async fn a_client_of_the_authority_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let (endpoint, _, task) = start(directory.path()).await;
    status(&endpoint).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn clients_of_another_authority_or_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (endpoint, _, task) = start(directory.path()).await;

    let (certificate, key) = issue(&authority(), directory.path(), "stranger");
    let stranger = TlsEndpoint { certificate, key, ..endpoint.clone() };
    let error = status(&stranger).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. } | ClientError::Lost { .. }), "{error:?}");

    let ca = std::fs::read(&endpoint.ca).unwrap();
    let config = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(ca))
        .domain_name("sluiced");
    let anonymous = Transport::from_shared(format!("https://{}", endpoint.address))
        .unwrap()
        .tls_config(config)
        .unwrap()
        .connect()
        .await;
    if let Ok(channel) = anonymous {
        ControlClient::new(channel).status(wire::StatusRequest {}).await.unwrap_err();
    }

    let plain = Transport::from_shared(format!("http://{}", endpoint.address)).unwrap();
    if let Ok(channel) = plain.connect().await {
        ControlClient::new(channel).status(wire::StatusRequest {}).await.unwrap_err();
    }
    status(&endpoint).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (endpoint, _, task) = start(directory.path()).await;
    let ca = directory.path().join("other.crt");
    std::fs::write(&ca, authority().pem()).unwrap();
    for wrong in [
        TlsEndpoint { ca, ..endpoint.clone() },
        TlsEndpoint { server_name: "elsewhere".into(), ..endpoint.clone() },
    ] {
        let error = status(&wrong).await.unwrap_err();
        assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    }
    task.abort();
}

#[tokio::test]
async fn files_that_make_no_tls_are_refused_before_anybody_can_connect() {
    let directory = tempfile::tempdir().unwrap();
    let ours = authority();
    let (certificate, key) = issue(&ours, directory.path(), "sluiced");
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let good = TlsFiles {
        address: "127.0.0.1:0".parse().unwrap(),
        client_ca: certificate.clone(),
        certificate,
        key,
    };
    bind(&Listen::Tls(good.clone())).await.unwrap();
    for wrong in [
        TlsFiles { client_ca: empty.clone(), ..good.clone() },
        TlsFiles { certificate: empty.clone(), ..good.clone() },
        TlsFiles { key: empty, ..good.clone() },
    ] {
        let error = bind(&Listen::Tls(wrong)).await.unwrap_err();
        assert!(matches!(error, ServeError::Tls { .. }), "{error}");
    }
    let gone = TlsFiles { key: directory.path().join("gone"), ..good };
    let error = bind(&Listen::Tls(gone)).await.unwrap_err();
    assert!(matches!(error, ServeError::File { .. }), "{error}");
}

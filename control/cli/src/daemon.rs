//! The running daemon, asked one thing at a time.
//!
//! Commands are simple sequences; this is where they meet the asynchronous client.

use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};

use sluice_api::backend::{
    CaptureOrder, Captured, CommitOrder, Committed, Counters, DiffOrder, PortSpec, PortState,
    Preview, Refused, Status,
};
use sluice_api::client::{self, Client, ClientError, Endpoint, TlsEndpoint};
use sluice_policy::explain::{Explanation, Question};
use sluice_policy::model::Protocol;
use sluice_policy::reach::{Family, Reach};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Connection;
use crate::failure::Failure;

/// A connection to the daemon.
pub(crate) struct Daemon {
    runtime: Runtime,
    client: Client,
}

/// Frames as the daemon drops them.
pub(crate) struct Capturing<'a> {
    runtime: &'a Runtime,
    capture: client::Capture,
    stops: Stops,
}

/// Ctrl-C and its like, which end what is under way and not the process.
pub(crate) struct Stops([Signal; 2]);

impl Daemon {
    pub(crate) fn connect(connection: &Connection) -> Result<Self, Failure> {
        let endpoint = endpoint(connection)?;
        // A thread of its own keeps the connection alive while a batch waits for its next line.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
                |error| Failure::refused(format!("cannot wait for the daemon: {error}")),
            )?;
        let client = wait(&runtime, Client::connect(&endpoint))?;
        Ok(Self { runtime, client })
    }

    /// The inner result is the daemon's answer.
    pub(crate) fn commit(
        &self,
        order: &CommitOrder,
    ) -> Result<Result<Committed, Refused>, Failure> {
        wait(&self.runtime, self.client.commit(order))
    }

    /// The inner result is the daemon's answer.
    pub(crate) fn diff(&self, order: &DiffOrder) -> Result<Result<Preview, Refused>, Failure> {
        wait(&self.runtime, self.client.diff(order))
    }

    pub(crate) fn status(&self) -> Result<Status, Failure> {
        wait(&self.runtime, self.client.status())
    }

    pub(crate) fn ports(&self) -> Result<Vec<PortState>, Failure> {
        wait(&self.runtime, self.client.ports())
    }

    pub(crate) fn add_port(&self, port: PortSpec) -> Result<(), Failure> {
        wait(&self.runtime, self.client.add_port(port))
    }

    pub(crate) fn remove_port(&self, name: &str) -> Result<(), Failure> {
        wait(&self.runtime, self.client.remove_port(name))
    }

    pub(crate) fn counters(&self) -> Result<Counters, Failure> {
        wait(&self.runtime, self.client.counters())
    }

    pub(crate) fn capture(&self, order: &CaptureOrder) -> Result<Capturing<'_>, Failure> {
        let stops = self.stops()?;
        let capture = wait(&self.runtime, self.client.capture(order))?;
        Ok(Capturing { runtime: &self.runtime, capture, stops })
    }

    /// Does what asks the daemon more than once, and ends when it likes.
    pub(crate) fn work<T>(
        &self,
        work: impl AsyncFnOnce(&Client, Stops) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let stops = self.stops()?;
        self.runtime.block_on(work(&self.client, stops))
    }

    fn stops(&self) -> Result<Stops, Failure> {
        let _inside = self.runtime.enter();
        let catch = |kind| {
            let failed = |error| Failure::refused(format!("cannot catch Ctrl-C: {error}"));
            signal(kind).map_err(failed)
        };
        Ok(Stops([catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?]))
    }

    /// The inner result is the answer to the question.
    pub(crate) fn explain(
        &self,
        question: &Question,
    ) -> Result<Result<Explanation, String>, Failure> {
        let asked = std::slice::from_ref(question);
        match self.runtime.block_on(self.client.explain(asked)) {
            // The client has counted the answers.
            Ok(answers) => answers
                .into_iter()
                .next()
                .ok_or_else(|| Failure::refused("the daemon gave no answer")),
            // The daemon is there and refuses this question; it may answer the next.
            Err(ClientError::Failed(refused)) => Ok(Err(refused.to_string())),
            Err(error) => Err(Failure::refused(error)),
        }
    }

    pub(crate) fn reach(
        &self,
        ports: &[(Protocol, u16)],
        family: Option<Family>,
    ) -> Result<Reach, Failure> {
        wait(&self.runtime, self.client.reach(ports, family))
    }
}

impl Capturing<'_> {
    /// Waits for what is captured next; `None` when that was all, or somebody has had enough.
    pub(crate) fn next(&mut self) -> Result<Option<Captured>, Failure> {
        wait(self.runtime, async {
            tokio::select! {
                biased;
                () = self.stops.recv() => Ok(None),
                captured = self.capture.next() => captured,
            }
        })
    }
}

impl Stops {
    /// Returns when one of them has come.
    pub(crate) async fn recv(&mut self) {
        let Self([interrupt, terminate]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

fn wait<T>(
    runtime: &Runtime,
    asked: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Failure> {
    runtime.block_on(asked).map_err(Failure::refused)
}

/// Where the options say that the daemon listens.
fn endpoint(connection: &Connection) -> Result<Endpoint, Failure> {
    let Connection { socket, tls_address, tls_ca, tls_cert, tls_key, tls_server_name } = connection;
    let Some(host_and_port) = tls_address else {
        let stray = [
            ("--tls-ca", tls_ca.is_some()),
            ("--tls-cert", tls_cert.is_some()),
            ("--tls-key", tls_key.is_some()),
            ("--tls-server-name", tls_server_name.is_some()),
        ];
        return match stray.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::Usage(format!(
                "{option} without --tls-address; say where the daemon listens, or leave it out"
            ))),
            None => Ok(Endpoint::Unix(socket.clone())),
        };
    };
    let (Some(ca), Some(certificate), Some(key)) = (tls_ca, tls_cert, tls_key) else {
        let wanted = "--tls-address needs --tls-ca, --tls-cert and --tls-key: both sides show who \
                      they are";
        return Err(Failure::Usage(wanted.to_owned()));
    };
    let Some((host, _)) = host_and_port.rsplit_once(':').filter(|(host, _)| !host.is_empty())
    else {
        let wrong = format!("--tls-address: \"{host_and_port}\"; want HOST:PORT");
        return Err(Failure::Usage(wrong));
    };
    let server_name = tls_server_name.as_deref().unwrap_or(host.trim_matches(['[', ']']));
    Ok(Endpoint::Tls(TlsEndpoint {
        address: resolve(host_and_port)?,
        server_name: server_name.to_owned(),
        ca: ca.clone(),
        certificate: certificate.clone(),
        key: key.clone(),
    }))
}

/// The first address of a host.
fn resolve(host_and_port: &str) -> Result<SocketAddr, Failure> {
    let problem = match host_and_port.to_socket_addrs() {
        Ok(mut addresses) => match addresses.next() {
            Some(address) => return Ok(address),
            None => "the host has no address".to_owned(),
        },
        Err(error) => error.to_string(),
    };
    Err(Failure::refused(format!(
        "--tls-address: \"{host_and_port}\": {problem}; want HOST:PORT of the daemon"
    )))
}

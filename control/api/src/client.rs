//! A client of the control API, in domain terms.

mod capture;
mod connect;
mod error;

use std::net::SocketAddr;
use std::path::PathBuf;

use sluice_policy::explain::{Explanation, Question};
use sluice_policy::model::Protocol;
use sluice_policy::reach::{Family, Reach};
use tonic::transport::Channel;

pub use capture::Capture;
pub use error::ClientError;

use crate::backend::{
    CaptureOrder, CommitOrder, Committed, Counters, DiffOrder, PortSpec, PortState, Preview,
    Refused, Status,
};
use crate::convert::{answers, capture as captures, commit, counters, diff, ports, questions};
use crate::wire::control_client::ControlClient;
use crate::{DEFAULT_SOCKET, MESSAGE_LEN_MAX, wire};

/// Where a daemon listens. The default is the unix socket [`DEFAULT_SOCKET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP with mutual TLS.
    Tls(TlsEndpoint),
}

/// A daemon's TCP address, and the files in PEM by which both sides know each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsEndpoint {
    /// The daemon's address.
    pub address: SocketAddr,
    /// The name, or IP address, that the daemon's certificate is for.
    pub server_name: String,
    /// The authority that the daemon's certificate comes from.
    pub ca: PathBuf,
    /// The client's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A connection to a daemon. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    control: ControlClient<Channel>,
    /// What errors call the daemon.
    place: String,
}

impl Client {
    /// Connects to a daemon.
    ///
    /// # Errors
    /// [`ClientError`], if nobody answers or one side does not trust the other.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let (channel, place) = match endpoint {
            Endpoint::Unix(path) => (connect::unix(path).await?, path.display().to_string()),
            Endpoint::Tls(tls) => (connect::tls(tls).await?, tls.address.to_string()),
        };
        let control = ControlClient::new(channel)
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        Ok(Self { control, place })
    }

    /// Puts a rule set in force. The inner result is the daemon's answer.
    ///
    /// # Errors
    /// [`ClientError`], if the daemon does not answer. The rule set may then be in force or not:
    /// the status tells.
    pub async fn commit(
        &self,
        order: &CommitOrder,
    ) -> Result<Result<Committed, Refused>, ClientError> {
        let request = commit::order_to_wire(order);
        check_len(&request)?;
        let response = self.control().commit(request).await.map_err(|it| self.failed(it))?;
        commit::outcome(response.into_inner()).map_err(ClientError::Malformed)
    }

    /// What a commit would change; nothing changes. The inner result is the daemon's answer.
    ///
    /// # Errors
    /// [`ClientError`], if the daemon does not answer.
    pub async fn diff(&self, order: &DiffOrder) -> Result<Result<Preview, Refused>, ClientError> {
        let request = diff::order_to_wire(order);
        check_len(&request)?;
        let response = self.control().diff(request).await.map_err(|it| self.failed(it))?;
        diff::outcome(response.into_inner()).map_err(ClientError::Malformed)
    }

    /// What is in force, and how the daemon is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        let request = wire::StatusRequest {};
        let response = self.control().status(request).await.map_err(|it| self.failed(it))?;
        answers::status(response.into_inner()).map_err(ClientError::Malformed)
    }

    /// The ports, sorted by interface.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ports(&self) -> Result<Vec<PortState>, ClientError> {
        let request = wire::ListPortsRequest {};
        let response = self.control().list_ports(request).await.map_err(|it| self.failed(it))?;
        let states = response.into_inner().ports.into_iter().map(ports::state);
        states.collect::<Result<_, _>>().map_err(ClientError::Malformed)
    }

    /// Attaches an interface.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the daemon's reason if it refuses.
    pub async fn add_port(&self, port: PortSpec) -> Result<(), ClientError> {
        let request = wire::AddPortRequest { port: Some(ports::spec_to_wire(&port)) };
        self.control().add_port(request).await.map_err(|it| self.failed(it))?;
        Ok(())
    }

    /// Detaches an interface.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the daemon's reason if it refuses.
    pub async fn remove_port(&self, name: &str) -> Result<(), ClientError> {
        let request = wire::RemovePortRequest { name: name.to_owned() };
        self.control().remove_port(request).await.map_err(|it| self.failed(it))?;
        Ok(())
    }

    /// What has been counted since the daemon started.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn counters(&self) -> Result<Counters, ClientError> {
        let request = wire::CountersRequest {};
        let response = self.control().counters(request).await.map_err(|it| self.failed(it))?;
        counters::from_wire(response.into_inner()).map_err(ClientError::Malformed)
    }

    /// Begins a capture of frames that are dropped from now on.
    ///
    /// # Errors
    /// [`ClientError::Failed`] with the daemon's reason if it refuses.
    pub async fn capture(&self, order: &CaptureOrder) -> Result<Capture, ClientError> {
        let request = captures::order_to_wire(order);
        let response = self.control().capture(request).await.map_err(|it| self.failed(it))?;
        Ok(Capture::new(response.into_inner(), self.place.clone()))
    }

    /// Why connections are allowed or dropped: an answer for each question, in the same order. A
    /// question without an answer has a sentence that says why.
    ///
    /// # Errors
    /// [`ClientError`], if the daemon does not answer at all.
    pub async fn explain(
        &self,
        questions: &[Question],
    ) -> Result<Vec<Result<Explanation, String>>, ClientError> {
        let asked = questions.iter().map(questions::question_to_wire).collect();
        let request = wire::ExplainRequest { questions: asked };
        let response = self.control().explain(request).await.map_err(|it| self.failed(it))?;
        let answers = response.into_inner().answers;
        if answers.len() != questions.len() {
            let problem = format!("{} answers to {} questions", answers.len(), questions.len());
            return Err(ClientError::Malformed(problem));
        }
        let answers = answers.into_iter().map(answers::answer);
        answers.collect::<Result<_, _>>().map_err(ClientError::Malformed)
    }

    /// The verdict of every pair of pods for each of `ports`; without a `family` by whichever IP
    /// version suits a pair.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reach(
        &self,
        ports: &[(Protocol, u16)],
        family: Option<Family>,
    ) -> Result<Reach, ClientError> {
        let request = questions::reach_to_wire(ports, family);
        let response = self.control().reach(request).await.map_err(|it| self.failed(it))?;
        answers::reach(response.into_inner()).map_err(ClientError::Malformed)
    }

    /// Handles are cheap; calls need one that they may change.
    fn control(&self) -> ControlClient<Channel> {
        self.control.clone()
    }

    fn failed(&self, status: tonic::Status) -> ClientError {
        ClientError::from_status(&self.place, &status)
    }
}

/// The transport would tell of a message that is too large as a lost connection.
fn check_len(request: &impl prost::Message) -> Result<(), ClientError> {
    match request.encoded_len() {
        len if len > MESSAGE_LEN_MAX => Err(ClientError::TooLarge(format!(
            "the request has {len} bytes; want {MESSAGE_LEN_MAX} at most"
        ))),
        _ => Ok(()),
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Unix(DEFAULT_SOCKET.into())
    }
}

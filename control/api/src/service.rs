//! The service: wire in, domain through the [`Backend`], wire out.
//!
//! Backends block, so each call runs on a thread for that. A request that does not convert
//! reaches no backend, but for a commit: that is told, so that the status shows it.

mod capture;

use std::sync::Arc;

use sluice_policy::model::Fault;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::backend::{Backend, CommitError, Failure, Refused};
use crate::convert::ports::sentence;
use crate::convert::{answers, capture as captures, commit, counters, diff, ports, questions};
use crate::text::printable;
use crate::wire;
use crate::wire::control_server::Control;

/// The service over a backend.
pub(crate) struct Service {
    backend: Arc<dyn Backend>,
    /// Turns true when the server stops.
    stopping: watch::Receiver<bool>,
}

impl Service {
    pub(crate) fn new(backend: Arc<dyn Backend>, stopping: watch::Receiver<bool>) -> Self {
        Self { backend, stopping }
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Backend) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let backend = Arc::clone(&self.backend);
        tokio::task::spawn_blocking(move || work(&*backend)).await.map_err(|error| {
            tracing::error!(%error, "a call of the control API died");
            Status::internal("the daemon failed within this call; its log says more")
        })
    }
}

#[tonic::async_trait]
impl Control for Service {
    type CaptureStream = ReceiverStream<Result<wire::CaptureResponse, Status>>;

    async fn commit(
        &self,
        request: Request<wire::CommitRequest>,
    ) -> Result<Response<wire::CommitResponse>, Status> {
        let request = request.into_inner();
        // The conversion of a large rule set takes its time too.
        let outcome = self
            .blocking(move |backend| {
                let version = request.version.clone();
                match commit::order(request) {
                    Ok(order) => backend.commit(order),
                    Err(faults) => Err(backend.refuse(&version, faults).into()),
                }
            })
            .await?;
        let outcome = match outcome {
            Ok(committed) => Ok(committed),
            Err(CommitError::Refused(refused)) => Err(refused),
            Err(CommitError::Unconfirmed(failure)) => return Err(failed(failure)),
        };
        Ok(Response::new(commit::outcome_to_wire(outcome)))
    }

    async fn diff(
        &self,
        request: Request<wire::DiffRequest>,
    ) -> Result<Response<wire::DiffResponse>, Status> {
        let request = request.into_inner();
        let outcome = self
            .blocking(move |backend| match diff::order(request) {
                Ok(order) => backend.diff(order),
                // Nothing was to come into force, so the status has no refusal to show.
                Err(faults) => Err(Refused { faults, running_revision: backend.status().revision }),
            })
            .await?;
        Ok(Response::new(diff::outcome_to_wire(outcome)))
    }

    async fn status(
        &self,
        _: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let status = self.blocking(|backend| backend.status()).await?;
        Ok(Response::new(answers::status_to_wire(status)))
    }

    async fn list_ports(
        &self,
        _: Request<wire::ListPortsRequest>,
    ) -> Result<Response<wire::ListPortsResponse>, Status> {
        let states = self.blocking(|backend| backend.ports()).await?.map_err(failed)?;
        let ports = states.into_iter().map(ports::state_to_wire).collect();
        Ok(Response::new(wire::ListPortsResponse { ports }))
    }

    async fn add_port(
        &self,
        request: Request<wire::AddPortRequest>,
    ) -> Result<Response<wire::AddPortResponse>, Status> {
        let spec = ports::add_request(request.into_inner()).map_err(|faults| invalid(&faults))?;
        self.blocking(|backend| backend.add_port(spec)).await?.map_err(failed)?;
        Ok(Response::new(wire::AddPortResponse {}))
    }

    async fn remove_port(
        &self,
        request: Request<wire::RemovePortRequest>,
    ) -> Result<Response<wire::RemovePortResponse>, Status> {
        let name = request.into_inner().name;
        ports::interface(&name).map_err(|faults| invalid(&faults))?;
        self.blocking(move |backend| backend.remove_port(&name)).await?.map_err(failed)?;
        Ok(Response::new(wire::RemovePortResponse {}))
    }

    async fn counters(
        &self,
        _: Request<wire::CountersRequest>,
    ) -> Result<Response<wire::CountersResponse>, Status> {
        let counters = self.blocking(|backend| backend.counters()).await?.map_err(failed)?;
        Ok(Response::new(counters::to_wire(counters)))
    }

    async fn capture(
        &self,
        request: Request<wire::CaptureRequest>,
    ) -> Result<Response<Self::CaptureStream>, Status> {
        let order = captures::order(request.into_inner()).map_err(|faults| invalid(&faults))?;
        let duration = order.duration;
        let begun = self.blocking(move |backend| backend.capture(order)).await?;
        let begun = begun.map_err(failed)?;
        let (answers, taken) = mpsc::channel(capture::ANSWERS_MAX);
        tokio::spawn(capture::relay(begun, duration, answers, self.stopping.clone()));
        Ok(Response::new(ReceiverStream::new(taken)))
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        let asked = request.into_inner().questions;
        if asked.len() > questions::QUESTIONS_MAX {
            let (count, most) = (asked.len(), questions::QUESTIONS_MAX);
            return Err(Status::invalid_argument(format!(
                "request: questions: there are {count}; want {most} at most"
            )));
        }
        let answers = self.blocking(move |backend| explain(backend, &asked)).await?;
        Ok(Response::new(wire::ExplainResponse { answers }))
    }

    async fn reach(
        &self,
        request: Request<wire::ReachRequest>,
    ) -> Result<Response<wire::ReachResponse>, Status> {
        let (ports, family) =
            questions::reach(request.get_ref()).map_err(|faults| invalid(&faults))?;
        let reach = self.blocking(move |backend| backend.reach(&ports, family)).await?;
        Ok(Response::new(answers::reach_to_wire(reach)))
    }
}

/// Asks the backend what can be asked; each question that cannot be read is answered with why.
fn explain(backend: &dyn Backend, asked: &[wire::Question]) -> Vec<wire::Answer> {
    let mut readable = Vec::new();
    let problems: Vec<Option<String>> = asked
        .iter()
        .enumerate()
        .map(|(place, question)| match questions::question(place, question) {
            Ok(question) => {
                readable.push(question);
                None
            }
            Err(faults) => Some(sentence(&faults)),
        })
        .collect();
    let mut answers = backend.explain(&readable).into_iter();
    let answer = |problem: Option<String>| match problem {
        Some(problem) => Err(problem),
        None => match answers.next() {
            Some(answer) => answer.map_err(|error| printable(&error.to_string()).into_owned()),
            None => Err("the daemon gave no answer".to_owned()),
        },
    };
    problems.into_iter().map(answer).map(answers::answer_to_wire).collect()
}

fn invalid(faults: &[Fault]) -> Status {
    Status::invalid_argument(sentence(faults))
}

fn failed(failure: Failure) -> Status {
    match failure {
        Failure::Invalid(text) => Status::invalid_argument(text),
        Failure::NotFound(text) => Status::not_found(text),
        Failure::Exists(text) => Status::already_exists(text),
        Failure::Precondition(text) => Status::failed_precondition(text),
        Failure::Internal(text) => Status::internal(text),
    }
}

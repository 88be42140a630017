//! Pushing rule sets to the stage's daemon through its gRPC API.

use std::path::Path;

use sluice_api::backend::{
    CommitOrder, Committed, Content, DIFF_LIMIT_MAX, DiffOrder, Preview, Refused,
};
use sluice_api::client::{Client, ClientError, Endpoint};
use sluice_policy::model::RuleSet;

/// Why a rule set is not in force.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The daemon does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon refuses.
    #[error("{0}")]
    Refused(Refused),
    /// No runtime could be had for the client.
    #[error("no runtime for the client: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Puts a rule set in force on every worker of the daemon behind `socket`.
///
/// # Errors
/// [`PushError`].
pub fn push(socket: &Path, rules: &RuleSet, version: &str) -> Result<Committed, PushError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(&Endpoint::Unix(socket.into())).await?;
        let order = CommitOrder {
            version: version.into(),
            base_revision: None,
            allow_shrink: true,
            content: Content::Snapshot(rules.clone()),
        };
        client.commit(&order).await?.map_err(PushError::Refused)
    })
}

/// What [`push`] would change, without changing anything.
///
/// # Errors
/// [`PushError`].
pub fn preview(socket: &Path, rules: &RuleSet) -> Result<Preview, PushError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(&Endpoint::Unix(socket.into())).await?;
        let order = DiffOrder {
            content: Content::Snapshot(rules.clone()),
            base_revision: None,
            limit: DIFF_LIMIT_MAX,
        };
        client.diff(&order).await?.map_err(PushError::Refused)
    })
}

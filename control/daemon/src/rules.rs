//! The rule set in force, and the only way to another one.
//!
//! ```text
//! rule set --+
//!            +--base, shrink--> compile --> publish --> every worker runs it --> on disk --> Ack
//! delta -----+       \             \
//!                     +-- refused --+--> nothing has changed
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_api::backend::{
    CommitOrder, Committed, DiffOrder, ObjectCounts, Preview, Refusal, Refused,
};
use sluice_core::table::Table;
use sluice_engine::Engine;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::Fault;

use crate::candidate::{candidate, refuse_shrunk};
use crate::snapshot::{Snapshot, SnapshotFile};

/// Keeps the rule set in force.
pub(crate) struct Rules {
    engine: Arc<Engine>,
    options: CompileOptions,
    file: SnapshotFile,
    in_force: Mutex<InForce>,
}

struct InForce {
    snapshot: Snapshot,
    /// Why the snapshot is not on disk; `None` where it is.
    not_on_disk: Option<String>,
    refusal: Option<(String, Vec<Fault>, Instant)>,
}

/// What of the rules the status shows.
pub(crate) struct RulesStatus {
    pub(crate) revision: u64,
    pub(crate) version: String,
    pub(crate) objects: ObjectCounts,
    pub(crate) refusal: Option<Refusal>,
    /// Why a restart would not find the rule set; `None` where it would.
    pub(crate) not_on_disk: Option<String>,
}

impl Rules {
    /// Puts the last good rule set of `state_dir` in force, if there is one.
    ///
    /// # Errors
    /// If the directory or the snapshot in it cannot be read: starting without it would drop
    /// what it allows, so that is the operator's decision.
    pub(crate) fn load(
        engine: Arc<Engine>,
        local_node: Option<String>,
        state_dir: &Path,
    ) -> std::io::Result<Self> {
        let in_state_dir = |error: std::io::Error| {
            let text = format!("control.state_dir {}: {error}", state_dir.display());
            std::io::Error::new(error.kind(), text)
        };
        let file = SnapshotFile::in_directory(state_dir).map_err(in_state_dir)?;
        let last = file.read().map_err(in_state_dir)?;
        let rules = Self {
            engine,
            options: CompileOptions { local_node },
            file,
            in_force: Mutex::new(InForce {
                snapshot: Snapshot::default(),
                not_on_disk: None,
                refusal: None,
            }),
        };
        if let Some(last) = last {
            let (revision, version) = (last.revision, last.version.clone());
            match rules.put_in_force(&mut rules.locked(), last) {
                Ok(()) => tracing::info!(revision, version, "the last good rule set is in force"),
                Err(faults) => tracing::error!(
                    revision,
                    ?faults,
                    "the last good rule set is refused; pods are denied until another one comes"
                ),
            }
        }
        Ok(rules)
    }

    /// Puts a rule set in force on every worker, or changes nothing.
    pub(crate) fn commit(&self, order: CommitOrder) -> Result<Committed, Refused> {
        let start = Instant::now();
        let mut in_force = self.locked();
        let version = order.version.clone();
        match self.carry_out(&mut in_force, order) {
            Ok(()) => {
                in_force.refusal = None;
                let revision = in_force.snapshot.revision;
                let objects = in_force.snapshot.rules.len() as u64;
                let took = start.elapsed();
                // No reason to refuse what is in force already, but a restart would miss it.
                in_force.not_on_disk =
                    self.file.write(&in_force.snapshot).err().map(|error| error.to_string());
                if let Some(error) = &in_force.not_on_disk {
                    tracing::error!(error, revision, "the rule set is in force but not on disk");
                }
                tracing::info!(revision, version, objects, ?took, "a rule set is in force");
                let applied_in_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                Ok(Committed { revision, version, objects, applied_in_ns })
            }
            Err(refused) => {
                tracing::warn!(version, faults = refused.faults.len(), "a rule set is refused");
                in_force.refusal = Some((version, refused.faults.clone(), Instant::now()));
                Err(refused)
            }
        }
    }

    /// What a commit of the content would change. Nothing changes, and the status shows no refusal.
    pub(crate) fn diff(&self, order: DiffOrder) -> Result<Preview, Refused> {
        // Table and candidate belong to one revision; commits need not wait for what follows.
        let (running_revision, before, rules) = {
            let in_force = self.locked();
            let running = &in_force.snapshot;
            let rules = candidate(running, order.base_revision, order.content)?;
            (running.revision, self.engine.table(), rules)
        };
        let spec = compile(&rules, &self.options)
            .map_err(|faults| Refused { faults, running_revision })?;
        let after = Table::new(running_revision + 1, spec);
        Ok(preview(&before, &after, order.limit))
    }

    /// Notes that something that was to be a rule set is none.
    pub(crate) fn refuse(&self, version: &str, faults: Vec<Fault>) -> Refused {
        let mut in_force = self.locked();
        in_force.refusal = Some((version.to_owned(), faults.clone(), Instant::now()));
        Refused { faults, running_revision: in_force.snapshot.revision }
    }

    pub(crate) fn status(&self) -> RulesStatus {
        let in_force = self.locked();
        let refusal = in_force.refusal.as_ref().map(|(version, faults, since)| Refusal {
            version: version.clone(),
            faults: faults.clone(),
            age_seconds: since.elapsed().as_secs(),
        });
        RulesStatus {
            revision: in_force.snapshot.revision,
            version: in_force.snapshot.version.clone(),
            objects: ObjectCounts::of(&in_force.snapshot.rules),
            refusal,
            not_on_disk: in_force.not_on_disk.clone(),
        }
    }

    fn carry_out(&self, in_force: &mut InForce, order: CommitOrder) -> Result<(), Refused> {
        let running = &in_force.snapshot;
        let rules = candidate(running, order.base_revision, order.content)?;
        if !order.allow_shrink {
            refuse_shrunk(running, &rules)?;
        }
        let running_revision = running.revision;
        let snapshot = Snapshot { revision: running_revision + 1, version: order.version, rules };
        self.put_in_force(in_force, snapshot).map_err(|faults| Refused { faults, running_revision })
    }

    fn put_in_force(&self, in_force: &mut InForce, snapshot: Snapshot) -> Result<(), Vec<Fault>> {
        let spec = compile(&snapshot.rules, &self.options)?;
        let published = self.engine.publish(Table::new(snapshot.revision, spec));
        if let Err(error) = published {
            // Some workers may judge by the new table already, so it counts as the running one;
            // the daemon's health check ends a process with a dead worker.
            in_force.snapshot = snapshot;
            return Err(vec![Fault {
                object: "engine".into(),
                field: "workers".into(),
                problem: error.to_string(),
            }]);
        }
        in_force.snapshot = snapshot;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What differs between the table in force and another one; at most `limit` of each kind.
fn preview(before: &Table, after: &Table, limit: usize) -> Preview {
    // Neither the comparison of two tables nor the engine's list of live connections is there
    // yet: `sluice_policy::diff` and the connections that `after` would not allow go here.
    let _ = (after, limit);
    Preview { running_revision: before.revision(), ..Preview::default() }
}

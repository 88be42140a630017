//! The rule set in force, and the only way to another one.
//!
//! ```text
//! rule set --+
//!            +--base, shrink--> compile --> publish --> every worker runs it --> on disk --> Ack
//! delta -----+       \             \
//!                     +-- refused --+--> nothing has changed
//! ```
//!
//! A whole rule set is taken as the change that leads to it, so both cost what they touch.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_api::backend::{
    CommitError, CommitOrder, Committed, DiffOrder, Failure, ObjectCounts, Preview, Refusal,
    Refused,
};
use sluice_api::snapshot::encode_change;
use sluice_core::judge::Established;
use sluice_engine::Engine;
use sluice_policy::compile::{CompileOptions, Compiler, compile};
use sluice_policy::model::Fault;

use crate::candidate::{change_of, refuse_shrunk, rules_after};
use crate::preview::Candidate;
use crate::snapshot::Snapshot;
use crate::store::Store;

/// Keeps the rule set in force.
pub(crate) struct Rules {
    engine: Arc<Engine>,
    options: CompileOptions,
    established: Established,
    in_force: Mutex<InForce>,
    /// Held while a preview is worked out: one at a time is enough for a node.
    previewing: Mutex<()>,
}

struct InForce {
    store: Store,
    /// The greatest revision that there has been, whether it is in force or not.
    revision_max: u64,
    compiler: Compiler,
    version: String,
    /// Why the rule set is not on disk; `None` where it is.
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
        established: Established,
        state_dir: &Path,
    ) -> std::io::Result<Self> {
        let in_state_dir = |error: std::io::Error| {
            let text = format!("control.state_dir {}: {error}", state_dir.display());
            std::io::Error::new(error.kind(), text)
        };
        let (store, last) = Store::open(state_dir).map_err(in_state_dir)?;
        let options = CompileOptions { local_node };
        let rules = Self {
            engine,
            established,
            previewing: Mutex::new(()),
            in_force: Mutex::new(InForce {
                store,
                revision_max: last.as_ref().map_or(0, |last| last.revision),
                compiler: Compiler::new(options.clone()),
                version: String::new(),
                not_on_disk: None,
                refusal: None,
            }),
            options,
        };
        if let Some(last) = last {
            rules.resume(last);
        }
        Ok(rules)
    }

    /// Puts what was in force before the restart in force again.
    fn resume(&self, last: Snapshot) {
        let Snapshot { revision, version, rules } = last;
        let mut in_force = self.locked();
        match Compiler::with(rules, &self.options, revision) {
            Ok(compiler) => {
                in_force.compiler = compiler;
                in_force.version.clone_from(&version);
                match self.publish(&in_force) {
                    Ok(()) => {
                        tracing::info!(revision, version, "the last good rule set is in force")
                    }
                    Err(error) => tracing::error!(revision, %error, "not every worker has it yet"),
                }
            }
            Err(faults) => tracing::error!(
                revision,
                ?faults,
                "the last good rule set is refused; pods are denied until another one comes"
            ),
        }
    }

    /// Puts a rule set in force on every worker, or changes nothing.
    pub(crate) fn commit(&self, order: CommitOrder) -> Result<Committed, CommitError> {
        let start = Instant::now();
        let mut in_force = self.locked();
        let version = order.version.clone();
        let change = match carry_out(&mut in_force, order) {
            Ok(change) => change,
            Err(refused) => {
                tracing::warn!(version, faults = refused.faults.len(), "a rule set is refused");
                in_force.refusal = Some((version, refused.faults.clone(), Instant::now()));
                return Err(refused.into());
            }
        };
        in_force.refusal = None;
        let published = self.publish(&in_force);
        let (revision, took) = (in_force.revision(), start.elapsed());
        // No reason to refuse what is in force already, but a restart would miss it.
        let InForce { store, compiler, .. } = &mut *in_force;
        let written = store.write(revision, &version, compiler.rules(), &change);
        in_force.not_on_disk = written.err().map(|error| error.to_string());
        if let Some(error) = &in_force.not_on_disk {
            tracing::error!(error, revision, "the rule set is in force but not on disk");
        }
        if let Err(error) = published {
            // The other workers judge by it, and this one will as soon as it turns again.
            tracing::error!(revision, version, error, "not every worker has said that it has it");
            return Err(CommitError::Unconfirmed(Failure::Internal(format!(
                "revision {revision} is the rule set now, but {error}; ask for the status"
            ))));
        }
        let objects = in_force.compiler.rules().len() as u64;
        tracing::info!(revision, version, objects, ?took, "a rule set is in force");
        let applied_in_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Ok(Committed { revision, version, objects, applied_in_ns })
    }

    /// What a commit of the content would change. Nothing changes, and the status shows no refusal.
    pub(crate) fn diff(&self, order: DiffOrder) -> Result<Preview, Refused> {
        let Ok(_alone) = self.previewing.try_lock() else {
            let problem = "another one is being worked out; ask again when it is done";
            return Err(Refused::request("diff", problem, self.locked().revision()));
        };
        // Table and candidate belong to one revision; commits need not wait for what follows.
        let (before, rules) = {
            let in_force = self.locked();
            let change = change_of(&in_force.compiler, order.base_revision, order.content)?;
            let rules = rules_after(in_force.compiler.rules().clone(), change);
            (Arc::clone(in_force.compiler.table()), rules)
        };
        let running_revision = before.revision();
        let after = compile(&rules, &self.options)
            .map_err(|faults| Refused { faults, running_revision })?;
        let candidate = Candidate { before: &before, after: &after, established: self.established };
        candidate
            .preview(&self.engine, order.limit)
            .map_err(|problem| Refused::request("diff", problem, running_revision))
    }

    /// Notes that something that was to be a rule set is none.
    pub(crate) fn refuse(&self, version: &str, faults: Vec<Fault>) -> Refused {
        let mut in_force = self.locked();
        in_force.refusal = Some((version.to_owned(), faults.clone(), Instant::now()));
        Refused { faults, running_revision: in_force.revision() }
    }

    pub(crate) fn status(&self) -> RulesStatus {
        let in_force = self.locked();
        let refusal = in_force.refusal.as_ref().map(|(version, faults, since)| Refusal {
            version: version.clone(),
            faults: faults.clone(),
            age_seconds: since.elapsed().as_secs(),
        });
        RulesStatus {
            revision: in_force.revision(),
            version: in_force.version.clone(),
            objects: ObjectCounts::of(in_force.compiler.rules()),
            refusal,
            not_on_disk: in_force.not_on_disk.clone(),
        }
    }

    fn publish(&self, in_force: &InForce) -> Result<(), String> {
        let table = Arc::clone(in_force.compiler.table());
        self.engine.publish(table).map_err(|error| error.to_string())
    }

    fn locked(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InForce {
    fn revision(&self) -> u64 {
        self.compiler.table().revision()
    }
}

/// Brings the compiler to what is asked for. Gives the change that led there, as bytes.
fn carry_out(in_force: &mut InForce, order: CommitOrder) -> Result<Vec<u8>, Refused> {
    let running_revision = in_force.revision();
    let change = change_of(&in_force.compiler, order.base_revision, order.content)?;
    if !order.allow_shrink {
        refuse_shrunk(&in_force.compiler, &change)?;
    }
    let bytes = encode_change(&change);
    in_force
        .compiler
        .apply(change, in_force.revision_max + 1)
        .map_err(|faults| Refused { faults, running_revision })?;
    in_force.revision_max = in_force.revision();
    in_force.version = order.version;
    Ok(bytes)
}

//! The rule set in force, and the only way to another one.
//!
//! ```text
//! rule set --base, shrink--> compile --> publish --> every worker runs it --> on disk --> Ack
//!                \               \
//!                 +--- refused ---+--> nothing has changed
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sluice_api::backend::{CommitOrder, Committed, ObjectCounts, Refusal, Refused};
use sluice_engine::Engine;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::model::Fault;

use crate::snapshot::{Snapshot, SnapshotFile};

/// Rule sets with fewer objects than this may shrink, short of vanishing: their owner sees them
/// whole.
const SHRINK_GUARD_FROM: u64 = 20;

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
        let running = in_force.snapshot.revision;
        let version = order.version.clone();
        let result = match refuse_at_once(&in_force.snapshot, &order) {
            Some(refused) => Err(refused),
            None => {
                let objects = order.rules.len() as u64;
                let snapshot =
                    Snapshot { revision: running + 1, version: order.version, rules: order.rules };
                self.put_in_force(&mut in_force, snapshot)
                    .map(|()| objects)
                    .map_err(|faults| Refused { faults, running_revision: running })
            }
        };
        match result {
            Ok(objects) => {
                in_force.refusal = None;
                let revision = in_force.snapshot.revision;
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

    fn put_in_force(&self, in_force: &mut InForce, snapshot: Snapshot) -> Result<(), Vec<Fault>> {
        let table = compile(&snapshot.rules, &self.options)?;
        let published = self.engine.publish(table.with_revision(snapshot.revision));
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

/// What can be told before anything is compiled.
fn refuse_at_once(running: &Snapshot, order: &CommitOrder) -> Option<Refused> {
    if let Some(base) = order.base_revision.filter(|base| *base != running.revision) {
        return Some(Refused::wrong_base(base, running.revision));
    }
    if order.allow_shrink {
        return None;
    }
    let (before, after) = (ObjectCounts::of(&running.rules), ObjectCounts::of(&order.rules));
    if shrinks(before.total(), after.total()) {
        return Some(Refused::shrinks(before.total(), after.total(), running.revision));
    }
    // Policies on their own too: pods that lose theirs are open, whatever else is still there.
    if shrinks(before.network_policies, after.network_policies) {
        let problem = format!(
            "the rule set would shrink from {} NetworkPolicies to {}; if that is meant, allow it",
            before.network_policies, after.network_policies
        );
        return Some(Refused::request("allowShrink", problem, running.revision));
    }
    None
}

/// Whether objects vanish altogether, or most of many do.
fn shrinks(before: u64, after: u64) -> bool {
    (before > 0 && after == 0) || (before >= SHRINK_GUARD_FROM && after < before / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_policy::model::{Namespace, RuleSet};

    fn namespaces(count: usize) -> RuleSet {
        let mut rules = RuleSet::default();
        for n in 0..count {
            rules.insert(Namespace::new(format!("n{n}"))).unwrap();
        }
        rules
    }

    fn is_refused(before: usize, after: usize, allow_shrink: bool) -> bool {
        let running = Snapshot { revision: 3, version: String::new(), rules: namespaces(before) };
        let order =
            CommitOrder { allow_shrink, rules: namespaces(after), ..CommitOrder::default() };
        refuse_at_once(&running, &order).is_some()
    }

    #[test]
    fn a_rule_set_that_vanishes_is_taken_only_if_that_is_meant() {
        for (before, after, refused) in [
            (0, 0, false),
            (1, 0, true),
            (3, 1, false),
            (19, 1, false),
            (20, 10, false),
            (20, 9, true),
            (30, 0, true),
        ] {
            assert_eq!(is_refused(before, after, false), refused, "{before} to {after}");
            assert!(!is_refused(before, after, true));
        }
    }

    #[test]
    fn policies_that_vanish_are_noticed_though_pods_are_still_there() {
        use sluice_policy::model::{LabelSelector, NetworkPolicy};
        let mut with_policy = namespaces(50);
        with_policy
            .insert(NetworkPolicy::new("n1", "p", LabelSelector::everything(), &[], None, None))
            .unwrap();
        let running = Snapshot { rules: with_policy, ..Snapshot::default() };
        let order = CommitOrder { rules: namespaces(50), ..CommitOrder::default() };
        let refused = refuse_at_once(&running, &order).unwrap();
        assert!(refused.faults[0].problem.contains("1 NetworkPolicies to 0"), "{refused}");
    }

    #[test]
    fn a_wrong_base_is_refused_and_told_the_running_revision() {
        let running = Snapshot { revision: 3, ..Snapshot::default() };
        let order = |base| CommitOrder { base_revision: base, ..CommitOrder::default() };
        assert!(refuse_at_once(&running, &order(Some(3))).is_none());
        assert!(refuse_at_once(&running, &order(None)).is_none());
        let refused = refuse_at_once(&running, &order(Some(2))).unwrap();
        assert_eq!(refused.running_revision, 3);
    }
}

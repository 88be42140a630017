//! Commits and what comes of them; failures of other calls.

use std::fmt;

use serde::ser::{Serialize, SerializeSeq as _, Serializer};
use sluice_policy::model::{Change, Fault, ObjectKey, RuleSet};

/// A rule set and the conditions under which it may come into force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitOrder {
    /// The client's name for the rule set, for people.
    pub version: String,
    /// The revision that must be in force; `None`: any. The API takes no delta without it.
    pub base_revision: Option<u64>,
    /// Whether the rule set may be emptied or shrink greatly.
    pub allow_shrink: bool,
    /// What is to be in force.
    pub content: Content,
}

/// What is to be in force. The default is an empty rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This rule set; what it leaves out is removed.
    Snapshot(RuleSet),
    /// The rule set that the change makes of the one in force.
    Delta(Change),
}

/// A rule set is in force on every worker.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Committed {
    /// The daemon's number for it.
    pub revision: u64,
    /// The client's name for it.
    pub version: String,
    /// How many objects it has.
    pub objects: u64,
    /// The time until the last worker judged by it, in nanoseconds.
    pub applied_in_ns: u64,
}

/// A request is refused as a whole; nothing has changed. Reads as one fault a line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// Every reason, at least one.
    #[serde(serialize_with = "serialize_faults")]
    pub faults: Vec<Fault>,
    /// The revision that stays in force.
    pub running_revision: u64,
}

/// Why there is no acknowledgement of a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The rule set is the daemon's now, but not every worker has said that it judges by it.
    #[error(transparent)]
    Unconfirmed(Failure),
}

/// Why a call other than a commit fails. Each reads as a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// What it speaks of does not exist.
    #[error("{0}")]
    NotFound(String),
    /// What it would make exists already.
    #[error("{0}")]
    Exists(String),
    /// It cannot be done as things are, such as with an interface that is down.
    #[error("{0}")]
    Precondition(String),
    /// The daemon is at fault.
    #[error("{0}")]
    Internal(String),
}

impl Refused {
    /// The request builds on `base`, which is not the revision in force.
    #[must_use]
    pub fn wrong_base(base: u64, running_revision: u64) -> Self {
        Self::request(
            "baseRevision",
            format!(
                "it builds on revision {base}, but {running_revision} is in force; read what \
                 changed, then commit on {running_revision}"
            ),
            running_revision,
        )
    }

    /// The rule set has so many fewer objects than the one in force that it looks like a
    /// mistake.
    #[must_use]
    pub fn shrinks(running_objects: u64, objects: u64, running_revision: u64) -> Self {
        Self::request(
            "allowShrink",
            format!(
                "the rule set would shrink from {running_objects} objects to {objects}; if that is \
                 meant, allow it"
            ),
            running_revision,
        )
    }

    /// A delta would remove objects that the rule set in force does not have.
    #[must_use]
    pub fn missing(removals: impl IntoIterator<Item = ObjectKey>, running_revision: u64) -> Self {
        let fault = |key: ObjectKey| Fault {
            object: key.to_string(),
            field: "removals".into(),
            problem: format!(
                "it is not in the rule set of revision {running_revision}; remove only what is \
                 there"
            ),
        };
        Self { faults: removals.into_iter().map(fault).collect(), running_revision }
    }

    /// The fault is in the request and not in an object.
    #[must_use]
    pub fn request(field: &str, problem: impl Into<String>, running_revision: u64) -> Self {
        let fault =
            Fault { object: "request".into(), field: field.into(), problem: problem.into() };
        Self { faults: vec![fault], running_revision }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Snapshot(RuleSet::default())
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused; revision {} stays in force", self.running_revision)?;
        for fault in &self.faults {
            write!(f, "\n  {}", crate::text::printable(&fault.to_string()))?;
        }
        Ok(())
    }
}

/// The model's faults know nothing of JSON.
pub(super) fn serialize_faults<S: Serializer>(
    faults: &[Fault],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct View<'a>(&'a Fault);
    impl Serialize for View<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeStruct as _;
            let mut fields = serializer.serialize_struct("Fault", 3)?;
            fields.serialize_field("object", &self.0.object)?;
            fields.serialize_field("field", &self.0.field)?;
            fields.serialize_field("problem", &self.0.problem)?;
            fields.end()
        }
    }
    let mut list = serializer.serialize_seq(Some(faults.len()))?;
    for fault in faults {
        list.serialize_element(&View(fault))?;
    }
    list.end()
}

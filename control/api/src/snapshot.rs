//! A rule set as bytes, for keeping the last good one on disk.
//!
//! The encoding is that of the API's `RuleSet` and is canonical: equal rule sets have equal
//! bytes. It has no length or checksum of its own; whoever stores it must store it whole.

use prost::Message as _;
use sluice_policy::model::{Fault, RuleSet};

use crate::convert::rules;
use crate::convert::{Path, Report, to_wire};
use crate::{strict, wire};

/// The bytes are no rule set. Reads as its faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", crate::convert::ports::sentence(.0))]
pub struct DecodeError(pub Vec<Fault>);

/// The rule set as bytes.
#[must_use]
pub fn encode(rules: &RuleSet) -> Vec<u8> {
    to_wire::rule_set(rules).encode_to_vec()
}

/// Reads what [`encode`] has written.
///
/// # Errors
/// [`DecodeError`], with every fault; a field that is unknown here is one.
pub fn decode(bytes: &[u8]) -> Result<RuleSet, DecodeError> {
    let mut report = Report::new("RuleSet");
    let at = Path::Top("bytes");
    let message = strict::check::<wire::RuleSet>(bytes)
        .and_then(|()| wire::RuleSet::decode(bytes).map_err(|error| error.to_string()))
        .map_err(|problem| report.fault::<()>(&at, problem));
    let rules = message.ok().map(|message| rules::rule_set(&mut report, message));
    report.finish(rules).map_err(DecodeError)
}

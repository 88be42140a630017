//! Rule sets and changes as bytes, for keeping the last good one on disk.
//!
//! The encodings are those of the API's `RuleSet` and `Delta`, and canonical: equal rule sets have
//! equal bytes. They have no length or checksum of their own; whoever stores them must store them
//! whole.

use prost::Message as _;
use sluice_policy::model::{Change, Fault, RuleSet};

use crate::convert::{Path, Report, content, rules, to_wire};
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
    read::<wire::RuleSet, _>("RuleSet", bytes, |report, it| Some(rules::rule_set(report, it)))
}

/// The change as bytes.
#[must_use]
pub fn encode_change(change: &Change) -> Vec<u8> {
    content::delta_to_wire(change).encode_to_vec()
}

/// Reads what [`encode_change`] has written.
///
/// # Errors
/// [`DecodeError`], with every fault; a field that is unknown here is one.
pub fn decode_change(bytes: &[u8]) -> Result<Change, DecodeError> {
    read::<wire::Delta, _>("Delta", bytes, content::delta)
}

fn read<M: prost::Message + Default + prost::Name, T>(
    object: &str,
    bytes: &[u8],
    convert: impl FnOnce(&mut Report, M) -> Option<T>,
) -> Result<T, DecodeError> {
    let mut report = Report::new(object);
    let at = Path::Top("bytes");
    let message = strict::check::<M>(bytes)
        .and_then(|()| M::decode(bytes).map_err(|error| error.to_string()))
        .map_err(|problem| report.fault::<()>(&at, problem));
    let converted = message.ok().and_then(|message| convert(&mut report, message));
    report.finish(converted).map_err(DecodeError)
}

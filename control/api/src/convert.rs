//! Wire to domain and back.
//!
//! Every problem of a message becomes a [`Fault`] that names object and field as Kubernetes
//! spells it; all are gathered, not only the first. Nothing is guessed: what is unspecified or
//! unset is a fault. What only makes sense or not in the company of other objects is left to
//! [`sluice_policy::validate`].

mod access_list;
pub(crate) mod answers;
pub(crate) mod capture;
mod cluster;
pub(crate) mod commit;
pub(crate) mod content;
pub(crate) mod counters;
pub(crate) mod diff;
pub(crate) mod ports;
pub(crate) mod questions;
mod report;
pub(crate) mod rules;
mod selectors;
#[cfg(test)]
mod tests;
pub(crate) mod to_wire;

pub(crate) use report::{Path, Report};

use sluice_policy::model::Fault;

use crate::wire;

/// What an answer of the daemon fails to say.
pub(crate) type Malformed = String;

pub(crate) fn faults_to_wire(faults: Vec<Fault>) -> Vec<wire::Fault> {
    let fault = |Fault { object, field, problem }| wire::Fault { object, field, problem };
    faults.into_iter().map(fault).collect()
}

pub(crate) fn faults_from_wire(faults: Vec<wire::Fault>) -> Vec<Fault> {
    let fault = |wire::Fault { object, field, problem }| Fault { object, field, problem };
    faults.into_iter().map(fault).collect()
}

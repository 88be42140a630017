//! One module for each command: ask, then print.

pub(crate) mod apply;
mod batch;
pub(crate) mod capture;
pub(crate) mod check;
pub(crate) mod counters;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod ports;
pub(crate) mod reach;
pub(crate) mod status;
pub(crate) mod top;

//! All metrics, in the order in which they are measured.

mod forward;

use crate::metric::Metric;

/// Every metric.
pub(crate) fn all() -> Vec<Metric> {
    forward::metrics()
}

//! What a commit would change.

use std::net::IpAddr;

use serde::Serialize;
use sluice_policy::diff::Diff;

use super::Content;

/// How many changes are listed where nobody says otherwise.
pub const DIFF_LIMIT_DEFAULT: usize = 1_000;

/// How many changes are listed at most: the answer should fit a message.
pub const DIFF_LIMIT_MAX: usize = 100_000;

/// What would be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffOrder {
    /// What would be in force.
    pub content: Content,
    /// The revision that must be in force; `None`: any. The API takes no delta without it.
    pub base_revision: Option<u64>,
    /// How many verdicts to list at most, and how many connections: 1 to [`DIFF_LIMIT_MAX`].
    pub limit: usize,
}

/// What a commit would change. Serialises to the JSON that `sluicectl` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The revision in force, which the content is compared with.
    pub running_revision: u64,
    /// The verdicts that differ, and the pods that come and go.
    #[serde(flatten)]
    pub diff: Diff,
    /// The first of the live connections that would die.
    pub connections: Vec<DyingConnection>,
    /// How many there are, those that are not listed among them.
    pub connections_total: u64,
    /// How many connections are live, those that would die among them.
    pub connections_live: u64,
}

/// A live connection that would be allowed no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DyingConnection {
    /// Who has opened it: `namespace/pod`, `node name`, or the address.
    pub from: String,
    /// Who was asked, in the same form.
    pub to: String,
    /// The address that it was opened from.
    pub source: IpAddr,
    /// The address that it was opened to.
    pub destination: IpAddr,
    /// Such as `TCP`.
    pub protocol: String,
    /// `None` where the protocol has no ports.
    pub source_port: Option<u16>,
    /// `None` where the protocol has no ports.
    pub destination_port: Option<u16>,
    /// Why it would die, in one sentence.
    pub reason: String,
}

impl Default for DiffOrder {
    fn default() -> Self {
        Self { content: Content::default(), base_revision: None, limit: DIFF_LIMIT_DEFAULT }
    }
}

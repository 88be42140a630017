//! Who answers questions: manifests, or the daemon's table in force.

use sluice_core::table::Table;
use sluice_policy::explain::{Explanation, Question, explain};
use sluice_policy::model::Protocol;
use sluice_policy::reach::{Family, Reach, reach};

use crate::args::{Connection, Offline};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::offline;
use crate::progress::Progress;

/// What answers questions.
pub(crate) enum Judge {
    /// The table that manifests compile to.
    Manifests(Box<Table>),
    /// The table that is in force.
    Daemon(Box<Daemon>),
}

impl Judge {
    pub(crate) fn open(offline: &Offline, connection: &Connection) -> Result<Self, Failure> {
        if offline.files.is_empty() {
            return Daemon::connect(connection).map(|daemon| Self::Daemon(Box::new(daemon)));
        }
        offline::open(&offline.files, offline.node.as_deref())
            .map(|table| Self::Manifests(Box::new(table)))
    }

    /// The inner result says why the question has no answer; the outer one, why none can be asked.
    pub(crate) fn explain(
        &mut self,
        question: &Question,
    ) -> Result<Result<Explanation, String>, Failure> {
        match self {
            Self::Manifests(table) => {
                Ok(explain(table, question).map_err(|error| error.to_string()))
            }
            Self::Daemon(daemon) => daemon.explain(question),
        }
    }

    pub(crate) fn reach(
        &mut self,
        ports: &[(Protocol, u16)],
        family: Option<Family>,
    ) -> Result<Reach, Failure> {
        match self {
            Self::Manifests(table) => {
                let progress = Progress::of("judging");
                let found = reach(table, ports, family, |done, all| progress.at(done, all));
                progress.done();
                Ok(found)
            }
            Self::Daemon(daemon) => {
                let progress = Progress::waiting("the daemon judges");
                let found = daemon.reach(ports, family);
                progress.done();
                found
            }
        }
    }
}

//! What a candidate would change: verdicts, and connections that are open now.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sluice_api::backend::{DyingConnection, Preview};
use sluice_core::address::NetworkId;
use sluice_core::flow::FiveTuple;
use sluice_core::judge::Established;
use sluice_core::policy::Attempt;
use sluice_core::ports::{SCTP, TCP, UDP};
use sluice_core::table::{Party, Table};
use sluice_engine::Engine;
use sluice_policy::diff::diff;
use sluice_policy::explain::{holder, protocol_name, why_dropped};

/// How long a preview may take: it runs beside the workers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A table in force and one that might follow it.
pub(crate) struct Candidate<'a> {
    pub(crate) before: &'a Table,
    pub(crate) after: &'a Table,
    /// What becomes of established connections.
    pub(crate) established: Established,
}

impl Candidate<'_> {
    /// What differs; at most `limit` of each kind are listed.
    ///
    /// # Errors
    /// If it takes too long, or a worker does not list its connections.
    pub(crate) fn preview(&self, engine: &Engine, limit: usize) -> Result<Preview, String> {
        let start = Instant::now();
        let diff = diff(self.before, self.after, limit, |_, _| start.elapsed() < PATIENCE);
        let diff = diff.map_err(|_| {
            format!(
                "it takes longer than {} s, which the node has other use for; compare manifests \
                 elsewhere, with sluicectl diff --against",
                PATIENCE.as_secs()
            )
        })?;
        let mut preview =
            Preview { running_revision: self.before.revision(), diff, ..Preview::default() };
        let mut dying = BTreeSet::new();
        let listed = engine.for_each_connection(|connection| {
            preview.connections_live += 1;
            if let Some(it) = self.dying(&connection.opening()) {
                preview.connections_total += 1;
                dying.insert(it);
                if dying.len() > limit {
                    dying.pop_last();
                }
            }
        });
        listed.map_err(|error| error.to_string())?;
        preview.connections = dying.into_iter().collect();
        Ok(preview)
    }

    /// The connection that this packet opened, if it would die.
    fn dying(&self, opening: &FiveTuple) -> Option<DyingConnection> {
        let FiveTuple { network, protocol, source, destination, .. } = *opening;
        let has_ports = matches!(protocol, TCP | UDP | SCTP);
        let port = has_ports.then_some(opening.destination_port);
        let source_port = has_ports.then_some(opening.source_port);
        let attempt = Attempt { network, source, destination, protocol, source_port, port };
        let gone = [source, destination].into_iter().find_map(|end| self.gone(network, end));
        let reason = gone.or_else(|| match self.established {
            Established::Recheck => why_dropped(self.after, &attempt),
            Established::Keep => None,
        })?;
        Some(DyingConnection {
            from: holder(self.before, source),
            to: holder(self.before, destination),
            source,
            destination,
            protocol: protocol_name(protocol),
            source_port: has_ports.then_some(opening.source_port),
            destination_port: port,
            reason,
        })
    }

    /// Says so if a pod would no longer have its address: its port would then pass nothing.
    fn gone(&self, network: NetworkId, address: IpAddr) -> Option<String> {
        let pod = |table: &Table| match table.party(network, address) {
            Party::Pod(id) => table.endpoint(id).map(|endpoint| endpoint.name.to_string()),
            Party::Node(_) | Party::External => None,
        };
        let before = pod(self.before)?;
        (pod(self.after).as_ref() != Some(&before))
            .then(|| format!("{before} would no longer have the address {address}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_core::ports::ICMP;
    use sluice_policy::compile::{CompileOptions, compile};
    use sluice_policy::model::{LabelSelector, NetworkPolicy, Pod, PolicyType, RuleSet};

    const WEB: [u8; 4] = [10, 0, 0, 1];
    const DB: [u8; 4] = [10, 0, 0, 2];

    fn rules(pods: &[(&str, [u8; 4])]) -> RuleSet {
        let mut rules = RuleSet::default();
        for (name, address) in pods {
            let pod = Pod::new("shop", *name).with_label("app", *name);
            rules.insert(pod.with_address((*address).into())).unwrap();
        }
        rules
    }

    fn table(rules: &RuleSet) -> Table {
        compile(rules, &CompileOptions::default()).unwrap()
    }

    fn denied() -> Table {
        let mut rules = rules(&[("web", WEB), ("db", DB)]);
        let db = LabelSelector::label("app", "db");
        let types = [PolicyType::Ingress];
        rules.insert(NetworkPolicy::new("shop", "deny", db, &types, None, None)).unwrap();
        table(&rules)
    }

    fn opening(protocol: u8) -> FiveTuple {
        FiveTuple {
            network: NetworkId::DEFAULT,
            protocol,
            source: WEB.into(),
            source_port: 40_000,
            destination: DB.into(),
            destination_port: 5432,
        }
    }

    #[test]
    fn a_connection_dies_by_policy_unless_it_is_kept() {
        let before = table(&rules(&[("web", WEB), ("db", DB)]));
        let after = denied();
        let mut candidate =
            Candidate { before: &before, after: &after, established: Established::Recheck };
        let dying = candidate.dying(&opening(TCP)).unwrap();
        assert_eq!(dying.reason, "no rule of shop/deny admits TCP 5432 from shop/web");
        assert_eq!((dying.from, dying.to), ("shop/web".to_owned(), "shop/db".to_owned()));
        assert_eq!((dying.source_port, dying.destination_port), (Some(40_000), Some(5432)));
        let echo = candidate.dying(&opening(ICMP)).unwrap();
        assert_eq!((echo.protocol.as_str(), echo.destination_port), ("ICMP", None));
        assert_eq!(echo.reason, "no rule of shop/deny admits ICMP from shop/web");
        candidate.established = Established::Keep;
        assert_eq!(candidate.dying(&opening(TCP)), None);
        candidate.after = &before;
        candidate.established = Established::Recheck;
        assert_eq!(candidate.dying(&opening(TCP)), None);
    }

    #[test]
    fn a_connection_dies_with_its_pod_even_if_it_would_be_kept() {
        let before = table(&rules(&[("web", WEB), ("db", DB)]));
        for pods in [&[("web", WEB)][..], &[("web", WEB), ("other", DB)]] {
            let after = table(&rules(pods));
            let candidate =
                Candidate { before: &before, after: &after, established: Established::Keep };
            let reason = candidate.dying(&opening(UDP)).unwrap().reason;
            assert_eq!(reason, "shop/db would no longer have the address 10.0.0.2");
        }
    }
}

//! What the story expects, and what the sockets see.
//!
//! The expectation is written down here by hand, from the story's words and not from the
//! policies, so that a mistake in either shows as a difference.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sluice_demo::push::{PushError, preview, push};
use sluice_demo::stage::{ALLOWED_OUTSIDE, GATEWAYS, NODE, OTHER_OUTSIDE, Stage, StageError};
use sluice_demo::transfer::Transfer;
use sluice_lab::probe::{self, Probe};
use sluice_lab::serve::{self, Server};
use sluice_lab::{LabError, Namespace, wait_until};
use sluice_policy::model::RuleSet;

/// How long a connection may take before it counts as dropped.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a transfer must stand still to count as stopped.
const STANDSTILL: Duration = Duration::from_secs(1);

/// Why the demo cannot tell its story.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("the rule set is not in force: {0}")]
    Push(#[from] PushError),
    #[error("{0}")]
    Manifests(String),
    #[error("{0} is no address")]
    Address(String),
    #[error("this program cannot be found: {0}; name --binaries")]
    Program(std::io::Error),
    #[error("a probe's thread ended early")]
    Probe,
    #[error("the transfer {0} did not begin")]
    NoTransfer(&'static str),
    #[error("interrupted; everything is removed")]
    Interrupted,
}

/// A service that every destination offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Https,
    Database,
    Dns,
}

const SERVICES: [Service; 3] = [Service::Https, Service::Database, Service::Dns];

/// Somebody who connects or is connected to.
struct Actor {
    name: String,
    namespace: Namespace,
    /// IPv4, IPv6.
    addresses: [IpAddr; 2],
    connects: bool,
    serves: bool,
}

/// The story on its stage.
pub(crate) struct Story<'a> {
    stage: &'a Stage,
    rules: RuleSet,
    tightened: RuleSet,
    actors: Vec<Actor>,
    servers: Vec<Server>,
    interrupted: Arc<AtomicBool>,
}

impl Service {
    fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Database => 3306,
            Self::Dns => 53,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Https => "TCP 443",
            Self::Database => "TCP 3306",
            Self::Dns => "UDP 53",
        }
    }

    fn probe(self, address: IpAddr) -> Probe {
        let address = SocketAddr::new(address, self.port());
        match self {
            Self::Https | Self::Database => {
                probe::tcp_echo(address, b"who goes there?", PROBE_TIMEOUT)
            }
            Self::Dns => probe::udp_echo(address, PROBE_TIMEOUT),
        }
    }
}

/// Whether the story lets `from` reach `service` of `to`.
fn expected(from: &str, to: &str, service: Service) -> bool {
    let project = |name: &str| name.split_once('/').map(|(project, _)| project.to_owned());
    let (from_project, to_project) = (project(from), project(to));
    match (from_project.as_deref(), to_project.as_deref()) {
        // A pod and its own node always reach each other.
        _ if from == "node" || to == "node" => true,
        // Pods reach the one external subnet and nothing else outside.
        (Some(_), None) => to == "outside-allowed",
        // The REST server answers any Secret project on TCP 443.
        (Some("vault" | "analysis"), Some("vault")) if to == "vault/rest" => {
            service == Service::Https
        }
        // The database answers the REST server on TCP 3306.
        (Some("vault"), Some("vault")) if from == "vault/rest" && to == "vault/db" => {
            service == Service::Database
        }
        // Everything else into or out of the Secret project is denied.
        (_, Some("vault")) | (Some("vault"), _) => false,
        // The other projects have denied nothing to each other or to the outside.
        _ => true,
    }
}

impl<'a> Story<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        rules: RuleSet,
        tightened: RuleSet,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, DemoError> {
        let mut actors = Vec::new();
        for (name, seat) in &stage.seats {
            actors.push(Actor {
                name: name.clone(),
                namespace: seat.namespace.clone(),
                addresses: seat.addresses,
                connects: true,
                serves: true,
            });
        }
        let mut add =
            |name: &str, namespace: &Namespace, addresses: [&str; 2], connects, serves| {
                let address =
                    |text: &str| text.parse().map_err(|_| DemoError::Address(text.to_owned()));
                let [v4, v6] = addresses;
                actors.push(Actor {
                    name: name.into(),
                    namespace: namespace.clone(),
                    addresses: [address(v4)?, address(v6)?],
                    connects,
                    serves,
                });
                Ok::<(), DemoError>(())
            };
        add("node", &stage.node, NODE, true, true)?;
        add("outside", &stage.outside, GATEWAYS, true, false)?;
        add("outside-allowed", &stage.outside, ALLOWED_OUTSIDE, false, true)?;
        add("outside-other", &stage.outside, OTHER_OUTSIDE, false, true)?;
        Ok(Self { stage, rules, tightened, actors, servers: Vec::new(), interrupted })
    }

    /// Tells the story. Returns how many connections did otherwise.
    pub(crate) fn play(mut self) -> Result<usize, DemoError> {
        let committed = push(&self.stage.socket(), &self.rules, "the story")?;
        println!(
            "Revision {}: {} objects in force on every worker after {:.1} ms.\n",
            committed.revision,
            committed.objects,
            committed.applied_in_ns as f64 / 1e6
        );
        self.serve()?;
        let mut differences = 0;
        for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
            differences += self.try_everybody(family, name)?;
        }
        differences += self.tighten()?;
        if differences == 0 {
            println!("\nEvery connection did what the story says.");
        }
        Ok(differences)
    }

    fn serve(&mut self) -> Result<(), DemoError> {
        for actor in self.actors.iter().filter(|actor| actor.serves) {
            for address in actor.addresses {
                for service in SERVICES {
                    let address = SocketAddr::new(address, service.port());
                    self.servers.push(match service {
                        Service::Dns => serve::udp_echo(&actor.namespace, address)?,
                        _ => serve::tcp_echo(&actor.namespace, address)?,
                    });
                }
            }
        }
        Ok(())
    }

    /// Tries every pair with every service at once, and prints what was expected and seen.
    fn try_everybody(&self, family: usize, name: &str) -> Result<usize, DemoError> {
        self.check_interrupted()?;
        let sources: Vec<&Actor> = self.actors.iter().filter(|actor| actor.connects).collect();
        let targets: Vec<&Actor> = self.actors.iter().filter(|actor| actor.serves).collect();
        let mut probes = Vec::new();
        for source in &sources {
            for target in &targets {
                // A pod's traffic to itself never leaves it, nor does the outside's.
                if source.name == target.name || source.name.starts_with(outside_of(target)) {
                    continue;
                }
                let Some(address) = target.addresses.get(family).copied() else { continue };
                for service in SERVICES {
                    let probe = source.namespace.spawn(move || service.probe(address))?;
                    probes.push((source, target, service, probe));
                }
            }
        }
        let mut seen = Vec::new();
        for (source, target, service, probe) in probes {
            let probe = probe.join().map_err(|_| DemoError::Probe)?;
            seen.push((source.name.as_str(), target.name.as_str(), service, probe));
        }
        self.check_interrupted()?;
        let sources: Vec<&str> = sources.iter().map(|actor| actor.name.as_str()).collect();
        let targets: Vec<&str> = targets.iter().map(|actor| actor.name.as_str()).collect();
        let print = |service| print_matrix(name, service, &sources, &targets, &seen);
        Ok(SERVICES.into_iter().map(print).sum())
    }

    /// Tightens the REST server's policy under running transfers: one must stop, the others not.
    fn tighten(&self) -> Result<usize, DemoError> {
        let plan = [
            ("analysis/desk", "vault/rest", Service::Https, false),
            ("vault/backup", "vault/rest", Service::Https, true),
            ("vault/rest", "vault/db", Service::Database, true),
            ("shop/web", "outside-allowed", Service::Https, true),
        ];
        println!("Four transfers run. Now the REST server's policy admits its own project only.\n");
        let mut transfers = Vec::new();
        for (from, to, service, goes_on) in plan {
            let address = SocketAddr::new(self.address_of(to)?, service.port());
            let transfer = Transfer::start(&self.stage.seat_of(from)?.namespace, address)?;
            if !wait_until(Duration::from_secs(5), || transfer.echoed() > 0) {
                return Err(DemoError::NoTransfer(from));
            }
            transfers.push((from, to, service, goes_on, address, transfer));
        }
        let mut rules = self.rules.clone();
        for object in self.tightened.clone().into_objects() {
            rules.replace(object);
        }
        let preview = preview(&self.stage.socket(), &rules)?;
        println!("Verdicts that change, by the preview: {}.", preview.diff.verdicts_total);
        let committed = push(&self.stage.socket(), &rules, "the story, tightened")?;
        println!("Revision {} is in force.", committed.revision);
        // What was under way when the table changed may still arrive.
        std::thread::sleep(Duration::from_millis(100));
        let before: Vec<u64> = transfers.iter().map(|(.., it)| it.echoed()).collect();
        std::thread::sleep(STANDSTILL);
        self.check_interrupted()?;
        let mut differences = 0;
        for ((from, to, service, goes_on, address, transfer), before) in
            transfers.iter().zip(before)
        {
            let moved = transfer.echoed() - before;
            let word = |goes_on: bool| if goes_on { "goes on" } else { "stops" };
            let foretold = !preview.connections.iter().any(|it| {
                it.from == *from
                    && it.destination == address.ip()
                    && it.destination_port == Some(address.port())
            });
            let same = (moved > 0) == *goes_on && foretold == *goes_on;
            differences += usize::from(!same);
            println!(
                "  {:<15} -> {:<16}{:<9} expected: {:<8} preview: {:<8} observed: {:<8} {:>7.1} MB/s{}",
                from,
                to,
                service.name(),
                word(*goes_on),
                word(foretold),
                word(moved > 0),
                moved as f64 / 1e6 / STANDSTILL.as_secs_f64(),
                if same { "" } else { "   DIFFERS" }
            );
        }
        Ok(differences)
    }

    fn address_of(&self, name: &str) -> Result<IpAddr, DemoError> {
        let actor = self.actors.iter().find(|actor| actor.name == name);
        let [v4, _] = actor.ok_or_else(|| DemoError::Address(name.into()))?.addresses;
        Ok(v4)
    }

    fn check_interrupted(&self) -> Result<(), DemoError> {
        if self.interrupted.load(Relaxed) { Err(DemoError::Interrupted) } else { Ok(()) }
    }
}

/// The beginning that sources living where `target` lives have in their names.
fn outside_of(target: &Actor) -> &'static str {
    if target.name.starts_with("outside") { "outside" } else { "nobody" }
}

/// What one probe saw: from, to, service, outcome.
type Sight<'a> = (&'a str, &'a str, Service, Probe);

/// Prints rows of sources and columns of targets; returns how many cells differ.
fn print_matrix(
    family: &str,
    service: Service,
    sources: &[&str],
    targets: &[&str],
    seen: &[Sight<'_>],
) -> usize {
    println!(
        "{family}, {}: expected, then observed ('.' answers, 'X' is dropped)\n",
        service.name()
    );
    print!("{:<15}", "from \\ to");
    for target in targets {
        // The project is in the rows; a column has room for the pod's own name.
        print!("{:>9}", target.rsplit(['/', '-']).next().unwrap_or_default());
    }
    println!();
    let mut differences = 0;
    for source in sources {
        print!("{source:<15}");
        for target in targets {
            let found = seen
                .iter()
                .find(|(from, to, what, _)| from == source && to == target && *what == service);
            let Some((.., probe)) = found else {
                print!("{:>9}", "");
                continue;
            };
            let expected = expected(source, target, service);
            // Refused is no drop: whoever is denied must hear nothing.
            let (same, observed) = match probe {
                Probe::Open => (expected, ".".to_owned()),
                Probe::TimedOut => (!expected, "X".to_owned()),
                other => (false, format!("{other:?}")),
            };
            differences += usize::from(!same);
            let mark = if same { "" } else { " !" };
            print!("{:>9}", format!("{} {observed}{mark}", if expected { '.' } else { 'X' }));
        }
        println!();
    }
    println!();
    differences
}

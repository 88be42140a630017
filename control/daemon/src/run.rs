//! From configuration to a running daemon, and its orderly end.
//!
//! The order matters: the rule set is in force before the first port opens, and the ports are
//! open before the API says that it serves.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use sluice_api::backend::{CommitOrder, Content, Source};
use sluice_api::server::{Api, Health, Listen, ServeError, TlsFiles, bind};
use sluice_engine::Engine;
use sluice_engine::EngineError;
use sluice_engine::open::{OpenError, Ports};
use sluice_policy::model::Fault;
use sluice_sources::files::{LoadOptions, load};
use sluice_sources::watch::Fingerprint;
use sluice_xdp::{BpffsError, GateError, LinkWatch, PrivilegeError, Umem, UmemConfig, UmemError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::backend::Daemon;
use crate::config::{self, Config};
use crate::rules::Rules;

/// How the start waits for a directory that is being written.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);
const SETTLE_LOOKS_MAX: u32 = 20;

/// How often the daemon looks after itself.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// How often at most it does so because something has changed.
const CHANGE_INTERVAL: Duration = Duration::from_millis(50);

/// Why the daemon does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error("gate.pin_dir: {0}")]
    Bpffs(#[from] BpffsError),
    #[error("engine.frames: {0}")]
    Umem(#[from] UmemError),
    #[error("engine: {0}")]
    Engine(#[from] EngineError),
    #[error("port {name}: {error}")]
    Port { name: String, error: OpenError },
    #[error("{path}: another sluiced runs with this {key}; stop it, or name another")]
    Locked { path: PathBuf, key: &'static str },
    #[error("gate.pin_dir: {0}")]
    Detach(GateError),
    #[error("{0}")]
    State(std::io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the runtime of the control API did not start: {0}")]
    Runtime(std::io::Error),
    #[error("a worker has died; the gates stay closed until sluiced runs again")]
    WorkerDied,
}

/// Runs until a signal ends it.
pub(crate) fn run(config: &Config) -> Result<(), RunError> {
    sluice_xdp::check_privileges()?;
    let _state_lock = lock_state(config)?;
    if sluice_xdp::ensure_bpffs(&config.gate.pin_dir)? {
        tracing::info!(path = %config.gate.pin_dir.display(), "a BPF file system is mounted");
    }
    let _gates_lock = lock_gates(config)?;
    let umem_config =
        UmemConfig { frame_count: config.engine.frames, huge_pages: config.engine.huge_pages };
    let (umem, pool) = Umem::new(&umem_config)?;
    tell_of_pages(config, &umem);
    let engine_config = config.engine_config();
    let engine = Arc::new(Engine::start(&engine_config, umem, pool)?);
    let rules = Rules::load(
        Arc::clone(&engine),
        config.node_name.clone(),
        engine_config.established,
        &config.control.state_dir,
    );
    let rules = Arc::new(rules.map_err(RunError::State)?);
    let mut watch = Watch::new(config, Arc::clone(&rules));
    if let Some(watch) = &mut watch {
        watch.look_until_settled();
    }
    let ports = Arc::new(
        Ports::new(engine, config.gate.pin_dir.clone()).with_busy_poll(config.busy_poll()),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let daemon = Daemon {
        ports: Arc::clone(&ports),
        rules,
        source: watch.as_ref().map_or(Source::Api, |watch| Source::Files(watch.directory.clone())),
        cores: config.engine.cores.clone(),
        started: Instant::now(),
        started_wall: SystemTime::now(),
    };
    let result = runtime.block_on(serve(config, Arc::new(daemon), watch));
    // The gates stay pinned; without sockets their frames take the fallback.
    tracing::info!("sluiced ends; the gates stay");
    result
}

async fn serve(config: &Config, daemon: Arc<Daemon>, watch: Option<Watch>) -> Result<(), RunError> {
    let api = Api::new(Arc::clone(&daemon) as _).await;
    // Listening comes before the ports: a second daemon must not touch the first one's.
    let local = bind(&Listen::Unix(config.control.socket.clone())).await?;
    let remote = match &config.control.tls {
        Some(tls) => Some(bind(&Listen::Tls(tls_files(tls))).await?),
        None => None,
    };
    let ports = Arc::clone(&daemon.ports);
    if let Err(error) = open_ports(config, &ports) {
        ports.abandon();
        return Err(error);
    }
    let health = api.health();
    health.serving(true).await;
    tracing::info!(socket = %config.control.socket.display(), "sluiced is up");

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let until_stopped = || {
        let mut stopped = stopped.clone();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let local = api.serve(local, until_stopped());
    let remote = async {
        match remote {
            Some(remote) => api.serve(remote, until_stopped()).await,
            None => Ok(()),
        }
    };
    let work = async {
        let result = tokio::select! {
            result = tend(&daemon, &health) => result,
            () = look_again(watch) => Ok(()),
            () = ended_by_signal() => Ok(()),
        };
        health.serving(false).await;
        let _ = stop.send(true);
        result
    };
    let (local, remote, result) = tokio::join!(local, remote, work);
    result?;
    local?;
    Ok(remote?)
}

/// Says which pages packet memory has got.
fn tell_of_pages(config: &Config, umem: &Umem) {
    let frames = umem.frame_count();
    match (umem.huge_pages(), config.engine.huge_pages) {
        (true, _) => tracing::info!(frames, "packet memory is made of huge pages"),
        (false, false) => tracing::info!(frames, "packet memory is made of small pages"),
        (false, true) => tracing::info!(
            frames,
            "packet memory is made of small pages: too few huge ones are free; \
             `sluicectl doctor` says how many it takes"
        ),
    }
}

/// Takes away the gates below the configured directory. Returns how many there were.
pub(crate) fn detach(config: &Config) -> Result<usize, RunError> {
    let pin_dir = &config.gate.pin_dir;
    if !pin_dir.exists() {
        return Ok(0);
    }
    let _gates_lock = lock_gates(config)?;
    sluice_xdp::detach_all(pin_dir).map_err(RunError::Detach)
}

/// Keeps other daemons away from this one's state.
fn lock_state(config: &Config) -> Result<Flock<File>, RunError> {
    std::fs::create_dir_all(&config.control.state_dir).map_err(RunError::State)?;
    let path = config.control.state_dir.join("lock");
    let file = File::create(&path).map_err(RunError::State)?;
    lock(file, path, "control.state_dir")
}

/// Keeps others away from the gates of a daemon that runs.
fn lock_gates(config: &Config) -> Result<Flock<File>, RunError> {
    let path = config.gate.pin_dir.clone();
    let directory = File::open(&path).map_err(RunError::State)?;
    lock(directory, path, "gate.pin_dir")
}

fn lock(file: File, path: PathBuf, key: &'static str) -> Result<Flock<File>, RunError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| RunError::Locked { path, key })
}

fn open_ports(config: &Config, ports: &Ports) -> Result<(), RunError> {
    // Checked when the file was read.
    for request in config.port_requests().unwrap_or_default() {
        ports
            .open(&request)
            .map_err(|error| RunError::Port { name: request.interface.clone(), error })?;
        tracing::info!(port = request.interface, kind = request.kind.name(), "a port is open");
    }
    Ok(())
}

/// Looks after workers, interfaces and addresses; returns when a worker has died.
async fn tend(daemon: &Daemon, health: &Health) -> Result<(), RunError> {
    let changed = watch_links();
    let mut interval = tokio::time::interval(TEND_INTERVAL);
    loop {
        let something_changed = tokio::select! {
            _ = interval.tick() => false,
            () = changed.notified() => true,
        };
        if !daemon.ports.engine().is_alive() {
            health.serving(false).await;
            return Err(RunError::WorkerDied);
        }
        let ports = Arc::clone(&daemon.ports);
        let _ = tokio::task::spawn_blocking(move || ports.tend()).await;
        if something_changed {
            // Changes come in flocks.
            tokio::time::sleep(CHANGE_INTERVAL).await;
        }
    }
}

/// Notifies of changed interfaces and addresses. Without it they are noticed all the same, a second
/// later.
fn watch_links() -> Arc<Notify> {
    let changed = Arc::new(Notify::new());
    let notify = Arc::clone(&changed);
    let watching = LinkWatch::open().and_then(|watch| {
        std::thread::Builder::new().name("sluice-links".into()).spawn(move || {
            loop {
                match watch.wait() {
                    Ok(()) => notify.notify_one(),
                    Err(error) => return untold(&error),
                }
            }
        })
    });
    if let Err(error) = watching {
        untold(&error);
    }
    changed
}

fn untold(error: &std::io::Error) {
    tracing::warn!(
        %error,
        "the kernel does not tell of changed interfaces; they are noticed up to a second late"
    );
}

async fn look_again(watch: Option<Watch>) {
    let Some(mut watch) = watch else { return std::future::pending().await };
    let mut interval = tokio::time::interval(watch.interval);
    loop {
        interval.tick().await;
        let looked = tokio::task::spawn_blocking(move || {
            watch.look();
            watch
        });
        match looked.await {
            Ok(back) => watch = back,
            Err(error) => {
                tracing::error!(%error, "the directory of manifests is not watched any more");
                return std::future::pending().await;
            }
        }
    }
}

async fn ended_by_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn tls_files(tls: &config::Tls) -> TlsFiles {
    TlsFiles {
        address: tls.address,
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        client_ca: tls.client_ca.clone(),
    }
}

/// A directory of manifests that is looked at again and again.
struct Watch {
    directory: PathBuf,
    interval: Duration,
    allow_shrink: bool,
    rules: Arc<Rules>,
    settling: Settling<Fingerprint>,
}

/// Tells when something that changes has come to rest: a file that is being written, or one of
/// several, must not be taken for the whole.
#[derive(Debug)]
struct Settling<T> {
    /// What was there when it last was at rest and taken.
    taken: Option<T>,
    /// What was there at the last look, if that was something new.
    pending: Option<T>,
}

impl<T: PartialEq> Settling<T> {
    /// Whether `now` is new and was there at the last look already.
    fn is_due(&mut self, now: T) -> bool {
        if self.taken.as_ref() == Some(&now) {
            self.pending = None;
            return false;
        }
        let at_rest = self.pending.as_ref() == Some(&now);
        self.pending = Some(now);
        at_rest
    }

    /// Notes that what was there at the last look is taken.
    fn take(&mut self) {
        self.taken = self.pending.take();
    }
}

impl Watch {
    fn new(config: &Config, rules: Arc<Rules>) -> Option<Self> {
        (config.rules.source == config::Source::Files).then(|| Self {
            directory: config.rules.directory.clone(),
            interval: Duration::from_millis(config.rules.interval_ms.into()),
            allow_shrink: config.rules.allow_shrink,
            rules,
            settling: Settling { taken: None, pending: None },
        })
    }

    /// Looks until the directory is at rest, for the start: at most a second.
    fn look_until_settled(&mut self) {
        for _ in 0..SETTLE_LOOKS_MAX {
            self.look();
            if self.settling.taken.is_some() {
                return;
            }
            std::thread::sleep(SETTLE_INTERVAL);
        }
    }

    /// Reads the directory if it has changed and is at rest. A rule set that is refused is told
    /// once, and the running one stays.
    fn look(&mut self) {
        let paths = [self.directory.clone()];
        if !self.settling.is_due(Fingerprint::of(&paths)) {
            return;
        }
        let loaded = load(&paths, &LoadOptions::default());
        if self.settling.pending.as_ref() != Some(&Fingerprint::of(&paths)) {
            // It changed while it was read.
            return;
        }
        self.settling.take();
        let version = self.directory.display().to_string();
        match loaded {
            Ok((rules, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{}", warning.0);
                }
                let order = CommitOrder {
                    version,
                    base_revision: None,
                    allow_shrink: self.allow_shrink,
                    content: Content::Snapshot(rules),
                };
                if let Err(refused) = self.rules.commit(order) {
                    tracing::error!("{refused}");
                }
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                let faults = faults.into_iter().map(|it| Fault {
                    object: it.object,
                    field: it.field,
                    problem: it.problem,
                });
                self.rules.refuse(&version, faults.collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_same_twice_is_taken() {
        let mut settling = Settling { taken: None, pending: None };
        assert!(!settling.is_due("half"));
        assert!(!settling.is_due("whole"), "it is still being written");
        assert!(settling.is_due("whole"));
        settling.take();
        assert!(!settling.is_due("whole"), "it is taken");
        assert!(!settling.is_due("next") && settling.is_due("next"));
        // It was not taken, since it changed again while it was read.
        assert!(!settling.is_due("last") && settling.is_due("last"));
        settling.take();
        assert!(!settling.is_due("half") && !settling.is_due("last"), "and back");
    }
}

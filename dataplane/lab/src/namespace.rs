//! One network namespace: configure it, and run code or programs inside.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Output};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};

use crate::error::LabError;
use crate::lab::ip;

/// A handle to a namespace of a [`crate::Lab`]; the lab removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        Self { name }
    }

    /// A handle to a namespace that somebody else made with `ip netns add`.
    #[must_use]
    pub fn existing(name: &str) -> Self {
        Self::new(name.to_owned())
    }

    /// Its full name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a fresh thread inside the namespace, and waits for it.
    ///
    /// A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// [`LabError::Enter`] if the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let file = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(&file)?;
                Ok(work())
            });
            match thread.join() {
                Ok(outcome) => outcome.map_err(|source| self.cannot_enter(source)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts `work` on a thread inside the namespace and returns at once.
    ///
    /// # Errors
    /// [`LabError::Enter`] if the namespace cannot be entered.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, LabError> {
        let file = self.open()?;
        let (entered, outcome) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let result = enter(&file);
            let failed = result.is_err();
            // The receiver waits below, so the message always arrives.
            let _ = entered.send(result);
            (!failed).then(work)
        });
        match outcome.recv() {
            Ok(Ok(())) => Ok(std::thread::spawn(move || match thread.join() {
                Ok(Some(value)) => value,
                Ok(None) => std::panic::resume_unwind(Box::new("the namespace was not entered")),
                Err(panic) => std::panic::resume_unwind(panic),
            })),
            Ok(Err(source)) => Err(self.cannot_enter(source)),
            Err(_) => Err(self.cannot_enter(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Runs a program inside the namespace to its end.
    ///
    /// # Errors
    /// [`LabError`] if it does not start; its own failure is in the output's status.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<Output, LabError> {
        self.run(|| Command::new(program).args(arguments).output())?
            .map_err(|source| self.no_program(program, source))
    }

    /// Starts a long-running program inside the namespace. The caller ends it.
    ///
    /// # Errors
    /// [`LabError`] if it does not start.
    pub fn child(&self, mut command: Command) -> Result<Child, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(move || command.spawn())?.map_err(|source| self.no_program(&program, source))
    }

    /// Runs `ip` on this namespace, for what has no method here.
    ///
    /// # Errors
    /// [`LabError::Command`] with what `ip` said.
    pub fn ip(&self, arguments: &[&str]) -> Result<(), LabError> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments);
        ip(&all)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// As for [`Namespace::ip`].
    pub fn up(&self, interface: &str) -> Result<(), LabError> {
        self.ip(&["link", "set", "dev", interface, "up"])
    }

    /// Sets an interface down.
    ///
    /// # Errors
    /// As for [`Namespace::ip`].
    pub fn down(&self, interface: &str) -> Result<(), LabError> {
        self.ip(&["link", "set", "dev", interface, "down"])
    }

    /// Adds an address with its prefix length, `10.0.0.1/24` or `fd00::1/64`; usable at once.
    ///
    /// # Errors
    /// As for [`Namespace::ip`].
    pub fn address(&self, interface: &str, address: &str) -> Result<(), LabError> {
        let mut arguments = vec!["addr", "add", address, "dev", interface];
        if address.contains(':') {
            arguments.push("nodad");
        }
        self.ip(&arguments)
    }

    /// Adds a route: `route("10.9.0.0/16", "via", "10.0.0.1")` or `route("default", "dev", "if-a")`.
    ///
    /// # Errors
    /// As for [`Namespace::ip`].
    pub fn route(&self, destination: &str, how: &str, next: &str) -> Result<(), LabError> {
        let family = if destination.contains(':') || next.contains(':') { "-6" } else { "-4" };
        self.ip(&[family, "route", "add", destination, how, next])
    }

    /// Adds a fixed neighbour entry, so that no ARP or neighbour discovery is needed.
    ///
    /// # Errors
    /// As for [`Namespace::ip`].
    pub fn neighbour(&self, interface: &str, address: &str, mac: &str) -> Result<(), LabError> {
        self.ip(&["neigh", "replace", address, "lladdr", mac, "dev", interface, "nud", "permanent"])
    }

    /// Sets a kernel parameter, `net.ipv4.ip_forward` for example.
    ///
    /// # Errors
    /// [`LabError::Sysctl`] if there is none of that name or it refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.run(|| std::fs::write(path, value))?.map_err(|source| LabError::Sysctl {
            namespace: self.name.clone(),
            key: key.to_owned(),
            source,
        })
    }

    fn open(&self) -> Result<File, LabError> {
        File::open(format!("/run/netns/{}", self.name)).map_err(|source| self.cannot_enter(source))
    }

    fn cannot_enter(&self, source: io::Error) -> LabError {
        LabError::Enter { namespace: self.name.clone(), source }
    }

    fn no_program(&self, program: &str, source: io::Error) -> LabError {
        let (namespace, program) = (self.name.clone(), program.to_owned());
        LabError::Spawn { namespace, program, source }
    }
}

/// Moves the calling thread, and no other, into a namespace.
fn enter(file: &File) -> io::Result<()> {
    setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

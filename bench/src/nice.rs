//! Who has a core first.

use std::process::Command;

/// Gives this thread another priority among those of its core: from -20, the first, to 19. Where
/// that is refused it keeps the one that it has.
pub(crate) fn renice(nice: i8) {
    let (nice, thread) = (nice.to_string(), nix::unistd::gettid().to_string());
    let _ = Command::new("renice").args(["-n", &nice, "-p", &thread]).output();
}

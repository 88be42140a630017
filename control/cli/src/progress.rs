//! How far a long answer has come, on a terminal. Where standard error is none, nothing is shown.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often something moves while nobody knows how far it is.
const TICK: Duration = Duration::from_millis(120);

/// A line that goes away when the answer is there.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar, once it is told how far it goes.
    pub(crate) fn of(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    /// A wait whose end is not known.
    pub(crate) fn waiting(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_message(what);
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    pub(crate) fn at(&self, done: usize, all: usize) {
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
    }

    pub(crate) fn done(self) {
        self.0.finish_and_clear();
    }
}

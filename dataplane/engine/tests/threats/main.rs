//! Adversarial cases as stories: rules in one line of text, a frame, the verdict, and then every
//! counter that has moved and that no other did.
//!
//! Each story is told twice. In memory: by the workers and the judge alone, without a kernel, in
//! time that the story decides, on one worker and on two. Over veths: frames from a packet
//! socket, through the gate and AF_XDP, to a packet socket; that needs root, and says so if it is
//! skipped. What each case is and which tests tell it stands in `docs/threats.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

mod cast;
mod packets;
mod rules;
mod stage;
mod story;
mod talk;
mod veth;

mod fragments;
mod headers;
mod policy;
mod spoofing;
mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};

use stage::{MemoryStage, Setting, Stage};
use story::Story;
use veth::VethStage;

/// Where a story is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// In memory, with so many workers.
    Memory(usize),
    Veths,
}

impl At {
    /// Begins a story with rules in force.
    fn story(self, rules: &str) -> Story {
        self.story_with(&Setting::default(), rules)
    }

    fn story_with(self, setting: &Setting, rules: &str) -> Story {
        Story::begin(Lease::new(self, setting), setting, rules)
    }
}

/// Makes two tests of each story: `in_memory::<its name>` and `over_veths::<its name>`.
macro_rules! tell {
    ($($story:ident),+ $(,)?) => {
        mod in_memory {
            $(#[test]
            fn $story() {
                for workers in [1, 2] {
                    super::$story($crate::At::Memory(workers));
                }
            })+
        }
        mod over_veths {
            $(#[test]
            fn $story() {
                if sluice_lab::root_or_skip() {
                    super::$story($crate::At::Veths);
                }
            })+
        }
    };
}
pub(crate) use tell;

/// A stage for the time of a story. Stages of veths are used again by stories that want the same
/// setting, for as long as any is being told.
pub(crate) struct Lease(Leased);

enum Leased {
    Memory(MemoryStage),
    Veths { stage: Option<VethStage>, setting: String },
}

#[derive(Default)]
struct Pool {
    idle: Vec<(String, VethStage)>,
    stories: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), stories: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    fn new(at: At, setting: &Setting) -> Self {
        if let At::Memory(workers) = at {
            return Self(Leased::Memory(MemoryStage::new(setting, workers)));
        }
        let name = format!("{setting:?}");
        let mut pool = pool();
        pool.stories += 1;
        let idle = pool.idle.iter().position(|(setting, _)| *setting == name);
        let idle = idle.map(|place| pool.idle.remove(place).1);
        drop(pool);
        let stage = idle.unwrap_or_else(|| VethStage::new(setting));
        Self(Leased::Veths { stage: Some(stage), setting: name })
    }

    fn stage(&mut self) -> &mut dyn Stage {
        match &mut self.0 {
            Leased::Memory(stage) => stage,
            Leased::Veths { stage, .. } => stage.as_mut().unwrap(),
        }
    }

    fn memory(&self) -> Option<&MemoryStage> {
        match &self.0 {
            Leased::Memory(stage) => Some(stage),
            Leased::Veths { .. } => None,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Leased::Veths { stage, setting } = &mut self.0 else { return };
        let mut pool = pool();
        pool.stories -= 1;
        // What a failed story leaves behind, no other shall meet.
        if let Some(stage) = stage.take().filter(|_| !std::thread::panicking()) {
            pool.idle.push((std::mem::take(setting), stage));
        }
        let unused = if pool.stories == 0 { std::mem::take(&mut pool.idle) } else { Vec::new() };
        drop(pool);
        drop(unused);
    }
}

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

mod bytes;
mod cast;
mod counts;
mod lease;
mod packets;
mod rules;
mod stage;
mod story;
mod talk;
mod veth;

mod access;
mod beyond;
mod fragments;
mod headers;
mod policy;
mod ports;
mod resolution;
mod spoofing;
mod state;
mod table;

use lease::Lease;
use stage::Setting;
use story::Story;

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

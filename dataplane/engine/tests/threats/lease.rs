//! Stages, lent to stories.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::At;
use crate::stage::{MemoryStage, Setting, Stage};
use crate::veth::VethStage;

/// A stage for the time of a story. Stages of veths are used again by stories that want the same
/// setting, for as long as any is being told.
pub(crate) struct Lease(Leased);

enum Leased {
    Memory(MemoryStage),
    Veths { stage: Option<Box<VethStage>>, setting: String },
}

#[derive(Default)]
struct Pool {
    idle: Vec<(String, Box<VethStage>)>,
    stories: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), stories: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lease {
    pub(crate) fn new(at: At, setting: &Setting) -> Self {
        if let At::Memory(workers) = at {
            return Self(Leased::Memory(MemoryStage::new(setting, workers)));
        }
        let name = format!("{setting:?}");
        let mut pool = pool();
        pool.stories += 1;
        let idle = pool.idle.iter().position(|(setting, _)| *setting == name);
        let idle = idle.map(|place| pool.idle.remove(place).1);
        drop(pool);
        // Counted by now, so it must be a lease even if no stage can be built.
        let mut lease = Self(Leased::Veths { stage: None, setting: name });
        if let Leased::Veths { stage, .. } = &mut lease.0 {
            *stage = Some(idle.unwrap_or_else(|| Box::new(VethStage::new(setting))));
        }
        lease
    }

    pub(crate) fn stage(&mut self) -> &mut dyn Stage {
        match &mut self.0 {
            Leased::Memory(stage) => stage,
            Leased::Veths { stage, .. } => &mut **stage.as_mut().unwrap(),
        }
    }

    pub(crate) fn memory(&self) -> Option<&MemoryStage> {
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

//! A cluster and its changes: what the compiler makes of them, and what the oracle says.
//!
//! The first eight bytes are the seed of a cluster, each further one leads to a change of it.

use sluice_policy::compile::{CompileOptions, Compiler};
use sluice_policy::oracle::generate::{LOCAL_NODE, attempts, change, cluster};
use sluice_policy::oracle::{agree, judge};

/// More changes than this only repeat what shorter stories say.
const CHANGES_MAX: usize = 16;

const ATTEMPTS: usize = 64;

/// Plays the story that `bytes` tell.
///
/// # Panics
/// Where table and oracle do not agree, or a compiler that has followed the changes has made
/// something else of a rule set than one that has seen no other.
pub fn policy(bytes: &[u8]) {
    let Some((seed, steps)) = bytes.split_first_chunk::<8>() else { return };
    let seed = u64::from_le_bytes(*seed);
    let options = CompileOptions { local_node: Some(LOCAL_NODE.into()) };
    let mut compiler = valid(Compiler::with(cluster(seed), &options, 0));
    compare(&compiler, seed);
    for (&step, revision) in steps.iter().take(CHANGES_MAX).zip(1..) {
        let seed = seed.wrapping_add(u64::from(step)).wrapping_add(revision << 8);
        let change = change(compiler.rules(), seed);
        valid(compiler.apply(change, revision).map(|_| ()));
        compare(&compiler, seed);
        let anew = valid(Compiler::with(compiler.rules().clone(), &options, revision));
        assert_eq!(compiler.size(), anew.size(), "seed {seed}");
    }
}

fn compare(compiler: &Compiler, seed: u64) {
    for attempt in attempts(compiler.rules(), seed, ATTEMPTS) {
        let answer = judge(compiler.rules(), Some(LOCAL_NODE), &attempt);
        assert!(
            agree(compiler.table(), &attempt, &answer),
            "seed {seed}: {attempt:?}: {answer:?}, but {:?}",
            compiler.table().decide(&attempt)
        );
    }
}

fn valid<T>(result: Result<T, Vec<sluice_policy::model::Fault>>) -> T {
    match result {
        Ok(it) => it,
        Err(faults) => panic!("what is generated is valid, but {faults:?}"),
    }
}

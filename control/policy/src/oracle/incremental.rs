//! A compiler that follows change after change against one that begins anew.

use super::generate::LOCAL_NODE;
use super::*;
use crate::compile::{CompileOptions, Compiler};
use crate::model::{Namespace, Object};

const CLUSTERS: u64 = 300;
const CHANGES: u64 = 12;
const ATTEMPTS: usize = 40;

/// After each change the table decides as the oracle does, for reasons that the oracle knows, and
/// is made of as much as the table of a compiler that has never seen another rule set. In the
/// end, when every object is gone, nothing is left.
#[test]
fn a_table_that_follows_changes_is_that_of_a_full_compile() {
    let options = CompileOptions { local_node: Some(LOCAL_NODE.to_owned()) };
    for seed in 0..CLUSTERS {
        let rules = generate::cluster(seed);
        let mut compiler = Compiler::with(rules, &options, 0).unwrap();
        for step in 0..CHANGES {
            let at = seed * CHANGES + step;
            let change = generate::change(compiler.rules(), at);
            let told = format!("seed {seed}, step {step}: {change:#?}");
            compiler.apply(change, step + 1).unwrap_or_else(|faults| panic!("{faults:?}\n{told}"));
            let anew = Compiler::with(compiler.rules().clone(), &options, step + 1).unwrap();
            assert_eq!(compiler.size(), anew.size(), "{told}");
            for attempt in generate::attempts(compiler.rules(), at, ATTEMPTS) {
                let expected = judge(compiler.rules(), Some(LOCAL_NODE), &attempt);
                assert!(agree(compiler.table(), &attempt, &expected), "{attempt:?}, {told}");
                assert!(agree(anew.table(), &attempt, &expected), "{attempt:?}, {told}");
            }
        }
        let everything = compiler.rules().change_to(&RuleSet::default());
        compiler.apply(everything, CHANGES + 1).unwrap();
        let empty = Compiler::new(options.clone());
        assert_eq!(compiler.size(), empty.size(), "seed {seed}");
        let left = compiler.table();
        assert_eq!(left.endpoints().count() + left.identities().count(), 0, "seed {seed}");
        assert_eq!((left.nodes().count(), left.policies().count()), (1, 0), "seed {seed}");
    }
}

/// A change with a fault changes nothing, however much of it has none.
#[test]
fn a_change_with_a_fault_leaves_everything_as_it_was() {
    let options = CompileOptions { local_node: Some(LOCAL_NODE.to_owned()) };
    for seed in 0..50 {
        let mut compiler = Compiler::with(generate::cluster(seed), &options, 1).unwrap();
        let (rules, table) = (compiler.rules().clone(), compiler.table().clone());
        let mut change = generate::change(&rules, seed);
        change.removals.push(Object::from(Namespace::new("nobody-has-heard-of-it")).key());
        let faults = compiler.apply(change, 2).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].object, "Namespace nobody-has-heard-of-it");
        assert_eq!((compiler.rules(), compiler.table()), (&rules, &table));
    }
}

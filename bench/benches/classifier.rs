//! Ordered five-tuple rules in the shapes of access lists, firewalls and IP chains: the time of a
//! look-up (in elements a second: packets), of building all, of changing one, and the memory.
//!
//! A change is what the control plane does for one: copy what is in force, put a rule in or take
//! one out, and let go of the copy.

#![allow(missing_docs, reason = "criterion's macros write functions without docs")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_core::classifier::generate::{Family, Shape, rules, trace};
use sluice_core::classifier::{Classifier, Key, Rule};
use sluice_core::ports::Rank;

const SEED: u64 = 1;
const KEYS: usize = 65_536;

const SHAPES: [(&str, Shape); 3] = [("acl", Shape::Acl), ("fw", Shape::Fw), ("ipc", Shape::Ipc)];
const FAMILIES: [(&str, Family); 2] = [("v4", Family::V4), ("v6", Family::V6)];
const SIZES: [(&str, usize); 3] = [("1k", 1_000), ("10k", 10_000), ("100k", 100_000)];

fn build(rules: &[Rule]) -> Classifier {
    Classifier::new((0..).map(Rank).zip(rules))
}

fn classifier(c: &mut Criterion) {
    for (family_name, family) in FAMILIES {
        for (shape_name, shape) in SHAPES {
            for (size, len) in SIZES {
                let name = format!("{shape_name}_{size}_{family_name}");
                measure(c, &name, &rules(shape, family, len, SEED), family);
            }
        }
    }
}

fn measure(c: &mut Criterion, name: &str, rules: &[Rule], family: Family) {
    let in_force = build(rules);
    println!("{name}: {} bytes a rule", in_force.heap_bytes() / rules.len());
    let keys = trace(rules, family, KEYS, SEED);
    let mut ranks = vec![None; KEYS];

    let mut group = c.benchmark_group("classifier");
    group.sample_size(10).throughput(Throughput::Elements(KEYS as u64));
    group.bench_function(format!("look_up/{name}"), |b| {
        b.iter(|| in_force.first_matches(black_box(&keys), black_box(&mut ranks)));
    });
    group.throughput(Throughput::Elements(rules.len() as u64));
    group.bench_function(format!("build/{name}"), |b| b.iter(|| build(black_box(rules))));
    group.throughput(Throughput::Elements(1));
    let mut at = 0;
    group.bench_function(format!("change/{name}"), |b| {
        b.iter_batched(
            || {
                at = (at + 7919) % rules.len();
                (Rank(u32::try_from(at).unwrap()), rules.get(at).unwrap())
            },
            |(rank, rule)| change(&in_force, rank, rule),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    check(&in_force, rules, &keys);
}

fn change(in_force: &Classifier, rank: Rank, rule: &Rule) -> Classifier {
    let mut next = in_force.clone();
    next.remove(rank, rule);
    next
}

/// What is fast must also be right: some packets are compared with a walk over all rules.
fn check(classifier: &Classifier, rules: &[Rule], keys: &[Key]) {
    for key in keys.iter().step_by(keys.len() / 64) {
        let walked = (0..).map(Rank).zip(rules).find(|(_, rule)| rule.matches(key));
        assert_eq!(classifier.first_match(key), walked.map(|(rank, _)| rank), "{key:?}");
    }
}

criterion_group!(benches, classifier);
criterion_main!(benches);

//! How long the control plane takes to bring a table to its next state.
//!
//! The large cluster has 10,000 pods, 1,000 namespaces and 2,000 policies. A change is timed
//! alone: what undoes it again is not.

#![allow(missing_docs, reason = "criterion's macros write functions without docs")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench that cannot go on stops"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sluice_policy::compile::{CompileOptions, Compiler};
use sluice_policy::model::{
    Action, Change, ClusterNetworkPolicy, ClusterPeer, ClusterPorts, ClusterRule, Namespace,
    NamespacedPods, NetworkPolicy, Object, Peer, Peers, Pod, RuleSet, Tier,
};
use sluice_policy::oracle::generate::{Large, large, many_blocks};

const LARGE: Large =
    Large { pods: 10_000, namespaces: 1_000, policies: 2_000, unique_labels: false };

fn compiler(rules: RuleSet) -> Compiler {
    Compiler::with(rules, &CompileOptions::default(), 1).unwrap()
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    let unique = Large { unique_labels: true, ..LARGE };
    for (name, rules) in [
        ("10k_pods_1k_namespaces_2k_policies", large(LARGE)),
        ("10k_pods_1k_namespaces_2k_policies_unique_labels", large(unique)),
        ("100k_blocks", many_blocks(100_000)),
    ] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || rules.clone(),
                |rules| black_box(compiler(rules)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Times `change`, and takes it back untimed.
fn change(
    c: &mut Criterion,
    name: &str,
    forth: &dyn Fn(u64) -> Change,
    back: &dyn Fn(u64) -> Change,
) {
    let mut compiler = compiler(large(LARGE));
    let mut revision = 1;
    c.benchmark_group("change").bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let (forth, back) = (forth(revision), back(revision));
                let start = Instant::now();
                compiler.apply(forth, revision).unwrap();
                took += start.elapsed();
                compiler.apply(back, revision + 1).unwrap();
                revision += 2;
            }
            took
        });
    });
}

fn upsert(object: impl Into<Object>) -> Change {
    Change { upserts: vec![object.into()], ..Change::default() }
}

fn remove(object: impl Into<Object>) -> Change {
    Change { removals: vec![object.into().key()], ..Change::default() }
}

fn changes(c: &mut Criterion) {
    let rules = large(LARGE);
    let known: Pod = rules.pods().next().unwrap().clone();
    let joined = |number: u64, labels: bool| {
        let mut pod = known.clone();
        pod.name = format!("joined-{number}");
        pod.addresses = vec![[172, 16, (number >> 8) as u8, number as u8].into()];
        if labels { pod.with_label("app", "nobody-else") } else { pod }
    };
    change(c, "pod_with_known_labels_joins", &|n| upsert(joined(n, false)), &|n| {
        remove(joined(n, false))
    });
    change(c, "pod_with_known_labels_leaves", &|_| remove(known.clone()), &|_| {
        upsert(known.clone())
    });
    change(c, "pod_with_new_labels_joins", &|n| upsert(joined(n, true)), &|n| {
        remove(joined(n, true))
    });

    let policy: NetworkPolicy =
        rules.network_policies().find(|it| it.egress.is_some()).unwrap().clone();
    let other = rules.network_policies().find(|it| it.ingress != policy.ingress).unwrap();
    let edited = NetworkPolicy { ingress: other.ingress.clone(), ..policy.clone() };
    change(c, "policy_edited", &|_| upsert(edited.clone()), &|_| upsert(policy.clone()));

    // A block that nobody else has: the trie of all blocks is built anew.
    let blocks = rules.network_policies().find(|it| names_block(it)).unwrap().clone();
    let mut moved = blocks.clone();
    for peer in peers_of(&mut moved) {
        if let Peer::Block(block) = peer {
            block.cidr = "203.0.113.128/25".parse().unwrap();
        }
    }
    change(c, "policy_with_a_new_block", &|_| upsert(moved.clone()), &|_| upsert(blocks.clone()));

    let everywhere = ClusterNetworkPolicy {
        name: "everywhere".to_owned(),
        tier: Tier::Admin,
        priority: 1,
        subject: NamespacedPods::default(),
        ingress: vec![ClusterRule {
            name: String::new(),
            action: Action::Pass,
            peers: vec![ClusterPeer::Pods(NamespacedPods::default())],
            ports: ClusterPorts::All,
        }],
        egress: Vec::new(),
    };
    change(c, "cluster_policy_for_all_pods", &|_| upsert(everywhere.clone()), &|_| {
        remove(everywhere.clone())
    });

    let namespace: Namespace = rules.namespaces().next().unwrap().clone();
    let mut relabelled = namespace.clone();
    relabelled.labels.insert("level".to_owned(), "other".to_owned());
    change(c, "namespace_relabelled", &|_| upsert(relabelled.clone()), &|_| {
        upsert(namespace.clone())
    });
}

fn names_block(policy: &NetworkPolicy) -> bool {
    peers_of(&mut policy.clone()).any(|peer| matches!(peer, Peer::Block(_)))
}

fn peers_of(policy: &mut NetworkPolicy) -> impl Iterator<Item = &mut Peer> {
    let rules = policy.ingress.iter_mut().chain(policy.egress.iter_mut()).flatten();
    rules.flat_map(|rule| match &mut rule.peers {
        Peers::AnyOf(peers) => peers.iter_mut(),
        Peers::Everybody => Default::default(),
    })
}

criterion_group!(benches, whole, changes);
criterion_main!(benches);

//! Replays what the fuzzer has found, and the seeds that it starts from, without the fuzzer.

use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        // A failed assertion does not know its file; the last one printed is it.
        println!("{}", path.display());
        body(&std::fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", directory.display());
}

#[test]
fn frames_are_parsed() {
    replay("parse", sluice_fuzz::parse);
}

#[test]
fn frames_are_forwarded() {
    replay("engine", sluice_fuzz::engine);
}

#[test]
fn stories_are_judged() {
    replay("judge", sluice_fuzz::judge);
}

#[test]
fn connections_are_kept() {
    replay("conntrack", sluice_fuzz::conntrack);
}

#[test]
fn rule_sets_are_compiled() {
    replay("rule_set", sluice_fuzz::rule_set);
}

#[test]
fn clusters_are_followed() {
    replay("policy", sluice_fuzz::policy);
}

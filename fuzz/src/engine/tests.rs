//! The seeds do what they are there for.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// Reasons that no story can come to.
const OUT_OF_REACH: &[DropReason] = &[
    // A worker's inbox holds more frames than there are.
    DropReason::HandoverFull,
    // A second's worth of broadcasts is more than it sends.
    DropReason::FloodLimited,
    // So is what may wait for room on a wire, which is emptied after each turn.
    DropReason::TxFull,
];

#[test]
fn the_seeds_come_to_every_reason_that_a_story_can_come_to() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions/engine");
    let mut met = BTreeSet::new();
    let mut seeds: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    for path in seeds {
        println!("{}", path.display());
        let totals = play(&std::fs::read(&path).unwrap());
        println!(
            "{} in, {} out, {:?}",
            totals.rx_frames,
            totals.tx_frames,
            totals.drops().collect::<Vec<_>>()
        );
        met.extend(totals.drops().map(|(reason, _)| reason));
    }
    let all = DropReason::ALL.iter().filter(|reason| !OUT_OF_REACH.contains(reason));
    let unmet: Vec<_> = all.filter(|reason| !met.contains(reason)).collect();
    assert!(unmet.is_empty(), "no seed comes to {unmet:?}");
}

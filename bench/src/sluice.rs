//! Sluice as the packet path uses it, without ports and threads: the judge on tables and
//! connections of a size.

mod established;
mod first;
mod inserts;
mod prefixes;
mod reading;
mod rules;

use crate::rig::BenchError;
use crate::stopwatch::Stopwatch;

pub(crate) use established::Established;
pub(crate) use first::First;
pub(crate) use inserts::{NEWCOMERS_LEN, Newcomers};
pub(crate) use prefixes::Prefixes;
pub(crate) use rules::Rules;

/// The time that `timed` takes for an item, in nanoseconds: the mean of all slices, each of
/// `slice` items. What `prepare` does before each of them does not count.
pub(crate) fn nanoseconds<S>(
    state: &mut S,
    slices: usize,
    slice: usize,
    mut prepare: impl FnMut(&mut S) -> Result<(), BenchError>,
    mut timed: impl FnMut(&mut S),
) -> Result<f64, BenchError> {
    let mut took = 0.0;
    for _ in 0..slices {
        prepare(state)?;
        let start = Stopwatch::start()?;
        timed(state);
        took += start.seconds()?;
    }
    Ok(took * 1e9 / (slices * slice) as f64)
}

/// Adds an answer to a digest, as the peers do.
pub(crate) fn answer(digest: u64, value: u64) -> u64 {
    digest.wrapping_mul(31).wrapping_add(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{Cluster, FRAMES_LEN, Flow, Frames, HTTPS};
    use crate::numbers::Numbers;

    fn digest_of(answers: impl Iterator<Item = bool>) -> u64 {
        answers.map(u64::from).fold(0, answer)
    }

    #[test]
    fn established_flows_are_allowed_and_others_are_found_nowhere() {
        let mut sluice = Established::new(1000, 1250).unwrap();
        let mut numbers = Numbers::new(3);
        let mut frames = Frames::new();
        frames.fill(|| Flow::numbered(numbers.below(1000) as u32)).unwrap();
        assert_eq!(sluice.judge(&frames), digest_of((0..FRAMES_LEN).map(|_| true)));
        let keys = [999, 1000].map(|number| Flow::numbered(number).key().0);
        assert_eq!(sluice.find(&keys), 1);
    }

    #[test]
    fn first_packets_are_judged_as_the_cluster_says() {
        let cluster = Cluster::of(2000);
        let peers: Vec<_> = cluster.peers().collect();
        let mut sluice = First::new(cluster, 2500).unwrap();
        let mut numbers = Numbers::new(5);
        let (mut frames, mut flows) = (Frames::new(), Vec::new());
        frames
            .fill(|| {
                let flow = cluster.first_packet(&mut numbers);
                flows.push(flow);
                flow
            })
            .unwrap();
        let peer_at = |address: std::net::Ipv4Addr| {
            let within = |it: &&crate::flows::Peer| {
                let shift = 32 - u32::from(it.len);
                u32::from(it.address) >> shift == u32::from(address) >> shift
            };
            peers.iter().find(within).unwrap()
        };
        let allowed = flows.iter().map(|flow| {
            let reaches = peer_at(flow.source).reaches == peer_at(flow.destination).identity;
            assert!(reaches, "{flow:?}: every packet goes where its sender may go");
            flow.destination_port == HTTPS
        });
        assert_eq!(sluice.judge(0, &frames), digest_of(allowed));
        assert!(flows.iter().any(|flow| flow.destination_port != HTTPS));
    }

    #[test]
    fn newcomers_find_room_in_a_full_table_and_in_one_with_room() {
        for (capacity, remove_oldest) in [(5000, false), (10_000, true)] {
            let mut newcomers = Newcomers::new(5000, capacity).unwrap();
            for _ in 0..3 {
                newcomers.prepare(remove_oldest);
                assert_eq!(newcomers.open(), NEWCOMERS_LEN);
            }
        }
    }

    #[test]
    fn the_longest_prefix_is_found_by_its_number() {
        let nets = ["10.0.0.0/8", "10.1.0.0/16"].map(|net| net.parse().unwrap());
        let addresses = ["10.1.2.3", "10.2.0.1", "192.0.2.1"].map(|it| it.parse().unwrap());
        let expected = [2, 1, 0].into_iter().fold(0, answer);
        assert_eq!(Prefixes::new(&nets).find(0, &addresses), expected);
    }
}

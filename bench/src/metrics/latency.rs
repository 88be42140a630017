//! How long a frame is under way, at half the rate that the slower side forwards.
//!
//! A frame is stamped with the moment at which it was due, in the payload, and looked at by the
//! sink's program; both read the kernel's monotonic clock, and are the same for both sides.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::metric::{Effort, Metric, Pair, Remarks, Round, Unit};
use crate::rig::{BenchError, Forwarder, Kernel, Rig, Setup, Sluice};
use crate::traffic::Load;

/// What may be missing at the rate that counts as forwarded: RFC 9411's and MLRsearch's partial
/// drop rate. A machine that does other things, too, loses some at any rate.
const LOSS_MAX: f64 = 0.005;
/// Frames a second that the search begins between.
const LOWEST: f64 = 20_000.0;
const HIGHEST: f64 = 4_000_000.0;
/// How much better the result is than where the search began: each halves it.
const STEPS: u32 = 6;

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |name, prepare| Metric {
        name,
        peer: "kernel, nftables set of 1",
        unit: Unit::Microseconds,
        target: None,
        limit: None,
        rounds: 5,
        prepare,
    };
    vec![
        metric("latency_p50", |effort| at_half_rate(0.5, effort)),
        metric("latency_p99", |effort| at_half_rate(0.99, effort)),
    ]
}

type Start = fn(&Rig) -> Result<Box<dyn Forwarder + '_>, BenchError>;

fn at_half_rate(share: f64, effort: Effort) -> Result<Pair, BenchError> {
    let rig = Rig::new().map(Rc::new)?;
    let sides: [Start; 2] = [
        |rig| Ok(Box::new(Sluice::start(rig, &Setup::default())?)),
        |rig| Ok(Box::new(Kernel::start(rig, &Setup::default())?)),
    ];
    let mut slower = HIGHEST;
    for start in sides {
        let forwarder = start(&rig)?;
        let forwards = |rate: f64| forwards(&rig, &*forwarder, rate, effort);
        slower = slower.min(highest(forwards)?);
    }
    let rate = (slower / 2.0) as u32;
    let half = if slower > LOWEST {
        "half of what the slower side forwards"
    } else {
        "at twice of which the slower side loses frames"
    };
    let remarks = Rc::new(RefCell::new(Remarks {
        note: Some(format!("at {rate} packets a second, {half}")),
        times: Some(Default::default()),
        ..Remarks::default()
    }));
    let time = Duration::from_millis(effort.choose(700, 2000));
    let load = Load { rate: Some(rate), ..Load::default() };
    let [sluice, peer] = [0, 1].map(|side| {
        let (rig, remarks, load) = (Rc::clone(&rig), Rc::clone(&remarks), load.clone());
        let start = sides.get(side).copied();
        let round: Round = Box::new(move || {
            let start = start.ok_or_else(|| BenchError::Failed("a side too many".into()))?;
            let forwarder = start(&rig)?;
            // Connections are opened and caches filled before the clock starts.
            rig.offer(&*forwarder, &load, time / 4)?;
            let times = rig.offer(&*forwarder, &load, time)?.seen.times;
            if times.count() == 0 {
                return Err(BenchError::Failed("no frame arrived".into()));
            }
            let micros = times.quantile(share) / 1e3;
            let mut remarks = remarks.borrow_mut();
            if let Some(all) = remarks.times.iter_mut().flatten().nth(side) {
                all.absorb(&times);
            }
            Ok(micros)
        });
        round
    });
    Ok(Pair { sluice, peer, remarks })
}

/// The highest rate between the bounds that is forwarded, by halving (on a logarithmic scale).
fn highest(mut forwards: impl FnMut(f64) -> Result<bool, BenchError>) -> Result<f64, BenchError> {
    let (mut low, mut high) = (LOWEST, HIGHEST);
    for _ in 0..STEPS {
        let rate = (low * high).sqrt();
        if forwards(rate)? {
            low = rate;
        } else {
            high = rate;
        }
    }
    Ok(low)
}

/// Whether nearly all frames arrive that were due at a rate. One that the sender was kept from
/// sending did not.
fn forwards(
    rig: &Rig,
    forwarder: &dyn Forwarder,
    rate: f64,
    effort: Effort,
) -> Result<bool, BenchError> {
    let time = Duration::from_millis(effort.choose(150, 400));
    let frames = (rate * time.as_secs_f64()) as u64;
    let load = Load { rate: Some(rate as u32), frames: Some(frames), ..Load::default() };
    let outcome = rig.offer(forwarder, &load, time)?;
    let due = outcome.sent + outcome.missed;
    Ok(outcome.seen.frames as f64 >= due as f64 * (1.0 - LOSS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_close_below_what_is_forwarded() {
        for limit in [30_000.0, 500_000.0, 3_900_000.0] {
            let found = highest(|rate| Ok(rate <= limit)).unwrap();
            assert!(found <= limit && found > limit / 1.1, "{found} of {limit}");
        }
        assert_eq!(highest(|_| Ok(false)).unwrap(), LOWEST);
    }
}

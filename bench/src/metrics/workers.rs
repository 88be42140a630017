//! What a second worker brings, and what it costs that a frame arrives at the wrong one.
//!
//! Senders need processor time, too, and on two cores they take it from the workers. So nothing is
//! counted by the clock: the time is that which the workers' threads have run
//! (`/proc/self/task/*/schedstat`), and a worker that waits for its core does not run. Senders leave
//! most of the cores to the workers, but not so much that these would have to wait for frames.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use sluice_core::drop::DropReason;

use crate::metric::{Effort, Metric, Pair, Remarks, Unit};
use crate::rig::{BenchError, Cable, FORWARD_CORE, Rig, SEND_CORE, Setup, Sluice};
use crate::traffic::{Family, Load, Shape};

/// Of which each worker owns some half.
const FLOWS: u32 = 2000;
/// Flows at most whose frames are sent, all of one worker.
const FLOWS_OF_ONE: usize = 500;
/// Frames a second at which none is lost.
const SLOWLY: u32 = 50_000;
/// Priorities of senders: one that leaves workers three quarters of a core, so that these need not
/// wait for frames, and one that leaves them all that they want.
const SHARING: i8 = 5;
const YIELDING: i8 = 19;
/// For the last of them to be counted.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |name, peer, unit, prepare| Metric {
        name,
        peer,
        unit,
        target: None,
        limit: None,
        rounds: 5,
        prepare,
    };
    let rate = Unit::PacketsPerSecond;
    let one = "Sluice, one worker";
    vec![
        metric("two_workers", one, rate, |effort| two_workers(Arrival::AsItComes, effort)),
        metric("two_workers_steered", one, rate, |effort| two_workers(Arrival::AtOwner, effort)),
        metric("handover", "Sluice, frames at their owner", Unit::Nanoseconds, handover),
    ]
}

/// At which worker frames arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// At that of their cable, which owns every second flow and hands the others over.
    AsItComes,
    /// At the one that owns their flow.
    AtOwner,
}

fn two_workers(arrival: Arrival, effort: Effort) -> Result<Pair, BenchError> {
    needs_two_cores()?;
    let time = Duration::from_millis(effort.choose(600, 1500));
    let rig = Rig::with_cables(2).map(Rc::new)?;
    let round = |cores: &'static [usize]| {
        let rig = Rc::clone(&rig);
        Box::new(move || forwarded_a_second(&rig, cores, arrival, time))
    };
    Ok(Pair::new(round(&[FORWARD_CORE, SEND_CORE]), round(&[FORWARD_CORE])))
}

/// Frames that so many workers, each with a cable of its own, would forward in a second if each
/// had a core for itself. Both cables' senders are at work in any case, each on the core that the
/// other cable's worker has, so that workers have the same company.
fn forwarded_a_second(
    rig: &Rig,
    cores: &[usize],
    arrival: Arrival,
    time: Duration,
) -> Result<f64, BenchError> {
    let setup = Setup {
        cables: cores.len() as u8,
        cores: cores.to_vec(),
        workers: (0..cores.len()).collect(),
        ..Setup::default()
    };
    let sluice = Sluice::start(rig, &setup)?;
    let mut senders = Vec::new();
    let mut loads = Vec::new();
    for (worker, cable) in rig.cables().iter().enumerate() {
        let is_open = worker < cores.len();
        loads.push(match arrival {
            Arrival::AtOwner if is_open => owned_by(worker, &sluice, cable)?,
            _ => Load { shape: shape(), nice: SHARING, ..Load::default() },
        });
    }
    for ((cable, load), core) in rig.cables().iter().zip(&loads).zip([SEND_CORE, FORWARD_CORE]) {
        senders.push(cable.start(&sluice, load, core)?);
    }
    let (frames, seconds) = while_it_runs(rig, cores, time)?;
    for sender in senders {
        sender.finish()?;
    }
    Ok(frames as f64 / seconds * cores.len() as f64)
}

fn handover(effort: Effort) -> Result<Pair, BenchError> {
    needs_two_cores()?;
    let time = Duration::from_millis(effort.choose(600, 1500));
    let rig = Rig::new().map(Rc::new)?;
    let remarks = Rc::new(RefCell::new(Remarks::default()));
    let round = |owner| {
        let (rig, remarks) = (Rc::clone(&rig), Rc::clone(&remarks));
        Box::new(move || time_of_a_frame(&rig, owner, time, &remarks))
    };
    Ok(Pair { sluice: round(1), peer: round(0), remarks })
}

/// Nanoseconds that both workers together take for a frame that arrives at the first and is of a
/// flow of `owner`.
fn time_of_a_frame(
    rig: &Rig,
    owner: usize,
    time: Duration,
    remarks: &RefCell<Remarks>,
) -> Result<f64, BenchError> {
    let cores = [FORWARD_CORE, SEND_CORE];
    let setup = Setup { cores: cores.to_vec(), workers: vec![0], ..Setup::default() };
    let sluice = Sluice::start(rig, &setup)?;
    let cable = rig.cable()?;
    // Else the owner would leave its inbox full.
    let load = Load { nice: YIELDING, ..owned_by(owner, &sluice, cable)? };
    let sender = cable.start(&sluice, &load, SEND_CORE)?;
    let (frames, seconds) = while_it_runs(rig, &cores, time)?;
    sender.finish()?;
    let totals = sluice.engine()?.totals();
    let lost = totals.dropped(DropReason::HandoverFull) as f64 / totals.rx_frames.max(1) as f64;
    if owner != 0 {
        let text = format!("{:.1} % of the frames found the owner's inbox full", lost * 100.0);
        remarks.borrow_mut().note = Some(text);
    }
    Ok(seconds * 1e9 / frames as f64)
}

fn shape() -> Shape {
    Shape { flows: FLOWS, ..Shape::default() }
}

/// A load of flows that a worker owns. Which they are says the list of connections, which goes
/// from worker to worker, after each flow has been there once.
fn owned_by(owner: usize, sluice: &Sluice<'_>, cable: &Cable) -> Result<Load, BenchError> {
    let engine = sluice.engine()?;
    let tracked = || engine.connections().iter().sum::<u64>();
    let before = tracked();
    let once =
        Load { shape: shape(), rate: Some(SLOWLY), frames: Some(FLOWS.into()), ..Load::default() };
    let sender = cable.start(sluice, &once, SEND_CORE)?;
    sender.wait()?;
    sender.finish()?;
    // A machine that does other things, too, may have lost some.
    let _ = sluice_lab::wait_until(PATIENCE, || tracked() - before >= u64::from(FLOWS));
    let (skipped, own) = {
        let counts = engine.connections();
        let before: u64 = counts.iter().take(owner).sum();
        (before as usize, counts.get(owner).copied().unwrap_or_default() as usize)
    };
    let mut openings = Vec::new();
    engine
        .for_each_connection(|connection| openings.push(connection.opening()))
        .map_err(BenchError::failed("listing connections"))?;
    let listed: Vec<u32> = openings
        .into_iter()
        .skip(skipped)
        .take(own)
        .filter(|opening| opening.destination == cable.sink_address(Family::V4))
        .map(|opening| Shape::flow_of_port(opening.source_port))
        .take(FLOWS_OF_ONE)
        .collect();
    if listed.len() < FLOWS_OF_ONE / 2 {
        let text = format!("worker {owner} owns {} of {FLOWS} flows: too few", listed.len());
        return Err(BenchError::Failed(text));
    }
    Ok(Load { shape: shape(), nice: SHARING, listed, ..Load::default() })
}

/// Frames that reach the sinks, and the seconds that the workers of these cores have run for them.
fn while_it_runs(rig: &Rig, cores: &[usize], time: Duration) -> Result<(u64, f64), BenchError> {
    let now = || -> Result<(u64, f64), BenchError> {
        let counts = rig.cables().iter().map(|cable| cable.sink.count());
        let frames = counts.sum::<Result<u64, _>>()?;
        let times = cores.iter().map(|core| processor_seconds(&format!("sluice-{core}")));
        Ok((frames, times.sum::<Result<f64, _>>()?))
    };
    // Connections are opened and caches filled before the clock starts.
    std::thread::sleep(time / 4);
    let before = now()?;
    std::thread::sleep(time);
    let after = now()?;
    match after.0 - before.0 {
        0 => Err(BenchError::Failed("nothing was forwarded".to_owned())),
        frames => Ok((frames, after.1 - before.1)),
    }
}

/// The processor time of the thread of this process that has a name.
fn processor_seconds(name: &str) -> Result<f64, BenchError> {
    let failed = BenchError::failed::<std::io::Error>("the threads of this process");
    for task in std::fs::read_dir("/proc/self/task").map_err(&failed)?.flatten() {
        let read = |what| std::fs::read_to_string(task.path().join(what)).unwrap_or_default();
        if read("comm").trim() == name {
            let nanoseconds = read("schedstat");
            let nanoseconds = nanoseconds.split(' ').next().and_then(|first| first.parse().ok());
            let nanoseconds: f64 = nanoseconds.ok_or_else(|| {
                BenchError::Missing("this kernel does not tell what threads run".to_owned())
            })?;
            return Ok(nanoseconds / 1e9);
        }
    }
    Err(BenchError::Failed(format!("there is no thread {name}")))
}

fn needs_two_cores() -> Result<(), BenchError> {
    if std::thread::available_parallelism().map_or(1, usize::from) > 1 {
        return Ok(());
    }
    Err(BenchError::Missing("two workers need two cores".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_grows_while_it_runs() {
        let thread = std::thread::Builder::new().name("bench-runs".to_owned());
        let thread = thread.spawn(|| {
            let read = || processor_seconds("bench-runs").unwrap();
            let before = read();
            // A thread's account is brought up to date from time to time.
            assert!(sluice_lab::wait_until(Duration::from_secs(10), || read() > before));
        });
        thread.unwrap().join().unwrap();
        assert!(processor_seconds("bench-is-nowhere").is_err());
    }
}

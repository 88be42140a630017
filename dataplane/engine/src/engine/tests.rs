//! The control side beside workers without threads, whose turns the test takes.

use crossbeam::channel::{Receiver, bounded};
use sluice_core::address::NetworkId;
use sluice_core::conntrack::{Account, Opening};
use sluice_core::flow::FiveTuple;
use sluice_core::packet::{Ports, Transport};

use super::*;
use crate::worker::Worker;

fn prepared(connections_max: u32) -> (Engine, Vec<Worker>) {
    let (umem, pool) = Umem::in_memory(8).unwrap();
    let config = EngineConfig { connections_max, ..EngineConfig::default() };
    let (inner, workers) = prepare(&config, umem, pool, &FlowHasher::random()).unwrap();
    (Engine::without_threads(inner), workers)
}

fn open(worker: &mut Worker, source_port: u16, now: Time) {
    let tuple = FiveTuple {
        network: NetworkId::DEFAULT,
        protocol: 17,
        source: [10, 0, 0, 1].into(),
        source_port,
        destination: [10, 0, 0, 2].into(),
        destination_port: 53,
    };
    let (key, opener) = tuple.key();
    let hash = worker.hasher.hash(&key);
    let opening = Opening { key, hash, opener, account: Account(1), revision: 1 };
    let datagram = Transport::Udp(Ports { source: source_port, destination: 53 });
    assert_eq!(worker.connections.open(&opening, &datagram, false, now), Ok(true));
}

fn ask(engine: &Engine, from: usize) -> Receiver<Slice> {
    let (done, listed) = bounded(1);
    let command = Command::ListConnections { from, list: Vec::new(), done };
    engine.inner.control().command(0, command).unwrap();
    listed
}

#[test]
fn a_worker_lists_one_slice_a_turn_however_many_ask() {
    let (engine, mut workers) = prepared(700);
    let worker = &mut workers[0];
    for port in 0..700 {
        open(worker, port, Time(0));
    }
    let asked = [ask(&engine, 0), ask(&engine, SLICE_LEN), ask(&engine, 0)];
    let wanted = [(SLICE_LEN, Some(SLICE_LEN)), (700 - SLICE_LEN, None)];
    for (turn, (len, next)) in wanted.into_iter().enumerate() {
        worker.turn(Time(1));
        let slice = asked[turn].try_recv().unwrap();
        assert_eq!((slice.list.len(), slice.next), (len, next));
        assert!(asked[turn + 1].is_empty(), "the next one waits for the next turn");
    }
    worker.turn(Time(1));
    assert!(asked[2].try_recv().is_ok());
}

#[test]
fn an_expired_connection_is_not_listed_even_before_the_sweep() {
    let (engine, mut workers) = prepared(700);
    let worker = &mut workers[0];
    let later = Time(0) + Duration::from_secs(1);
    open(worker, 1, Time(0));
    open(worker, 2, later);
    let asked = ask(&engine, 0);
    worker.turn(Time(0) + Timeouts::default().udp_single);
    let slice = asked.try_recv().unwrap();
    let ports: Vec<u16> = slice.list.iter().map(|it| it.opening().source_port).collect();
    assert_eq!(ports, [2]);
}

#[test]
fn a_walk_says_which_worker_has_died() {
    let (engine, workers) = prepared(8);
    drop(workers);
    let walked = engine.for_each_connection(|_| {});
    assert!(matches!(walked, Err(EngineError::WorkerStuck(0))));
}

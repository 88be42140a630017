//! Models of what workers share, for loom: the engine's own code in every order of its threads.
//!
//! `make loom` runs them, and shows of each that it notices the faults that it is there for.

mod stage;

use sluice_core::drop::DropReason;

use self::stage::*;
use super::*;
use crate::counters::Counter;
use crate::desk::{Handover, INBOX_LEN};
use crate::io::QueueIo;
use crate::port::PortId;
use crate::sync::AtomicU64;
use crate::worker::Worker;

#[test]
fn a_frame_handed_over_wakes_its_worker() {
    model(3, 2, |umem, pool| {
        let (engine, mut workers) = prepared(2, umem, pool);
        let mut owner = workers.pop().unwrap();
        let mut receiver = workers.pop().unwrap();
        loom::explore();
        let owner = spawn_thread(move || {
            turn_until(&mut owner, |_, moved| moved == 1);
            owner
        });
        hand_over(&mut receiver);
        gather(&engine, [receiver, owner.join().unwrap()])
    });
}

#[test]
fn a_command_wakes_its_worker() {
    model(3, 1, |umem, pool| {
        let (engine, workers) = prepared(1, umem, pool);
        loom::explore();
        let workers = workers.into_iter().map(start).collect();
        gather(&engine, stop(&engine, workers))
    });
}

#[test]
fn of_two_who_leave_something_neither_waits_in_vain() {
    model(2, 2, |umem, pool| {
        let (engine, mut workers) = prepared(2, umem, pool);
        let mut owner = workers.pop().unwrap();
        let mut receiver = workers.pop().unwrap();
        loom::explore();
        let owner = spawn_thread(move || {
            turn_until(&mut owner, |worker, moved| worker.stopping && moved == 1);
            owner
        });
        let receiver = spawn_thread(move || {
            hand_over(&mut receiver);
            receiver
        });
        engine.inner.control().command(1, Command::Stop).unwrap();
        engine.inner.wake(1);
        gather(&engine, [receiver.join().unwrap(), owner.join().unwrap()])
    });
}

/// Leaves a frame with the second worker, as a turn of the first one does.
fn hand_over(receiver: &mut Worker) {
    let frame = receiver.pool.take().unwrap();
    let from = PortId(0);
    let scene = Arc::clone(&receiver.scene);
    receiver.hand_over(&scene, 1, Handover::Judge { frame, from }, from);
    receiver.wake_others();
}

#[test]
fn once_published_no_worker_judges_by_the_old_table() {
    model(1, 2, |umem, pool| {
        let (engine, workers) = prepared(2, umem, pool);
        let promised = Arc::new(AtomicU64::new(1));
        loom::explore();
        let workers = workers.into_iter().map(|mut worker| {
            let promised = Arc::clone(&promised);
            spawn_thread(move || {
                while !worker.stopping {
                    let at_least = promised.load(Relaxed);
                    worker.turn(Time(0));
                    assert!(worker.scene.generation >= at_least, "judged by the old table");
                    if !worker.stopping {
                        worker.sleep();
                    }
                }
                worker
            })
        });
        let workers = workers.collect();
        engine.publish(Table::empty()).unwrap();
        promised.store(2, Relaxed);
        gather(&engine, stop(&engine, workers))
    });
}

#[test]
fn the_publisher_frees_the_old_scene_and_sees_the_new_revision() {
    model(3, 1, |umem, pool| {
        let (engine, workers) = prepared(1, umem, pool);
        let old = Arc::downgrade(&engine.inner.shared.scene.load());
        loom::explore();
        let workers = workers.into_iter().map(start).collect();
        engine.publish(Table::empty().with_revision(7)).unwrap();
        assert_eq!(old.strong_count(), 0, "a worker still holds the old scene");
        assert_eq!(engine.revisions(), [7]);
        gather(&engine, stop(&engine, workers))
    });
}

#[test]
fn what_was_in_an_inbox_before_a_publication_is_dealt_with_after_it() {
    model(2, 4, |umem, pool| {
        let (engine, mut workers) = prepared(1, umem, pool);
        let (wires, queues) = wires(1, 1);
        attach_pods(&engine, &mut workers, queues);
        let frame = workers[0].pool.take().unwrap();
        loom::explore();
        let workers = workers.into_iter().map(start).collect();
        let left = Handover::Send { frame, to: PortId(0) };
        engine.inner.shared.desks[0].inbox.push(left).unwrap();
        engine.publish(pods(2)).unwrap();
        assert!(wires[0].pop().is_some());
        loom::stop_exploring();
        gather(&engine, stop(&engine, workers))
    });
}

#[test]
fn nothing_names_a_port_that_has_been_removed() {
    model(0, 2, |umem, pool| {
        let (engine, mut workers) = prepared(2, umem, pool);
        let mut frame = workers[1].pool.take().unwrap();
        assert!(frame.copy_from(&arp(2, 1, 1)));
        let queues = [Slow(None), Slow(Some(frame))].map(|it| Box::new(it) as Box<dyn QueueIo>);
        attach_pods(&engine, &mut workers, queues.into());
        loom::explore();
        let workers = workers.into_iter().map(start).collect();
        engine.remove_port("pod-1").unwrap();
        // The next port of its number would get what is here.
        assert!(engine.inner.shared.desks[0].inbox.is_empty());
        loom::stop_exploring();
        let workers = stop(&engine, workers);
        let totals = engine.totals();
        assert_eq!((totals.rx_frames, totals.tx_frames + totals.dropped_all()), (1, 1));
        gather(&engine, workers)
    });
}

#[test]
fn frames_handed_over_arrive_in_order() {
    model(3, 16, |umem, pool| {
        let (engine, mut workers) = prepared(2, umem, pool);
        let (wires, queues) = wires(2, 2);
        attach_pods(&engine, &mut workers, queues);
        let (first, second) = (arp(1, 2, 1), arp(1, 2, 2));
        assert!(wires[0].push(&first) && wires[0].push(&second));
        loom::explore();
        let mut sender = workers.pop().unwrap();
        let mut receiver = workers.pop().unwrap();
        let sender = spawn_thread(move || {
            turn_until(&mut sender, |_, moved| moved == 2);
            sender
        });
        receiver.turn(Time(0));
        let sender = sender.join().unwrap();
        assert_eq!([wires[1].pop(), wires[1].pop()], [Some(first), Some(second)]);
        gather(&engine, [receiver, sender])
    });
}

#[test]
fn what_does_not_fit_into_an_inbox_is_counted() {
    model(2, 16, |umem, pool| {
        let (engine, mut workers) = prepared(2, umem, pool);
        let (wires, queues) = wires(2, INBOX_LEN + 1);
        attach_pods(&engine, &mut workers, queues);
        for _ in 0..=INBOX_LEN {
            assert!(wires[0].push(&arp(1, 2, 2)));
        }
        loom::explore();
        let sender = workers.pop().map(start).unwrap();
        let mut receiver = workers.pop().unwrap();
        receiver.turn(Time(0));
        engine.inner.control().command(1, Command::Stop).unwrap();
        engine.inner.wake(1);
        let sender = sender.join().unwrap();
        let totals = engine.totals();
        let dropped = totals.dropped(DropReason::HandoverFull);
        assert_eq!((totals.rx_frames, totals.tx_frames + dropped), (3, 3));
        gather(&engine, [receiver, sender])
    });
}

#[test]
fn the_reserve_loses_no_frame() {
    model(1, 24, |umem, pool| {
        let (engine, mut workers) = prepared(3, umem, pool);
        // The first has too many, the others have too few.
        let mut rest: Vec<_> = workers.iter_mut().map(|worker| worker.pool.split_off(8)).collect();
        workers[0].pool.absorb(rest[0].split_off(5));
        loom::explore();
        let workers = workers.into_iter().map(|mut worker| {
            spawn_thread(move || {
                worker.turn(Time(0));
                worker
            })
        });
        let workers: Vec<_> = workers.collect();
        let workers = workers.into_iter().map(|worker| worker.join().unwrap());
        let mut pool = gather(&engine, workers);
        rest.into_iter().for_each(|part| pool.absorb(part));
        pool
    });
}

#[test]
fn a_counter_is_read_as_it_was_at_some_moment() {
    model(3, 1, |_, pool| {
        let counter = Arc::new(Counter::default());
        let sums = [0, 10, 110, 1110];
        loom::explore();
        let writers = if cfg!(mutant = "two_writers") { 2 } else { 1 };
        let writers = (0..writers).map(|_| {
            let counter = Arc::clone(&counter);
            spawn_thread(move || [10, 100, 1000].iter().for_each(|count| counter.add(*count)))
        });
        let writers: Vec<_> = writers.collect();
        // Last, since loom begins with the first, and misses what races with a load that is not
        // the last before a store.
        let reader = spawn_thread({
            let counter = Arc::clone(&counter);
            move || {
                let read = [counter.value(), counter.value(), counter.value()];
                assert!(read.is_sorted() && read.iter().all(|it| sums.contains(it)), "{read:?}");
            }
        });
        reader.join().unwrap();
        let all = writers.len() as u64 * 1110;
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(counter.value(), all, "nothing is lost");
        pool
    });
}

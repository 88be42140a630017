//! Captures without workers: the test offers what is dropped, and says when.

use std::cell::RefCell;

use sluice_xdp::{FramePool, Umem};

use super::*;

thread_local! {
    static POOL: RefCell<FramePool> = RefCell::new(Umem::in_memory(4).unwrap().1);
}

fn spec(count: u64) -> CaptureSpec {
    CaptureSpec {
        ports: Vec::new(),
        reasons: Vec::new(),
        count,
        snap_len: SNAP_LEN_MAX,
        duration: Duration::from_secs(3600),
    }
}

fn begin(captures: &Arc<Captures>, spec: CaptureSpec) -> Capture {
    Capture::begin(captures, Clock::start(), spec).unwrap()
}

fn offer(captures: &Captures, frame: &[u8], worker: usize, time: Time) {
    let reason = DropReason::NoConnection;
    POOL.with_borrow_mut(|pool| {
        let frame = pool.frame_of([frame]).unwrap();
        captures.offer(&Dropped { frame: &frame, port: None, reason, worker, time });
        pool.put(frame);
    });
}

/// The first byte of each frame.
fn firsts(frames: &[DroppedFrame]) -> Vec<u8> {
    frames.iter().map(|frame| frame.bytes[0]).collect()
}

#[test]
fn only_what_is_dropped_while_it_is_on_is_captured() {
    let captures = Arc::default();
    offer(&captures, &[1], 0, Time(0));
    let mut capture = begin(&captures, spec(10));
    offer(&captures, &[2], 0, Time(0));
    assert_eq!(firsts(&capture.take(100)), [2]);
    drop(capture);
    offer(&captures, &[3], 0, Time(0));
    let mut next = begin(&captures, spec(10));
    assert_eq!(next.take(100), []);
    assert!(!next.is_over());
}

#[test]
fn a_frame_is_taken_with_all_that_is_known_of_it() {
    let captures = Arc::default();
    let mut capture = begin(&captures, CaptureSpec { snap_len: 3, ..spec(10) });
    let second = Duration::from_secs(1);
    capture.wall = Wall { time: Time(0) + second, wall: SystemTime::UNIX_EPOCH + second * 100 };
    offer(&captures, &[1, 2, 3, 4, 5], 7, Time(0));
    offer(&captures, &[6], 7, Time(0) + second * 3);
    let first = DroppedFrame {
        time: Time(0),
        wall: SystemTime::UNIX_EPOCH + second * 99,
        port: None,
        reason: DropReason::NoConnection,
        worker: 7,
        len: 5,
        bytes: vec![1, 2, 3],
    };
    let wall = SystemTime::UNIX_EPOCH + second * 102;
    let time = Time(0) + second * 3;
    let last = DroppedFrame { time, wall, len: 1, bytes: vec![6], ..first.clone() };
    assert_eq!(capture.take(1), [first]);
    assert_eq!(capture.take(1), [last]);
}

#[test]
fn it_is_over_after_so_many_frames_however_many_workers_drop_at_once() {
    let captures = Arc::default();
    let mut capture = begin(&captures, spec(1000));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let captures = &captures;
            scope.spawn(move || {
                for number in 0..500u16 {
                    offer(captures, &number.to_be_bytes(), worker, Time(0));
                }
            });
        }
    });
    assert!(!capture.is_over(), "nothing has been taken yet");
    let frames = capture.take(usize::MAX);
    assert_eq!((frames.len(), capture.missed()), (1000, 0));
    assert!(capture.is_over());
    for worker in 0..4 {
        let of_worker: Vec<&[u8]> =
            frames.iter().filter(|it| it.worker == worker).map(|it| &it.bytes[..]).collect();
        assert!(of_worker.windows(2).all(|pair| pair[0] < pair[1]), "in order and none twice");
    }
}

#[test]
fn what_finds_no_room_is_missed_and_ends_nothing() {
    let captures = Arc::default();
    let mut capture = begin(&captures, spec(2000));
    let many = SLOTS_MAX as u64 + 300;
    (0..many).for_each(|_| offer(&captures, &[1], 0, Time(0)));
    assert_eq!(capture.missed(), 300);
    assert_eq!(capture.take(usize::MAX).len(), SLOTS_MAX);
    (0..many).for_each(|_| offer(&captures, &[2], 0, Time(0)));
    let rest = capture.take(usize::MAX);
    assert_eq!(rest.len(), 2000 - SLOTS_MAX);
    assert_eq!(capture.missed(), 300, "what comes after the last frame is not missed");
    assert!(capture.is_over());
}

#[test]
fn it_is_over_when_its_time_is_and_what_came_before_is_taken() {
    let captures = Arc::default();
    let mut capture = begin(&captures, spec(10));
    let ends = capture.ring.ends;
    let later = ends + Duration::from_nanos(1);
    offer(&captures, &[1], 0, ends);
    offer(&captures, &[2], 0, later);
    assert_eq!(capture.take_at(ends, 0), []);
    assert!(!capture.is_over());
    assert_eq!(capture.take_at(later, 0), []);
    assert!(!capture.is_over(), "one has not been taken");
    // A worker whose turn began before the end may drop after it.
    offer(&captures, &[3], 0, ends);
    assert_eq!(firsts(&capture.take_at(later, 10)), [1]);
    assert!(capture.is_over());
}

#[test]
fn as_many_as_may_run_beside_each_other_and_one_more_when_one_ends() {
    let captures = Arc::default();
    let mut running: Vec<Capture> = (0..CAPTURES_MAX).map(|_| begin(&captures, spec(10))).collect();
    let refused = Capture::begin(&captures, Clock::start(), spec(10)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "4 captures are under way, which is the most; let one end first"
    );
    running.remove(1);
    running.push(begin(&captures, spec(10)));
    offer(&captures, &[9], 0, Time(0));
    for capture in &mut running {
        assert_eq!(firsts(&capture.take(10)), [9]);
    }
}

#[test]
fn a_capture_that_ends_under_drops_leaves_nothing_with_the_workers() {
    let captures = Arc::default();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (captures, stop) = (&captures, &stop);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    offer(captures, &[1; 64], worker, Time(0));
                }
            });
        }
        for _ in 0..200 {
            let mut capture = begin(&captures, spec(u64::MAX));
            while capture.take(64).is_empty() {
                std::thread::yield_now();
            }
            capture.end();
            let ring = Arc::downgrade(&capture.ring);
            // What was on its way is still there to be taken; then it never grows again.
            let rest = capture.take(usize::MAX);
            assert!(rest.len() <= SLOTS_MAX && capture.is_over());
            drop(capture);
            assert!(ring.upgrade().is_none(), "a worker still has it");
        }
        stop.store(true, Relaxed);
    });
    assert_eq!(captures.owned.load(Relaxed), 0);
}

#[test]
fn a_frame_of_several_chunks_is_captured_whole_or_up_to_what_is_kept() {
    let all: Vec<u8> = (0..9014u32).map(|n| n.to_le_bytes()[0]).collect();
    for snap_len in [60, 3840, 3841, 9013, 9014, SNAP_LEN_MAX, 65_535] {
        let captures = Arc::default();
        let mut capture = begin(&captures, CaptureSpec { snap_len, ..spec(10) });
        offer(&captures, &all, 0, Time(0));
        let frames = capture.take(1);
        assert_eq!((frames[0].len, &frames[0].bytes[..]), (9014, &all[..snap_len.min(9014)]));
    }
}

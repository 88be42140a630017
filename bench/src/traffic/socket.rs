//! A sender for frames that somebody else builds: an AF_XDP socket.

use std::time::{Duration, Instant};

use sluice_xdp::{BATCH_LEN_MAX, Frame, Interface, Queue, QueueConfig, Umem, UmemConfig};

use crate::rig::BenchError;

/// Sends so many frames at so many a second.
pub(crate) fn send(
    interface: &str,
    mut templates: impl Iterator<Item = Result<Vec<u8>, BenchError>>,
    frames: u64,
    rate: u32,
) -> Result<u64, BenchError> {
    let (umem, mut pool) = Umem::new(&UmemConfig { frame_count: 2048, huge_pages: false })
        .map_err(BenchError::failed("the sender's memory"))?;
    let interface = Interface::open(interface).map_err(BenchError::failed("the sender"))?;
    let mut queue = Queue::bind(&umem, &interface, 0, &QueueConfig::default())
        .map_err(BenchError::failed("the sender's socket"))?;
    let mut batch: Vec<Frame> = Vec::with_capacity(BATCH_LEN_MAX);
    let interval = Duration::from_secs_f64(BATCH_LEN_MAX as f64 / f64::from(rate));
    let mut next = Instant::now();
    let mut sent = 0;
    while sent < frames {
        // A batch that is late is not made up for: that would be another, higher rate.
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        next = (next + interval).max(Instant::now());
        let want = usize::try_from(frames - sent).unwrap_or(BATCH_LEN_MAX).min(BATCH_LEN_MAX);
        while batch.len() < want {
            let (Some(mut frame), Some(template)) = (pool.take(), templates.next()) else { break };
            if !frame.copy_from(&template?) {
                return Err(BenchError::Failed("a frame does not fit into a frame".into()));
            }
            batch.push(frame);
        }
        sent += queue.send(&mut batch) as u64;
        queue.kick().map_err(BenchError::failed("sending"))?;
        queue.complete(&mut pool);
    }
    queue.close(&mut pool);
    Ok(sent)
}

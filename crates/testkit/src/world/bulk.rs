//! Many plain events, for benchmarks: signed on all cores.

use std::num::NonZeroUsize;
use std::thread;

use nostr::event::Event;
use secp256k1::Secp256k1;
use sync_core::time::Jitter;

use super::event::{EventSpec, keys};

/// What [`bulk_events`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkSpec {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many events.
    pub count: usize,
    /// Bytes of content.
    pub content_len: usize,
    /// Their kind.
    pub kind: u16,
    /// Their authors; at least 1.
    pub authors: u64,
    /// The time of the oldest, unix seconds.
    pub start: u64,
    /// How many events share a second; at least 1.
    pub per_second: u64,
}

impl Default for BulkSpec {
    /// 1,000 notes of 600 bytes as JSON, one a second from 2023-11-14, by 16 authors.
    fn default() -> Self {
        Self { seed: 1, count: 1_000, content_len: 246, kind: 1, authors: 16, start: 1_700_000_000, per_second: 1 }
    }
}

/// Signed events, oldest first. What they are doesn't depend on how many cores sign them.
pub fn bulk_events(spec: &BulkSpec) -> Vec<Event> {
    let authors: Vec<_> = (0..spec.authors.max(1)).map(|number| keys(spec.seed, number)).collect();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = spec.count.div_ceil(cores).max(1);
    let places: Vec<usize> = (0..spec.count).collect();
    thread::scope(|scope| {
        let workers: Vec<_> = places
            .chunks(share)
            .map(|places| {
                let authors = &authors;
                scope.spawn(move || {
                    let secp = Secp256k1::signing_only();
                    let made = places.iter().map(|place| {
                        let event = bulk_event(spec, *place as u64);
                        event.sign_with(&secp, &authors[place % authors.len()])
                    });
                    made.collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn bulk_event(spec: &BulkSpec, place: u64) -> EventSpec {
    let mut numbers = Jitter::new(spec.seed ^ place.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut content = String::with_capacity(spec.content_len + 16);
    while content.len() < spec.content_len {
        content.push_str(&format!("{:016x}", numbers.next_u64()));
    }
    content.truncate(spec.content_len);
    EventSpec::new(spec.kind).at(spec.start + place / spec.per_second.max(1)).tag(["t", "bulk"]).content(content)
}

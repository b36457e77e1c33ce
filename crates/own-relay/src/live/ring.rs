//! The newest accepted events, bounded by count and bytes. Whoever reads keeps a place in the feed, and asks for what
//! comes after it; the ring holds nothing for anybody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sync_core::store::FeedSeq;
use tokio::sync::watch;

use super::LiveEvent;

/// The ring, and who is woken when it moves.
pub(crate) struct Ring {
    kept: Mutex<Kept>,
    moved: watch::Sender<FeedSeq>,
    max_events: usize,
    max_bytes: usize,
}

struct Kept {
    events: VecDeque<Arc<LiveEvent>>,
    bytes: usize,
    /// Every event after this place, up to the head, is here.
    floor: FeedSeq,
    head: FeedSeq,
}

/// What lies after a place.
pub(crate) enum Taken {
    /// These; everything up to and including this place has been told with them.
    Events(Vec<Arc<LiveEvent>>, FeedSeq),
    /// The place has left the ring: the store still knows.
    Gone,
}

impl Ring {
    /// An empty ring at a place of the feed.
    pub(crate) fn new(head: FeedSeq, max_events: usize, max_bytes: usize) -> Self {
        let kept = Kept { events: VecDeque::new(), bytes: 0, floor: head, head };
        Self { kept: Mutex::new(kept), moved: watch::Sender::new(head), max_events, max_bytes }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every move of the head.
    pub(crate) fn subscribe(&self) -> watch::Receiver<FeedSeq> {
        self.moved.subscribe()
    }

    /// Adds the next events; everything up to `head` has been told with them.
    pub(crate) fn push(&self, events: Vec<Arc<LiveEvent>>, head: FeedSeq) {
        {
            let mut kept = self.kept();
            for event in events {
                kept.bytes += event.size();
                kept.events.push_back(event);
            }
            kept.head = head;
            while kept.events.len() > self.max_events || kept.bytes > self.max_bytes {
                let Some(oldest) = kept.events.pop_front() else { break };
                kept.bytes -= oldest.size();
                kept.floor = oldest.seq;
            }
        }
        self.moved.send_replace(head);
    }

    /// The next events after `place`, at most `max_events`, and no more once they have `max_bytes`.
    pub(crate) fn after(&self, place: FeedSeq, max_events: usize, max_bytes: usize) -> Taken {
        let kept = self.kept();
        if place < kept.floor {
            return Taken::Gone;
        }
        let first = kept.events.partition_point(|event| event.seq <= place);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for event in kept.events.range(first..) {
            if taken.len() == max_events || bytes >= max_bytes {
                let upto = event.seq - 1;
                return Taken::Events(taken, upto);
            }
            bytes += event.json.len();
            taken.push(Arc::clone(event));
        }
        Taken::Events(taken, kept.head.max(place))
    }
}

#[cfg(test)]
mod tests {
    use testkit::world::{keys, sign};

    use super::*;

    fn event(seq: FeedSeq) -> Arc<LiveEvent> {
        Arc::new(LiveEvent::new(seq, Arc::new(sign(&keys(1, 1), 1, seq, [], ""))))
    }

    fn taken(ring: &Ring, place: FeedSeq, max: usize) -> Option<(Vec<FeedSeq>, FeedSeq)> {
        match ring.after(place, max, usize::MAX) {
            Taken::Events(events, upto) => Some((events.iter().map(|event| event.seq).collect(), upto)),
            Taken::Gone => None,
        }
    }

    #[test]
    fn a_reader_is_told_everything_after_its_place_or_that_it_is_gone() {
        let ring = Ring::new(10, 3, usize::MAX);
        assert_eq!(taken(&ring, 10, 9), Some((vec![], 10)));
        assert_eq!(taken(&ring, 9, 9), None);
        ring.push(vec![event(11), event(13)], 14);
        assert_eq!(taken(&ring, 10, 9), Some((vec![11, 13], 14)));
        assert_eq!(taken(&ring, 10, 1), Some((vec![11], 12)));
        assert_eq!(taken(&ring, 12, 9), Some((vec![13], 14)));
        assert_eq!(taken(&ring, 20, 9), Some((vec![], 20)), "a place ahead stays where it is");
        ring.push(vec![event(15), event(16)], 16);
        assert_eq!(taken(&ring, 10, 9), None, "11 was pushed out");
        assert_eq!(taken(&ring, 11, 9), Some((vec![13, 15, 16], 16)));
    }

    #[test]
    fn bytes_bound_it_too() {
        let ring = Ring::new(0, 100, event(1).size() * 2);
        ring.push((1..=5).map(event).collect(), 5);
        assert_eq!(taken(&ring, 2, 9), None);
        assert_eq!(taken(&ring, 3, 9), Some((vec![4, 5], 5)));
    }
}

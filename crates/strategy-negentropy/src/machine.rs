//! NIP-77 as the side that asks: payload in, payload out. Knows no relay, clock or limit of patience.
//!
//! A range is a fingerprint, or few ids. Where fingerprints differ, the range is split; where the other side lists its
//! ids, the range is settled. The other side keeps nothing between messages, and neither does this one but for its
//! items: each message says all that is still open, in ascending order.

use std::ops::Range;

use sync_core::nostr::event::EventId;
use sync_core::strategy::{ItemKey, Window};

use crate::local::Local;
use crate::wire::{self, Content, Writer};

/// Pieces that a range is split into.
const PIECES: usize = 16;
/// Items from which a range is split; fewer are listed.
const SPLIT_FROM: usize = 2 * PIECES;
/// How often, on average, the other side may list the range that an item lies in; once is what it takes.
const MAX_LISTED: u64 = 16;

/// One reconciliation.
pub(crate) struct Machine {
    local: Local,
    frame_size_limit: usize,
    /// Local items in ranges that were listed, all rounds together.
    listed: u64,
}

/// What a payload comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// What to send next; `None` where nothing is left to ask.
    pub(crate) reply: Option<Vec<u8>>,
    /// What the other side has and we have not: one entry for each listed range, with the seconds that the range
    /// touches, the ids ascending. `u64::MAX` where the range has no end.
    pub(crate) needs: Vec<(Window, Vec<EventId>)>,
    /// What we have and the other side has not, in ascending order of the items; no item is named twice.
    pub(crate) haves: Vec<EventId>,
}

/// A range, and which local items lie in it.
struct Span {
    start: ItemKey,
    end: ItemKey,
    items: Range<usize>,
}

impl Span {
    /// The whole seconds that it touches, if any.
    fn window(&self) -> Option<Window> {
        // A bound without an id ends before its second.
        let until = match self.end {
            ItemKey { created_at: u64::MAX, .. } => u64::MAX,
            ItemKey { created_at, id } if id == [0; 32] => created_at.saturating_sub(1),
            ItemKey { created_at, .. } => created_at,
        };
        (self.start < self.end).then_some(Window { since: self.start.created_at, until })
    }
}

impl Machine {
    /// A reconciliation of `local` that sends at most `frame_size_limit` bytes at once, 4096 or more.
    pub(crate) fn new(local: Local, frame_size_limit: usize) -> Self {
        Self { local, frame_size_limit, listed: 0 }
    }

    /// The first payload.
    pub(crate) fn initiate(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.split(&mut out, &Span { start: ItemKey::MIN, end: ItemKey::MAX, items: 0..self.local.len() });
        out.finish().unwrap_or_default()
    }

    /// Takes the other side's answer. The work is linear in the payload, apart from listed items, which are bounded
    /// over all rounds.
    ///
    /// # Errors
    /// What is wrong with the payload. Nothing of it counts, and the reconciliation is over.
    pub(crate) fn reconcile(&mut self, payload: &[u8]) -> Result<Round, &'static str> {
        let mut out = Writer::new();
        let mut round = Round::default();
        let (mut start, mut first) = (ItemKey::MIN, 0);
        for range in wire::ranges(payload)? {
            let span = Span { start, end: range.end, items: first..self.local.find(first, range.end) };
            (start, first) = (span.end, span.items.end);
            match range.content {
                Content::Skip => {}
                Content::Fingerprint(theirs) => {
                    let ours = self.local.fingerprint(span.items.clone());
                    if theirs != ours && !self.ask(&mut out, &span) {
                        break;
                    }
                }
                Content::Ids(ids) => self.settle(&span, ids, &mut round)?,
            }
        }
        round.reply = out.finish();
        Ok(round)
    }

    /// What both sides have, once nothing is left to ask: how many items, and the second of the oldest. All that the
    /// other side was not found to lack.
    pub(crate) fn shared(&self) -> (u64, Option<u64>) {
        self.local.untold()
    }

    /// Asks for what differs in `span`. False where the frame is full: then everything from its start on is asked as
    /// one range, and what else the payload says of it must not count, since it will be said again.
    ///
    /// Where no local item is left, that range is an empty list, never a fingerprint of nothing. Responders older than
    /// `negentropy` 0.5.3, and those of its origin in other languages, may cut their own frame within a range whose
    /// fingerprint differs, and fingerprint only what lies beyond that range as the rest. It can equal ours only where we
    /// have nothing in the range: their items there would never be named.
    fn ask(&self, out: &mut Writer, span: &Span) -> bool {
        let mark = out.mark();
        out.skip_to(span.start);
        self.split(out, span);
        if out.len() + Writer::SKIP_MOST + Writer::REST <= self.frame_size_limit {
            return true;
        }
        out.reset(mark);
        // Whoever reads it takes the last bound written for its start: that has to be this one.
        out.skip_to(span.start);
        let rest = span.items.start..self.local.len();
        if rest.is_empty() {
            out.ids(ItemKey::MAX, &[]);
        } else {
            out.fingerprint(ItemKey::MAX, self.local.fingerprint(rest));
        }
        false
    }

    fn split(&self, out: &mut Writer, span: &Span) {
        let Range { start, end } = span.items;
        let count = end - start;
        if count < SPLIT_FROM {
            return out.ids(span.end, self.local.items(start..end));
        }
        for piece in 0..PIECES {
            let from = start + piece * count / PIECES;
            let to = start + (piece + 1) * count / PIECES;
            let bound = if to == end { span.end } else { self.local.bound_before(to) };
            out.fingerprint(bound, self.local.fingerprint(from..to));
        }
    }

    fn settle(&mut self, span: &Span, ids: &[[u8; 32]], round: &mut Round) -> Result<(), &'static str> {
        self.listed += span.items.len() as u64;
        if self.listed > MAX_LISTED * self.local.len() as u64 {
            return Err("it lists the same ranges again and again");
        }
        let mut theirs = ids.to_vec();
        theirs.sort_unstable();
        theirs.dedup();
        let mut shared = vec![false; theirs.len()];
        for at in span.items.clone() {
            let id = self.local.items(at..at + 1)[0].id;
            match theirs.binary_search(&id) {
                Ok(place) => shared[place] = true,
                Err(_) if self.local.tell(at) => round.haves.push(EventId::from_byte_array(id)),
                Err(_) => {}
            }
        }
        let needs: Vec<_> = theirs
            .into_iter()
            .zip(shared)
            .filter(|(_, shared)| !shared)
            .map(|(id, _)| EventId::from_byte_array(id))
            .collect();
        if !needs.is_empty() {
            round.needs.push((span.window().ok_or("it lists ids in a range that holds none")?, needs));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sync_core::strategy::{VecSet, fingerprint_of};

    use super::*;

    const LIMIT: usize = 4_096;

    fn key(created_at: u64, number: u64) -> ItemKey {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&number.to_be_bytes());
        ItemKey { created_at, id }
    }

    fn machine(items: impl IntoIterator<Item = ItemKey>) -> Machine {
        let set: VecSet = items.into_iter().collect();
        Machine::new(Local::copy(&set, 0), LIMIT)
    }

    fn read(payload: &[u8]) -> Vec<(ItemKey, Content<'_>)> {
        wire::ranges(payload).expect("well-formed").map(|range| (range.end, range.content)).collect()
    }

    #[test]
    fn few_items_are_listed_and_many_are_split() {
        let payload = machine((0..31).map(|n| key(n, n))).initiate();
        let ids: Vec<_> = (0..31).map(|n| key(n, n).id).collect();
        assert_eq!(read(&payload), [(ItemKey::MAX, Content::Ids(&ids))]);

        let payload = machine((0..35).map(|n| key(n, n))).initiate();
        let ranges = read(&payload);
        assert_eq!(ranges.len(), PIECES);
        assert_eq!(ranges[0], (key(2, 0), Content::Fingerprint(fingerprint_of([key(0, 0).id, key(1, 1).id]))));
        assert_eq!(ranges[PIECES - 1].0, ItemKey::MAX);
    }

    #[test]
    fn a_dense_second_is_split_by_ids() {
        let payload = machine((0..1_000).map(|n| key(7, n))).initiate();
        let ends: Vec<_> = read(&payload).into_iter().map(|(end, _)| end).collect();
        assert!(ends.is_sorted_by(|a, b| a < b));
        assert!(ends[..PIECES - 1].iter().all(|end| end.created_at == 7));
    }

    /// A payload in which each of the seconds up to `seconds` differs.
    fn all_differ(seconds: u64) -> Vec<u8> {
        let mut out = Writer::new();
        for second in 1..=seconds {
            out.fingerprint(key(second, 0), [9; 16]);
        }
        out.fingerprint(ItemKey::MAX, [9; 16]);
        out.finish().expect("ranges")
    }

    #[test]
    fn a_full_frame_ends_with_one_fingerprint_of_the_rest() {
        let items: Vec<_> = (0..4_000).map(|n| key(n / 10, n)).collect();
        let round = machine(items.iter().copied()).reconcile(&all_differ(400)).expect("well-formed");
        let reply = round.reply.expect("much differs");
        assert!(reply.len() <= LIMIT && reply.len() > LIMIT - 500, "{}", reply.len());
        let ranges = read(&reply);
        let (start, _) = ranges[ranges.len() - 2];
        let rest = fingerprint_of(items.iter().filter(|item| **item >= start).map(|item| item.id));
        assert_eq!(ranges[ranges.len() - 1], (ItemKey::MAX, Content::Fingerprint(rest)));
    }

    #[test]
    fn a_rest_without_items_is_an_empty_list() {
        let reply =
            machine([key(5, 5)]).reconcile(&all_differ(3_000)).expect("well-formed").reply.expect("much differs");
        assert!(reply.len() <= LIMIT);
        assert_eq!(read(&reply).last(), Some(&(ItemKey::MAX, Content::Ids(&[]))));
    }

    #[test]
    fn what_is_settled_before_a_full_frame_is_not_asked_again() {
        let mut out = Writer::new();
        for second in 0..3_000 {
            out.ids(key(second * 2 + 1, 0), &[]);
            out.fingerprint(key(second * 2 + 2, 0), [9; 16]);
        }
        let payload = out.finish().expect("ranges");
        let mut machine = machine((0..6_000).map(|n| key(n, n)));
        let round = machine.reconcile(&payload).expect("well-formed");
        let reply = round.reply.expect("much differs");
        let asked: Vec<_> = read(&reply);
        let settled = round.haves.len() as u64;
        // The last item told is that of an even second; the rest starts right after it.
        assert_eq!(asked[asked.len() - 2], (key(settled * 2 - 1, 0), Content::Skip));
        assert_eq!(machine.shared(), (6_000 - settled, Some(1)));
        assert_eq!(machine.reconcile(&payload).expect("well-formed").haves, [], "no item is told twice");
    }
}

//! What follows when a piece's session has ended and all that it brought up is settled: a verification round, a probe,
//! a look for what wasn't served, the claim that its window is drained; and the ends of parts and batches.

use nostr::filter::Filter;

use super::machine::RelayLink;
use super::memory::{Of, RelayMemory, Scope, Share};
use super::narrow;
use super::part::Carried;
use super::piece::{At, Dense, Drains, Piece, Ripe, Span, Stage};
use super::running::LazyView;
use super::windows::merged;
use super::{LinkNotice, LinkOutput};
use crate::model::{BatchId, BatchOutcome, BatchReport, FailureReason, FilterCoverage, Layer, RelayUrl};
use crate::store::LocalSets;
use crate::strategy::Window;
use crate::time::Now;

/// Verification rounds of one piece (SPEC §7).
const MAX_VERIFICATIONS: u32 = 2;
/// Windows of one piece that are read for ids that weren't served.
const MAX_CHASES: usize = 16;
/// How often coverage is told, milliseconds.
const TELL_EVERY_MS: u64 = 1_000;

/// What becomes of a second that is too dense.
enum Narrowed {
    /// Narrower filters ask for it.
    Asked,
    /// There is nothing more to ask, and nothing of it is missing.
    Whole,
    /// Something of it is missing.
    NoWay,
}

impl RelayLink {
    /// Moves on pieces whose sessions have ended, and ends parts and batches that are done.
    pub(super) fn conclude(&mut self, local: &dyn LocalSets, now: Now) {
        self.claim_drained(now);
        for at in self.places() {
            let Some(piece) = self.piece(at) else { continue };
            match piece.stage {
                Stage::Settling if piece.is_settled() => self.settle(at, local, now),
                Stage::Probing if piece.is_settled() && piece.to_probe.is_empty() => self.probed(at, local, now),
                _ => {}
            }
        }
        let done: Vec<BatchId> = self
            .batches
            .iter()
            .filter(|(_, carried)| carried.parts.iter().all(super::part::Part::is_done))
            .map(|(id, _)| *id)
            .collect();
        for id in done {
            if let Some(carried) = self.batches.remove(&id) {
                self.report(carried, local);
            }
        }
        self.tell_coverage(now);
    }

    /// Takes over the claims that have become true in the meantime: page by page where a strategy reads.
    pub(super) fn claim_drained(&mut self, now: Now) {
        // What is drained in both directions is known at the end alone.
        if self.config.direction.up() {
            return;
        }
        for at in self.places() {
            let Some(place) = self.piece(at).map(|piece| piece.span.strategy) else { continue };
            // What was compared is drained when everything that follows from it has been done, too.
            if !self.compares(at.batch, place) {
                let Some(Ripe { windows, ahead }) = self.piece(at).map(|piece| piece.ripe(false)) else { continue };
                self.claim(at, windows, ahead, now);
                self.claim_ahead(at, now);
            }
        }
    }

    /// Everything of `windows` is here that the relay shows for a piece's filter. `ahead`: a record of it is on its way.
    fn claim(&mut self, at: At, windows: Vec<Window>, ahead: bool, now: Now) {
        if windows.is_empty() {
            return;
        }
        match self.piece(at).map_or(Drains::Nothing, |piece| piece.span.drains()) {
            Drains::Part => self.cover(at, &windows, ahead, now),
            Drains::Share => {
                let kept = self.keep(at, |memory, of, run| memory.drained(of, &windows, run, ahead), now);
                if kept == Some(true)
                    && let Some(part) = self.part(at)
                {
                    part.shares_drained += windows.len() as u64;
                }
            }
            Drains::Nothing => {}
        }
    }

    /// What is claimed of a piece, and waits for its events to be committed, is committed with them: nothing of it is read
    /// again where the process dies in between.
    fn claim_ahead(&mut self, at: At, now: Now) {
        let Some((windows, events)) = self.piece(at).and_then(Piece::unripe) else { return };
        let write = self.keep(at, |memory, of, run| memory.claim_ahead(of, &windows, run, events), now).flatten();
        self.out.extend(write.map(|write| LinkOutput::Persist(vec![write])));
    }

    /// Has something kept of a piece, where its batch resumes and it says something of a filter. `keep` is told when the batch
    /// began, and the present: unix seconds.
    pub(super) fn keep<T>(
        &mut self,
        at: At,
        keep: impl FnOnce(&mut RelayMemory, Of<'_>, (u64, u64)) -> T,
        now: Now,
    ) -> Option<T> {
        let (scope, dry_run) = (self.scope(at.batch), self.config.dry_run);
        let carried = self.batches.get(&at.batch)?;
        let part = carried.parts.get(at.part)?;
        let span = &part.pieces.get(&at.piece)?.span;
        let (filter, share) = match span.drains() {
            Drains::Part => (&part.filter, false),
            Drains::Share => (&span.filter, true),
            Drains::Nothing => return None,
        };
        carried.request.run_since.filter(|_| !dry_run)?;
        Some(keep(&mut self.memory, Of { filter, scope, share }, (carried.begun, now.unix_s)))
    }

    /// `windows` of a part's filter are drained, and everything of them is stored. `ahead`: a record of it is on its way.
    fn cover(&mut self, at: At, windows: &[Window], ahead: bool, now: Now) {
        let (scope, dry_run) = (self.scope(at.batch), self.config.dry_run);
        let Some(carried) = self.batches.get_mut(&at.batch) else { return };
        let (run, begun, part) = (carried.request.run_since, carried.begun, &mut carried.parts[at.part]);
        part.cover(windows.iter().copied());
        if run.is_some() && !dry_run {
            let of = Of { filter: &part.filter, scope, share: false };
            self.memory.drained(of, windows, (begun, now.unix_s), ahead);
        }
        self.to_tell.insert(at.batch);
    }

    pub(super) fn scope(&self, batch: BatchId) -> Scope {
        let free = self.batches.get(&batch).is_some_and(|carried| carried.request.layer == Layer::Free);
        Scope { up: self.config.direction.up(), free }
    }

    /// Everything that a piece's session brought up is settled.
    fn settle(&mut self, at: At, local: &dyn LocalSets, now: Now) {
        let fetches = self.config.direction.down() && !self.config.dry_run;
        let Some(piece) = self.piece(at) else { return };
        if piece.handed_on {
            return self.end_piece(at);
        }
        let (place, failed, fresh) = (piece.span.strategy, piece.failed, piece.fresh_needs);
        let verifies = piece.verifications;
        let compares = self.compares(at.batch, place);
        if compares && fetches && fresh > 0 && !failed {
            if verifies < MAX_VERIFICATIONS {
                if let Some(piece) = self.piece(at) {
                    piece.verifications += 1;
                    piece.stage = Stage::Waiting;
                }
                return self.touch();
            }
            let text = format!("the second verification round still found {fresh} new ids");
            return self.fall_back(at, FailureReason::Protocol, &text, false);
        }
        self.chase(at);
        if compares && self.needs_probe(at) {
            return self.begin_probe(at);
        }
        self.finish(at, local, now);
    }

    pub(super) fn compares(&self, batch: BatchId, place: usize) -> bool {
        self.strategy_at(batch, place).is_some_and(|at| self.config.strategies[at].descriptor().compares_sets)
    }

    /// Ids that were offered and not served are looked for once more, by reading the narrow windows that showed them.
    fn chase(&mut self, at: At) {
        let Some(carried) = self.batches.get(&at.batch) else { return };
        let reads =
            |at: &usize| !self.unsupported.contains(at) && !self.config.strategies[*at].descriptor().compares_sets;
        let reader = carried.order.iter().position(reads);
        let Some(part) = self.part(at) else { return };
        let Some(piece) = part.pieces.get_mut(&at.piece) else { return };
        // Whoever named them has read the window itself otherwise.
        let reader = reader.filter(|reader| *reader != piece.span.strategy);
        if piece.suspects.is_empty() || piece.span.chase {
            return;
        }
        let fresh = piece.suspects.iter().filter(|(id, _)| !part.suspects.contains(id));
        let (ids, windows): (Vec<_>, Vec<_>) = fresh.map(|(id, within)| (*id, *within)).unzip();
        let filter = piece.span.filter.clone();
        part.suspects.extend(ids);
        if let Some(strategy) = reader {
            let narrow = merged(windows, MAX_CHASES).into_iter();
            let span = |window| Span { chase: true, ..Span::new(filter.clone(), window, strategy) };
            part.todo.extend(narrow.map(span));
        }
    }

    /// The piece has done what it can: its window is drained, but for what is known to be missing of it.
    pub(super) fn finish(&mut self, at: At, local: &dyn LocalSets, now: Now) {
        let relay = self.config.relay.clone();
        let Some(piece) = self.piece(at) else { return };
        let span = piece.span.clone();
        let undecided = piece.undecided.map(|second| Window { since: second, until: second });
        let missing: Vec<Window> = piece.suspects.values().copied().chain(undecided).collect();
        let failed_itself = piece.failed;
        let Ripe { windows, ahead } = piece.ripe(true);
        let (dense, records) = (std::mem::take(&mut piece.dense), piece.records());
        // What isn't served keeps a second from being whole.
        let failed = piece.failed || !piece.suspects.is_empty();
        let counts = span.seen.filter(|_| !piece.stood_for);
        let seen = counts.map(|question| (question, records.max(piece.shown.len() as u64)));
        // What was compared and failed afterwards may have been cut short anywhere: what was read stands page by page.
        if !(failed_itself && self.compares(at.batch, span.strategy)) {
            let claims = windows.into_iter().flat_map(|window| window.without(missing.iter().copied())).collect();
            self.claim(at, claims, ahead, now);
        }
        if let Some(strategy) = self.strategy_at(at.batch, span.strategy) {
            let name = self.config.strategies[strategy].descriptor().name.clone();
            let mut learnt = self.memory.learnt(&name);
            if let Some(part) = self.part(at)
                && !span.chase
                && span.share_of.is_none()
            {
                let ours = LazyView { local, filter: &span.filter, window: span.window, relay: &relay };
                part.pace.grow(span.window, records, &ours, &mut learnt);
            }
            self.memory.learn(&name, learnt);
        }
        let mut shares = false;
        for dense in dense.into_values().filter(|_| !span.chase) {
            match self.split_dense(at, dense, &relay, local) {
                Narrowed::Asked => shares = true,
                Narrowed::Whole if span.drains() == Drains::Part => {
                    let second = Window { since: dense.second, until: dense.second };
                    self.cover(at, &[second], false, now);
                }
                Narrowed::Whole | Narrowed::NoWay => {}
            }
        }
        let Some(part) = self.part(at) else { return };
        if let Some(second) = span.share_of
            && !shares
            && part.share_ended(second, failed, seen) == Some(true)
        {
            self.cover(at, &[Window { since: second, until: second }], false, now);
        }
        self.end_piece(at);
    }

    /// A second holds more than was shown of it, or may: narrower filters ask for it, by the filter's own values, then by
    /// those that were seen.
    fn split_dense(&mut self, at: At, dense: Dense, relay: &RelayUrl, local: &dyn LocalSets) -> Narrowed {
        let Dense { second, shown, certain } = dense;
        let Some(span) = self.piece(at).map(|piece| piece.span.clone()) else { return Narrowed::NoWay };
        let Span { filter, strategy, share_of, seen, beyond, .. } = span;
        // One strategy was told that there are more than another one was shown.
        let certain = certain || beyond.is_some_and(|beyond| shown <= beyond);
        // Where a question is asked, what its shares show is counted: all of them are asked for.
        let open = match seen {
            None => narrow::open_shares(&filter, &self.known_shares(at.batch, second)),
            Some(_) => narrow::open_shares(&filter, &|_| Share::Open),
        };
        let (filters, proves) = match open {
            Some(shares) => ([shares.last, shares.open].concat(), true),
            None if self.part(at).is_some_and(|part| part.may_look_up(share_of.is_some())) => {
                (narrow::by_values_seen(&filter, second, relay, local), false)
            }
            None => return Narrowed::NoWay,
        };
        if proves && filters.is_empty() {
            // Earlier connections have brought all of it.
            return Narrowed::Whole;
        }
        let Some(part) = self.part(at) else { return Narrowed::NoWay };
        let nothing_narrower = filters.is_empty();
        let splits = !nothing_narrower && part.split(second, filters.len() as u64, share_of.is_some(), shown);
        if certain && !(proves && splits) {
            part.doubt(second, shown);
        }
        if !splits {
            // Where nothing narrower can be asked, and nothing says that there is more, there isn't.
            return if certain || !nothing_narrower { Narrowed::NoWay } else { Narrowed::Whole };
        }
        let seen = if proves { seen } else { seen.or_else(|| part.question(second, shown, None)) };
        let window = Window { since: second, until: second };
        let span = |filter| Span { share_of: Some(second), seen, ..Span::new(filter, window, strategy) };
        part.todo.extend(filters.into_iter().map(span));
        Narrowed::Asked
    }

    /// What is known of the shares of a second.
    pub(super) fn known_shares(&self, batch: BatchId, second: u64) -> impl Fn(&Filter) -> Share {
        let scope = self.scope(batch);
        let resumes = self.batches.get(&batch).is_some_and(|carried| carried.request.run_since.is_some());
        let resumes = resumes && !self.config.dry_run;
        move |filter| if resumes { self.memory.share(filter, scope, second) } else { Share::Open }
    }

    fn end_piece(&mut self, at: At) {
        if let Some(part) = self.part(at) {
            part.pieces.remove(&at.piece);
        }
        self.to_tell.insert(at.batch);
        self.touch();
    }

    /// Tells how far the batches have come, once in a while.
    fn tell_coverage(&mut self, now: Now) {
        if self.to_tell.is_empty() || now.mono_ms < self.told_at.saturating_add(TELL_EVERY_MS) {
            return;
        }
        self.told_at = now.mono_ms;
        self.memory.settle_ahead();
        for batch in std::mem::take(&mut self.to_tell) {
            if let Some(carried) = self.batches.get(&batch) {
                let filters = coverage(carried);
                self.out.push_back(LinkOutput::Notice(LinkNotice::Coverage { batch, filters }));
            }
        }
    }

    /// The end of a batch: what it couldn't complete is named, what it drained is kept where it isn't whole.
    pub(super) fn report(&mut self, mut carried: Carried, local: &dyn LocalSets) {
        let relay = self.config.relay.clone();
        for part in &mut carried.parts {
            let suspects: Vec<_> = std::mem::take(&mut part.suspects).into_iter().collect();
            // What can't be looked up counts as missing.
            let known = local.known(&suspects).unwrap_or_else(|_| vec![None; suspects.len()]);
            for (id, _) in suspects.iter().zip(known).filter(|(_, known)| known.is_none()) {
                part.count_not_served(*id);
            }
            let filter = part.filter.clone();
            part.finish(|second| narrow::count(&filter, second, &relay, local));
        }
        let coverage = coverage(&carried);
        let badness = carried.badness();
        let Carried { request, parts, methods, counts, fallbacks, .. } = carried;
        let scope = Scope { up: self.config.direction.up(), free: request.layer == Layer::Free };
        let filters: Vec<_> = parts.iter().map(|part| part.filter.clone()).collect();
        let failures: Vec<_> = parts.into_iter().flat_map(|part| part.failures).chain(badness).collect();
        if failures.is_empty() && request.run_since.is_some() && !self.config.dry_run {
            filters.iter().for_each(|filter| self.memory.finished(filter, scope));
        }
        let outcome = if failures.is_empty() { BatchOutcome::Confirmed } else { BatchOutcome::Failed(failures) };
        let report = BatchReport { id: request.id, outcome, methods, counts, fallbacks, coverage };
        self.memory.settle_ahead();
        self.persist();
        self.out.push_back(LinkOutput::BatchDone(Box::new(report)));
    }

    /// Hands on what changed of the relay's memory.
    pub(super) fn persist(&mut self) {
        let writes = self.memory.take_writes();
        if !writes.is_empty() {
            self.out.push_back(LinkOutput::Persist(writes));
        }
    }
}

/// What is drained of a batch; the filters that aren't whole first.
fn coverage(carried: &Carried) -> Vec<FilterCoverage> {
    let all = carried.parts.iter().map(super::part::Part::coverage);
    let (open, whole): (Vec<_>, Vec<_>) = all.partition(|filter| !filter.open.is_empty());
    open.into_iter().chain(whole).take(FilterCoverage::MAX_FILTERS).collect()
}

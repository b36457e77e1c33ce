//! Whether what a sync ended with is true: nothing is missing that isn't named, and nothing is missing without a cause.

use std::collections::BTreeSet;
use std::sync::Arc;

use nostr::event::{Event, EventId};
use sync_core::model::{Failure, FailureReason};
use sync_core::strategy::{Direction, SyncStrategy};

use super::Promise;
use super::case::{Case, matches};
use crate::relay::{Faults, RelayCore};
use crate::store::MemoryStore;

/// What is known of the strategies that carried a case.
pub(super) struct Chain {
    /// The first compares sets.
    reconciles_first: bool,
    /// One of them does.
    reconciles: bool,
    /// One of them reads.
    reads: bool,
    promise: Promise,
}

impl Chain {
    pub(super) fn new(strategies: &[Arc<dyn SyncStrategy>], promise: Promise) -> Self {
        let mut compare = strategies.iter().map(|strategy| strategy.descriptor().compares_sets);
        Self {
            reconciles_first: compare.clone().next() == Some(true),
            reconciles: compare.clone().any(|compares| compares),
            reads: compare.any(|compares| !compares),
            promise,
        }
    }
}

/// # Errors
/// What isn't true.
pub(super) fn judge(
    case: &Case,
    chain: &Chain,
    core: &RelayCore,
    store: &MemoryStore,
    failures: &[Failure],
) -> Result<(), String> {
    let here: BTreeSet<EventId> = store.events().iter().map(|event| event.id).collect();
    let withheld = &case.faults.withheld;
    let serves = |event: &&Event| matches(&case.filter, event);
    for event in case.remote.iter().filter(serves).filter(|event| !here.contains(&event.id)) {
        let (id, second) = (event.id, event.created_at.as_secs());
        if (withheld.contains(&id) && !compares(case, chain)) || is_hidden(case, chain, second) {
            // It was neither shown nor named: nobody can know of it.
            continue;
        }
        if !failures.iter().any(|failure| explains(failure, &id, second)) {
            return Err(format!("{id} of second {second} is missing, and nothing says so: {failures:?}"));
        }
    }
    if case.direction == Direction::Both && failures.is_empty() {
        let lacks = |event: &&Event| !core.has(&event.id);
        if let Some(event) = case.local.iter().filter(serves).find(lacks) {
            return Err(format!("{} was not offered to the relay", event.id));
        }
    }
    if let Some(failure) = failures.first().filter(|_| can_be_whole(case, chain)) {
        return Err(format!("nothing stands in the way of everything, and yet: {failure:?}"));
    }
    Ok(())
}

/// Whether a failure names what is missing.
fn explains(failure: &Failure, id: &EventId, second: u64) -> bool {
    match &failure.reason {
        FailureReason::NotServed { ids, count } => ids.contains(id) || *count > ids.len() as u64,
        _ => failure.window.is_none_or(|window| window.contains(second)),
    }
}

/// Whether a second can be cut by a reconciliation without a trace: it holds as much as a page shows, so that reading doesn't
/// tell either. What comes after the end of a page is lost in any case.
fn is_hidden(case: &Case, chain: &Chain, second: u64) -> bool {
    let of_second = |event: &&Event| matches(&case.filter, event) && event.created_at.as_secs() == second;
    let cut = case.faults.truncate_negentropy.is_some() && chain.reconciles;
    case.faults.events_after_eose > 0 || (cut && case.remote.iter().filter(of_second).count() >= page(case))
}

/// The most events that the relay serves at once.
fn page(case: &Case) -> usize {
    let Case { options, faults, .. } = case;
    options.max_limit.min(faults.max_limit.unwrap_or(usize::MAX)).min(faults.page_cap.unwrap_or(usize::MAX))
}

/// Whether reconciliations show ids that are withheld.
fn compares(case: &Case, chain: &Chain) -> bool {
    let Faults { no_negentropy, truncate_negentropy, too_big, .. } = &case.faults;
    let cut = truncate_negentropy.is_some() || too_big.is_some();
    chain.reconciles_first && no_negentropy.is_none() && !cut
}

/// Whether the wire allows for everything: no fault that loses, and no second too dense for what is left.
fn can_be_whole(case: &Case, chain: &Chain) -> bool {
    let faults = &case.faults;
    let lossy = !faults.withheld.is_empty()
        || faults.drop_after.is_some_and(|drop| drop.times.is_none())
        || faults.rate_limit.is_some()
        || faults.max_subscriptions.is_some()
        || faults.forget_negentropy_after.is_some()
        || faults.events_after_eose > 0;
    let page =
        case.options.max_limit.min(faults.max_limit.unwrap_or(usize::MAX)).min(faults.page_cap.unwrap_or(usize::MAX));
    let reads = chain.reads;
    let reconciles = chain.reconciles && faults.no_negentropy.is_none();
    // A page that may hold more than the densest second shows that it was not cut; one more tells the end of it.
    // As many in one second as a cap that nobody told may well be are taken for one.
    let like_a_cap = case.densest >= 100 && (case.densest.is_power_of_two() || case.densest.is_multiple_of(50));
    let pages_suffice = reads && case.densest < page && !like_a_cap && !faults.unordered;
    let too_big = faults.too_big.is_some_and(|too_big| (too_big.cap as usize) < case.densest);
    let truncated = faults.truncate_negentropy.is_some_and(|most| most <= case.densest);
    let windows_suffice = reconciles && !too_big && !truncated && !faults.unordered;
    let drops = faults.drop_after.is_some();
    chain.promise == Promise::Whole && !lossy && !drops && (pages_suffice || windows_suffice) && (reads || reconciles)
}

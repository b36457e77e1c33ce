//! What a seed stands for: two sets, a filter and a window, a relay and what is wrong with it.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use nostr::event::{Event, EventId};
use sync_core::Now;
use sync_core::strategy::{
    Direction, ItemKey, RelayProfile, SessionRequest, Suitability, SyncStrategy, VecSet, Window,
};
use sync_core::time::Jitter;

use super::narrowing;
use crate::history::{Case, START, filter, matches};
use crate::relay::{Faults, RelayCore, RelayOptions};
use crate::sim::Dice;

/// Filters that are drawn for a strategy that doesn't suit all.
const DRAWS: usize = 24;
/// Sets that are drawn until the relay has something; but for one seed in so many, which takes the first.
const DRAWS_OF_SETS: u64 = 6;
const EMPTY_EVERY: u64 = 8;

/// The moment at which sessions begin.
pub(super) const BEGIN: Now = Now { mono_ms: 1_000, unix_s: START };

/// How a relay ends its stored events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageEnd {
    Eose,
    /// `["CLOSED", sub, ""]` (chorus).
    Closed,
}

/// What the local set does while a session is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sets {
    Still,
    /// What is delivered and named comes in, sooner or later.
    Grows,
    /// Each input finds another one.
    Shifts,
}

/// One session's world.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) request: SessionRequest,
    pub(super) local: Vec<Event>,
    pub(super) remote: Vec<Event>,
    pub(super) options: RelayOptions,
    pub(super) faults: Faults,
    pub(super) page_end: PageEnd,
    pub(super) sets: Sets,
    /// How long the relay takes over a frame at most, milliseconds.
    pub(super) slow_ms: u64,
}

impl Scene {
    /// The scene of a seed, with a filter that suits `strategy`; `None` where none of those that were drawn does.
    pub(super) fn new(seed: u64, strategy: &Arc<dyn SyncStrategy>) -> Option<Self> {
        // Where the relay has nothing, there is little to see.
        let mut drawn = (0..DRAWS_OF_SETS).filter_map(|draw| Self::of(Case::new(seed ^ (draw << 40)), seed, strategy));
        let first = drawn.next()?;
        let empty = |scene: &Self| scene.served().next().is_none();
        if seed.is_multiple_of(EMPTY_EVERY) || !empty(&first) {
            return Some(first);
        }
        Some(drawn.find(|scene| !empty(scene)).unwrap_or(first))
    }

    fn of(case: Case, seed: u64, strategy: &Arc<dyn SyncStrategy>) -> Option<Self> {
        let mut dice = Dice(Jitter::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xc0f0));
        let mut profile = case.profile;
        if dice.one_in(6) {
            profile.max_message_length = Some([16_384, 65_536, 131_072][dice.below(3)]);
        }
        let suits = |filter: &_| strategy.suits(&profile, filter) == Suitability::Suits;
        let drawn = std::iter::once(case.filter).chain(std::iter::repeat_with(|| filter(&mut dice)).take(DRAWS));
        let filter = drawn.into_iter().find(suits)?;
        let span = [3, 60, 5_000, 10_000_000][dice.below(4)];
        let at = |dice: &mut Dice| match case.remote.get(dice.below(case.remote.len().max(1))) {
            Some(event) => event.created_at.as_secs(),
            None => START - 1 - dice.within(0, span),
        };
        let (one, other) = (at(&mut dice), at(&mut dice));
        let window = match dice.below(8) {
            0 => Window { since: one, until: one },
            1 => Window { since: one.min(other), until: one.max(other) },
            2 => Window { since: one, until: u64::MAX },
            3 => Window { since: 0, until: START + 900 },
            _ => Window::ALL,
        };
        let direction = case.direction;
        let drained = if direction.up() || !dice.one_in(4) {
            Vec::new()
        } else {
            let window = |dice: &mut Dice| {
                let since = START - 1 - dice.within(0, span);
                Window { since, until: since + dice.within(0, span / 3) }
            };
            (0..=dice.below(3)).map(|_| window(&mut dice)).collect()
        };
        let request = SessionRequest {
            filter,
            window,
            drained,
            remembered: Vec::new(),
            profile,
            direction,
            proven: dice.one_in(3),
            seed,
        };
        let page_end = if dice.one_in(8) { PageEnd::Closed } else { PageEnd::Eose };
        Some(Self {
            seed,
            request,
            local: case.local,
            remote: case.remote,
            options: case.options,
            faults: case.faults,
            page_end,
            sets: if dice.one_in(3) { Sets::Grows } else { Sets::Still },
            slow_ms: [0, 30, 30, 20_000][dice.below(4)],
        })
    }

    /// The same, with a relay that lies, too.
    pub(super) fn dishonest(mut self) -> Self {
        let mut dice = Dice(Jitter::new(self.seed ^ 0x11e5));
        let every = |dice: &mut Dice| NonZeroU64::new(dice.within(1, 6));
        match dice.below(6) {
            0 => self.faults.wrong_id_every = every(&mut dice),
            1 => self.faults.mismatch_every = every(&mut dice),
            2 => self.faults.ignore_until = true,
            3 => self.faults.oldest_first = true,
            4 => self.faults.invalid_json_every = every(&mut dice),
            _ => self.faults.stall_after = Some(dice.within(0, 60)),
        }
        self
    }

    /// The same, with a relay that has no faults and shows all, and nothing drained before.
    pub(super) fn plain(mut self) -> Self {
        self.faults = Faults::default();
        self.page_end = PageEnd::Eose;
        self.slow_ms = 30;
        self.request.drained.clear();
        self
    }

    /// The relay, as it is at the start.
    pub(super) fn relay(&self) -> RelayCore {
        let core = RelayCore::new(RelayOptions { events: self.remote.clone(), ..self.options.clone() });
        core.set_faults(|faults| *faults = self.faults.clone());
        core
    }

    /// The local events that the session is about.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Event> {
        self.local.iter().filter(|event| self.is_about(event))
    }

    /// What the relay serves of what the session is about.
    pub(super) fn served(&self) -> impl Iterator<Item = &Event> {
        self.remote.iter().filter(|event| self.is_about(event))
    }

    /// The local set at the start.
    pub(super) fn set(&self) -> Arc<VecSet> {
        Arc::new(self.ours().map(key).collect())
    }

    /// Whether the relay leaves out events without a trace: nobody can know of them.
    pub(super) fn hides(&self) -> bool {
        self.faults.events_after_eose > 0 || self.faults.truncate_negentropy.is_some()
    }

    pub(super) fn withheld(&self) -> &BTreeSet<EventId> {
        &self.faults.withheld
    }

    fn is_about(&self, event: &Event) -> bool {
        let bounds = narrowing::bounds(&self.request.filter, self.request.window);
        bounds.contains(event.created_at.as_secs()) && matches(&self.request.filter, event)
    }

    /// In words, for a finding.
    pub(super) fn told(&self) -> String {
        let Self { request, local, remote, options, faults, page_end, sets, slow_ms, .. } = self;
        let SessionRequest { filter, window, drained, profile, direction, proven, .. } = request;
        let RelayProfile { max_limit, max_message_length, .. } = profile;
        format!(
            "{} local, {} remote, filter {}, {window:?}, drained {drained:?}, {direction:?}, proven {proven}, \
             says max_limit {max_limit:?} and max_message_length {max_message_length:?}; pages of {} end by {page_end:?}, \
             frames of {}, hint {}, up to {slow_ms} ms a frame, faults {}; the local set: {sets:?}",
            local.len(),
            remote.len(),
            serde_json::to_string(filter).unwrap_or_default(),
            options.max_limit,
            options.frame_limit,
            options.eose_hint,
            told_of(faults),
        )
    }

    /// Whether events are to come to us.
    pub(super) fn down(&self) -> bool {
        self.request.direction.down()
    }

    /// Whether events are to go to the relay.
    pub(super) fn up(&self) -> bool {
        matches!(self.request.direction, Direction::Up | Direction::Both)
    }
}

pub(super) fn key(event: &Event) -> ItemKey {
    ItemKey::new(event.created_at.as_secs(), &event.id)
}

/// The faults that there are.
fn told_of(faults: &Faults) -> String {
    let fields = |faults: &Faults| match serde_json::to_value(faults) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let none = fields(&Faults::default());
    let mut some = fields(faults);
    some.retain(|name, value| none.get(name) != Some(value));
    serde_json::Value::Object(some).to_string()
}

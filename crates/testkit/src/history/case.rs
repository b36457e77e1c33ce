//! What a seed stands for: two sets, a filter, a relay and what is wrong with it, and what happens on the way.

use std::collections::BTreeSet;

use nostr::event::{Event, EventId, Kind, Signature, Tag, Tags};
use nostr::filter::{Filter, SingleLetterTag};
use nostr::key::PublicKey;
use nostr::types::Timestamp;
use sync_core::strategy::{Direction, RelayProfile};
use sync_core::time::Jitter;

use crate::relay::{DropAfter, Faults, NoNegentropy, RateLimit, RateLimitAnswer, RelayOptions, TooBig, TooBigWording};
use crate::sim::Dice;

/// The moment at which a case begins, unix seconds; every event is older.
pub(crate) const START: u64 = 1_700_000_000;

/// Kinds of which every event is kept: the newest doesn't replace the others.
const KINDS: [u16; 4] = [1, 2, 4, 6];

/// Which strategies are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategies {
    Both,
    Negentropy,
    Req,
}

/// One case.
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) local: Vec<Event>,
    pub(crate) remote: Vec<Event>,
    pub(crate) filter: Filter,
    pub(crate) direction: Direction,
    pub(crate) strategies: Strategies,
    pub(crate) options: RelayOptions,
    pub(crate) faults: Faults,
    pub(crate) profile: RelayProfile,
    /// The most events of one second that the relay holds for the filter, with what may go up.
    pub(crate) densest: usize,
    /// Steps at which our process is killed, and how many of its commits are lost.
    pub(crate) kills: BTreeSet<u64>,
    /// Commits take this many steps at most.
    pub(crate) slow: u64,
    pub(crate) dice: Dice,
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(Jitter::new(seed));
        let filter = filter(&mut dice);
        let most = [0, 5, 20, 60, 100, 200][dice.below(6)];
        let count = dice.below(most + 1);
        let shape = dice.below(6);
        let span = [3, 60, 5_000, 10_000_000][dice.below(4)];
        let dense = START - 1 - dice.within(0, span);
        let sides = dice.below(5);
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        for number in 0..count as u64 {
            let at = match shape {
                0 | 1 => START - 1 - dice.within(0, span),
                2 => START - 1 - dice.within(0, 5) * (span / 6 + 1) - dice.within(0, 2),
                3 if dice.below(3) > 0 => dense,
                4 => dense,
                _ => START - 1 - dice.within(0, span),
            };
            let event = event(&mut dice, seed, number, at);
            let (ours, theirs) = match sides {
                0 => (false, true),
                1 => (dice.one_in(20), true),
                2 => (true, dice.one_in(20)),
                _ => [(true, true), (true, true), (false, true), (true, false)][dice.below(4)],
            };
            local.extend(ours.then(|| event.clone()));
            remote.extend(theirs.then_some(event));
        }
        let ids: Vec<EventId> = remote.iter().map(|event| event.id).collect();
        let page = [3, 7, 20, 100, 500][dice.below(5)];
        let options = RelayOptions {
            verify: false,
            default_limit: page,
            max_limit: page,
            frame_limit: [0, 4_096, 60_000][dice.below(3)],
            eose_hint: dice.one_in(5),
            ..RelayOptions::default()
        };
        let mut faults = Faults::default();
        for _ in 0..[0, 1, 1, 2, 3][dice.below(5)] {
            fault(&mut dice, &mut faults, &ids, count);
        }
        let mut profile = RelayProfile::default();
        match dice.below(3) {
            0 => profile.max_limit = Some(page),
            1 if page >= 10 && dice.one_in(4) => profile.max_limit = Some(page * 2),
            // A cap that is never told and below ten can't be told from the end of what there is.
            _ if page < 10 => profile.max_limit = Some(page),
            _ => {}
        }
        let kills = (0..if dice.one_in(3) { dice.below(4) } else { 0 }).map(|_| dice.within(1, 200)).collect();
        let matching = |event: &&Event| matches(&filter, event);
        let mut seconds = std::collections::BTreeMap::<u64, usize>::new();
        let direction = if dice.one_in(5) { Direction::Both } else { Direction::Down };
        // What goes up fills seconds, too.
        let ours = local.iter().filter(|event| direction.up() && !remote.contains(event));
        for event in remote.iter().chain(ours).filter(matching) {
            *seconds.entry(event.created_at.as_secs()).or_default() += 1;
        }
        Self {
            seed,
            densest: seconds.into_values().max().unwrap_or(0),
            local,
            remote,
            direction,
            strategies: [Strategies::Both, Strategies::Both, Strategies::Negentropy, Strategies::Req][dice.below(4)],
            options,
            faults,
            profile,
            kills,
            slow: [0, 3, 30][dice.below(3)],
            filter,
            dice,
        }
    }
}

pub(crate) fn matches(filter: &Filter, event: &Event) -> bool {
    filter.match_event(event, nostr::filter::MatchEventOptions::new())
}

pub(crate) fn filter(dice: &mut Dice) -> Filter {
    let filter = match dice.below(6) {
        0 | 1 => Filter::new(),
        2 => Filter::new().kinds(KINDS.into_iter().take(1 + dice.below(KINDS.len())).map(Kind::from_u16)),
        3 => Filter::new().authors((0..=dice.within(0, 3)).map(author)),
        4 => {
            Filter::new().custom_tags(SingleLetterTag::LOWERCASE_T, ["a", "b", "c"].into_iter().take(dice.below(3) + 1))
        }
        _ => Filter::new().kinds([Kind::from_u16(1), Kind::from_u16(2)]).authors((0..3).map(author)),
    };
    match dice.below(8) {
        0 => filter.since(Timestamp::from_secs(START - dice.within(1, 5_000))),
        1 => filter.until(Timestamp::from_secs(START - dice.within(1, 50))),
        _ => filter,
    }
}

fn author(number: u64) -> PublicKey {
    PublicKey::from_byte_array([number as u8 + 1; 32])
}

/// An event that nobody verifies: its id is right, its signature is none.
fn event(dice: &mut Dice, seed: u64, number: u64, at: u64) -> Event {
    let (author, kind) = (author(dice.within(0, 3)), Kind::from_u16(KINDS[dice.below(KINDS.len())]));
    let tags = Tags::from_list(match dice.below(4) {
        0 => Vec::new(),
        tag => vec![Tag::custom("t", [["a", "b", "c"][tag - 1]])],
    });
    let at = Timestamp::from_secs(at);
    let content = format!("{seed} {number}");
    let id = EventId::compute(&author, &at, &kind, &tags, &content);
    Event::new(id, author, at, kind, tags, content, Signature::from_byte_array([0; 64]))
}

fn fault(dice: &mut Dice, faults: &mut Faults, ids: &[EventId], count: usize) {
    let part = |dice: &mut Dice| 1 + dice.below(count.max(1));
    match dice.below(17) {
        0 | 1 => {
            let wording = [TooBigWording::FourthElement, TooBigWording::Bare, TooBigWording::Prose][dice.below(3)];
            faults.too_big = Some(TooBig { cap: part(dice) as u64, wording });
        }
        2 | 3 => faults.truncate_negentropy = Some(10 + part(dice) / 2),
        4 => faults.no_negentropy = Some(NoNegentropy::ALL[dice.below(NoNegentropy::ALL.len())]),
        5 => faults.max_negentropy = Some(1 + dice.below(3)),
        6 => faults.forget_negentropy_after = Some(dice.within(1, 4)),
        7 => faults.max_limit = Some(10 + dice.below(20)),
        8 => faults.page_cap = Some(10 + dice.below(20)),
        9 => faults.unordered = true,
        10 => faults.repeat_eose = true,
        11 => faults.closed_after_ids = true,
        12 => faults.events_after_eose = dice.below(3),
        13 => faults.withheld = ids.iter().filter(|_| dice.one_in(8)).copied().collect(),
        14 => {
            let times = if dice.one_in(3) { None } else { Some(dice.within(1, 4)) };
            faults.drop_after = Some(DropAfter { frames: dice.within(1, 80), times });
        }
        15 => {
            let answer =
                [RateLimitAnswer::Closed, RateLimitAnswer::Notice, RateLimitAnswer::NoticeAndDrop][dice.below(3)];
            faults.rate_limit = Some(RateLimit { after: dice.within(1, 20), per_ms: 60_000, answer });
        }
        _ => faults.max_subscriptions = Some(1 + dice.below(4)),
    }
}

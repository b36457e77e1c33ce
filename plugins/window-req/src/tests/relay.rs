//! A relay that is a vector of events.

use strategy_abi::testing::NOW;
use strategy_abi::{Item, Window};

/// splitmix64
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(super) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// Which events a relay shows where it doesn't show all, and in which order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    NewestFirst,
    NewestShuffled,
    OldestFirst,
    AnyShuffled,
    AnySorted,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Eose,
    Twice,
    Closed,
    Hint,
}

#[derive(Debug, Clone)]
pub(super) struct Relay {
    pub(super) events: Vec<Item>,
    pub(super) cap: usize,
    pub(super) order: Order,
    pub(super) end: End,
    /// Events are left out beyond the cap.
    pub(super) comes_short: bool,
    /// Invalid events before every answer.
    pub(super) junk: u64,
    /// Events are sent twice.
    pub(super) repeats: bool,
}

impl Relay {
    pub(super) fn new(events: Vec<Item>, cap: usize) -> Self {
        let (order, end) = (Order::NewestFirst, End::Eose);
        Self { events, cap, order, end, comes_short: false, junk: 0, repeats: false }
    }

    /// What it sends, and whether that is all.
    pub(super) fn answer(&self, asked: Window, limit: u64, random: &mut Random) -> (Vec<Item>, bool) {
        let within = |event: &&Item| (asked.since..=asked.until).contains(&event.created_at);
        let mut page: Vec<Item> = self.events.iter().filter(within).copied().collect();
        let matching = page.len();
        page.sort_unstable_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
        match self.order {
            Order::OldestFirst => page.reverse(),
            Order::AnyShuffled | Order::AnySorted => shuffle(&mut page, random),
            Order::NewestFirst | Order::NewestShuffled => {}
        }
        page.truncate(self.cap.min(limit as usize));
        if self.comes_short {
            page.truncate(page.len() - random.below(page.len() as u64) as usize);
        }
        match self.order {
            Order::AnySorted => page.sort_unstable_by_key(|event| std::cmp::Reverse(event.created_at)),
            Order::NewestShuffled => shuffle(&mut page, random),
            _ => {}
        }
        let whole = page.len() == matching;
        if self.repeats {
            let again: Vec<_> = page.iter().filter(|_| random.one_in(2)).copied().collect();
            page.extend(again);
        }
        (page, whole)
    }
}

pub(super) fn shuffle(events: &mut [Item], random: &mut Random) {
    for at in (1..events.len()).rev() {
        events.swap(at, random.below(at as u64 + 1) as usize);
    }
}

pub(super) fn item(created_at: u64, number: u64) -> Item {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&Random(number).next().to_be_bytes());
    id[24..].copy_from_slice(&number.to_be_bytes());
    Item { created_at, id }
}

pub(super) fn events(random: &mut Random) -> Vec<Item> {
    let shape = random.below(6);
    let count = [0, 1, 30, 100, 200, 200][shape as usize];
    let (span, newest) = ([60, 3_000, 40_000_000][random.below(3) as usize], NOW - random.below(1_000_000));
    let at = |random: &mut Random| match shape {
        4 if !random.one_in(4) => newest - 700,
        5 => newest - random.below(12) * span / 12 - random.below(3),
        _ => newest - random.below(span),
    };
    (0..count).map(|number| item(at(random), number)).collect()
}

pub(super) fn relay(random: &mut Random) -> Relay {
    let events = events(random);
    let orders = [Order::NewestFirst, Order::NewestShuffled, Order::OldestFirst, Order::AnyShuffled, Order::AnySorted];
    let cap = if random.one_in(5) { usize::MAX } else { 1 + random.below(40) as usize };
    Relay {
        cap,
        order: orders[random.below(5) as usize],
        end: [End::Eose, End::Twice, End::Closed, End::Hint][random.below(4) as usize],
        comes_short: false,
        junk: if random.one_in(4) { random.below(3) } else { 0 },
        repeats: random.one_in(5),
        events,
    }
}

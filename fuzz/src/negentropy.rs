//! A responder that answers a reconciliation with anything.

use std::collections::VecDeque;

use strategy_negentropy::NegentropyStrategy;
use sync_core::Now;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    Direction, Input, ItemKey, Message, Output, RelayProfile, SessionRequest, StrategyConfig, SyncStrategy, VecSet,
    Window,
};

/// Outputs that one message may lead to, and ids that it may bring up: a message of that size can name no more.
const MAX_OUTPUTS: usize = 100_000;

/// The first byte is the size of our set, the second the length of each message that follows, in eights. Nothing may panic;
/// what is sent stays below the frame limit, and no more ids are needed than the message has bytes for.
pub fn negentropy(data: &[u8]) {
    let [size, length, rest @ ..] = data else { return };
    let items = (0..u64::from(*size)).map(|n| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        ItemKey { created_at: 1_000 + n / 3, id }
    });
    let local: VecSet = items.collect();
    let strategy = NegentropyStrategy::from_config(&StrategyConfig::Object(serde_json::Map::new())).expect("defaults");
    let mut session = strategy.open(SessionRequest {
        filter: Filter::new(),
        window: Window { since: 0, until: 1_700_000_000 },
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction: Direction::Both,
        proven: false,
        seed: 1,
    });
    let now = Now { mono_ms: 1_000, unix_s: 1_700_000_000 };
    if session.handle(Input::Start, &local, now).is_err() {
        return;
    }
    let mut messages: VecDeque<&[u8]> = rest.chunks(usize::from(*length).max(1) * 8).collect();
    let mut told = 0;
    loop {
        for _ in 0..=MAX_OUTPUTS {
            match session.poll() {
                None => break,
                Some(Output::Need { ids, .. } | Output::Have(ids)) => told += ids.len(),
                Some(Output::Send(Message::NegOpen { payload, .. } | Message::NegMsg { payload, .. })) => {
                    assert!(payload.len() <= 60_000, "{} bytes out", payload.len());
                }
                Some(Output::Done(_)) => return,
                Some(_) => {}
            }
        }
        // Ours may be told as lacking once a message.
        assert!(told <= rest.len() / 32 + (usize::from(*size) + 1) * (rest.len() + 1), "{told} ids");
        let Some(payload) = messages.pop_front() else { return };
        if session.handle(Input::NegMsg { sub: 0, payload }, &local, now).is_err() {
            return;
        }
    }
}

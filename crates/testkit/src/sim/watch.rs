//! What must hold of every frame that we send, and of what is kept.

use nostr::event::EventId;
use sync_core::store::{EventStore, LocalSets};

use super::queue::Wire;
use super::shell::Sim;

/// What a connection may hold: what may wait for the store, a message more, and the ids of all there is.
const MAX_HELD: usize = 1 << 20;

impl Sim {
    /// Nothing is asked in a cool-down (SPEC §12); nothing is fetched by its id that is here (SPEC §8).
    pub(super) fn watch_what_is_sent(&mut self, place: usize, text: &str) {
        let asks = ["[\"REQ\"", "[\"NEG-OPEN\"", "[\"NEG-MSG\"", "[\"EVENT\"", "[\"COUNT\""];
        if asks.iter().any(|ask| text.starts_with(ask))
            && let Err(broken) = self.judge.backoff.ask(place, self.ms)
        {
            self.broke(format!("relay{place} {broken}: {}", text.chars().take(200).collect::<String>()));
        }
        // A probe asks on purpose for what is here: whether the relay has it after all.
        if !text.starts_with("[\"REQ\"") || text.starts_with("[\"REQ\",\"p") {
            return;
        }
        let ids = ids_of(text);
        let known = self.store.known(&ids).unwrap_or_default();
        if let Some((id, _)) = ids.iter().zip(&known).find(|(_, known)| known.is_some()) {
            let text = text.chars().take(200).collect::<String>();
            self.broke(format!("relay{place} is asked for {}, which is known: {text}", self.describe(id)));
        }
    }

    /// What a relay makes us hold is bounded, whatever it sends.
    pub(super) fn watch_the_memory(&mut self, wire: Wire) {
        let Some(peer) = self.peer(wire) else { return };
        let held = peer.link.held_bytes() + peer.bytes_waiting;
        if held > MAX_HELD {
            self.broke(format!("relay{}: {held} bytes are held", wire.relay));
        }
        self.summary.most_held = self.summary.most_held.max(held as u64);
    }

    /// How many events and how many rows of the rejected index there are.
    pub(super) fn store_size(&self) -> (u64, u64) {
        let (hot, cold) = self.store.rejected_count().unwrap_or_default();
        (self.store.event_count().unwrap_or_default(), hot + cold)
    }

    /// The rejected index holds no more than it may, and what the last commit added: a row for each of its events, and for
    /// each that left the store because of them.
    pub(super) fn watch_the_rejected(&mut self, events: u64, before: (u64, u64)) {
        let (stored, rows) = self.store_size();
        let left = (before.0 + events).saturating_sub(stored);
        let most = self.plan.climate.intake.max_rejected + events + left;
        if rows > most && rows > before.1 {
            self.broke(format!("{rows} rows in the rejected index, {most} may be: it had {}", before.1));
        }
    }
}

/// The ids that a REQ names.
fn ids_of(text: &str) -> Vec<EventId> {
    let Ok(serde_json::Value::Array(words)) = serde_json::from_str(text) else { return Vec::new() };
    let ids = words.iter().filter_map(|word| word.get("ids")?.as_array()).flatten();
    ids.filter_map(|id| EventId::from_hex(id.as_str()?).ok()).collect()
}

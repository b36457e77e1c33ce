//! A session of sync-core behind the boundary.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use strategy_abi::export::MAX_OUTPUTS;
use strategy_abi::{Input, Item, Output, Request, Session, Set};
use sync_core::Now;
use sync_core::nostr::event::EventId;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    self as ours, ItemKey, KeyRange, Message, ProtocolError, SessionRequest, SetView, SyncSession, SyncStrategy, Window,
};

use crate::narrow::narrow;
use crate::words;

/// Ids of one output.
const CHUNK: usize = 10_000;

/// A session that speaks the boundary's words.
pub struct Adapted {
    session: Box<dyn SyncSession>,
    filter: Filter,
    window: Window,
    outputs: VecDeque<Output>,
}

impl Adapted {
    pub(crate) fn open(strategy: &dyn SyncStrategy, request: Request) -> Result<Self, String> {
        let filter = words::filter(&request.filter)?;
        let window = words::window(request.window);
        let session = strategy.open(SessionRequest {
            filter: filter.clone(),
            window,
            drained: request.drained.into_iter().map(words::window).collect(),
            remembered: request.remembered,
            profile: words::profile(&request.profile),
            direction: words::direction(request.direction),
            proven: request.proven,
            seed: request.seed,
        });
        Ok(Self { session, filter, window, outputs: VecDeque::new() })
    }

    /// Takes what the session yields.
    fn drain(&mut self) -> Result<(), String> {
        while let Some(output) = self.session.poll() {
            if self.outputs.len() > MAX_OUTPUTS {
                return Err(format!("yields more than {MAX_OUTPUTS} outputs at once"));
            }
            let output = match output {
                ours::Output::Send(message) => self.message(message)?,
                ours::Output::Need { ids, within } => {
                    let within = words::window_back(within);
                    let chunks = words::ids(ids);
                    let needs = chunks.chunks(CHUNK).map(|ids| Output::Need { ids: ids.to_vec(), within });
                    self.outputs.extend(needs);
                    continue;
                }
                ours::Output::Have(ids) => {
                    self.outputs.extend(words::ids(ids).chunks(CHUNK).map(|ids| Output::Have(ids.to_vec())));
                    continue;
                }
                ours::Output::Shared { count, oldest } => Output::Shared { count, oldest },
                ours::Output::Dense { second, shown, certain } => Output::Dense { second, shown, certain },
                ours::Output::Drained(window) => Output::Drained(words::window_back(window)),
                ours::Output::Remember(bytes) => Output::Remember(bytes),
                ours::Output::Progress { items } => Output::Progress(items),
                ours::Output::Done(outcome) => Output::Done(words::outcome(outcome)),
            };
            self.outputs.push_back(output);
        }
        Ok(())
    }

    fn message(&self, message: Message) -> Result<Output, String> {
        Ok(match message {
            Message::Req { sub, filter } => {
                let narrow = narrow(&self.filter, self.window, &filter)?;
                Output::Req { sub, narrow, limit: filter.limit.map_or(0, |limit| limit as u64) }
            }
            Message::Close { sub } => Output::Close { sub },
            Message::NegOpen { sub, filter, payload } => {
                Output::NegOpen { sub, narrow: narrow(&self.filter, self.window, &filter)?, payload }
            }
            Message::NegMsg { sub, payload } => Output::NegMsg { sub, payload },
            Message::NegClose { sub } => Output::NegClose { sub },
        })
    }

    fn give(&mut self, input: ours::Input<'_>, set: &Set<'_>, now: Now) -> Result<(), ProtocolError> {
        self.session.handle(input, &View(set), now)
    }
}

impl Session for Adapted {
    fn handle(&mut self, input: Input<'_>, set: &Set<'_>, mono_ms: u64, unix_s: u64) -> Result<(), String> {
        let now = Now { mono_ms, unix_s };
        let result = match input {
            Input::Start => self.give(ours::Input::Start, set, now),
            Input::Event { sub, id, created_at, verdict } => {
                let (id, verdict) = (EventId::from_byte_array(id), words::check(verdict));
                self.give(ours::Input::Event { sub, id, created_at, verdict }, set, now)
            }
            Input::Eose { sub, finished } => self.give(ours::Input::Eose { sub, finished }, set, now),
            Input::Closed { sub, meaning, text, cap, names_negentropy } => {
                let said = words::said(meaning, text, cap, names_negentropy);
                self.give(ours::Input::Closed { sub, said: &said }, set, now)
            }
            Input::NegMsg { sub, payload } => self.give(ours::Input::NegMsg { sub, payload }, set, now),
            Input::NegErr { sub, meaning, text, cap, names_negentropy } => {
                let said = words::said(meaning, text, cap, names_negentropy);
                self.give(ours::Input::NegErr { sub, said: &said }, set, now)
            }
            Input::Notice { meaning, text, cap, names_negentropy } => {
                let said = words::said(meaning, text, cap, names_negentropy);
                self.give(ours::Input::Notice { said: &said }, set, now)
            }
            Input::Timeout => self.give(ours::Input::Timeout, set, now),
            Input::ConnectionLost => self.give(ours::Input::ConnectionLost, set, now),
        };
        let drained = self.drain();
        result.map_err(|ProtocolError(text)| text).and(drained)
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_timeout(&self) -> Option<(u64, &'static str)> {
        self.session.next_timeout()
    }
}

/// The host's set, as sync-core sees one.
struct View<'a>(&'a Set<'a>);

fn item(key: ItemKey) -> Item {
    Item { created_at: key.created_at, id: key.id }
}

fn key(item: Item) -> ItemKey {
    ItemKey { created_at: item.created_at, id: item.id }
}

impl SetView for View<'_> {
    fn count(&self, range: KeyRange) -> u64 {
        self.0.count(item(range.start), item(range.end))
    }

    fn fingerprint(&self, range: KeyRange) -> [u8; 16] {
        self.0.fingerprint(item(range.start), item(range.end))
    }

    fn items(&self, range: KeyRange, visit: &mut dyn FnMut(ItemKey) -> ControlFlow<()>) {
        self.0.items(item(range.start), item(range.end), |item| visit(key(item)));
    }

    fn split(&self, range: KeyRange, parts: usize) -> Vec<ItemKey> {
        self.0.split(item(range.start), item(range.end), parts).into_iter().map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use strategy_abi::testing::{Local, request};
    use sync_core::strategy::{RelayProfile, SessionHints, StrategyDescriptor, Suitability};

    use super::*;

    /// Its sessions yield without an end.
    struct Endless(StrategyDescriptor);

    struct Yields;

    impl SyncStrategy for Endless {
        fn descriptor(&self) -> &StrategyDescriptor {
            &self.0
        }

        fn hints(&self) -> SessionHints {
            SessionHints { concurrency: 1, fetch_chunk: 1, answer_timeout_ms: 1 }
        }

        fn suits(&self, _: &RelayProfile, _: &Filter) -> Suitability {
            Suitability::Suits
        }

        fn open(&self, _: SessionRequest) -> Box<dyn SyncSession> {
            Box::new(Yields)
        }
    }

    impl SyncSession for Yields {
        fn handle(&mut self, _: ours::Input<'_>, _: &dyn SetView, _: Now) -> Result<(), ProtocolError> {
            Ok(())
        }

        fn poll(&mut self) -> Option<ours::Output> {
            Some(ours::Output::Have(vec![EventId::from_byte_array([1; 32])]))
        }

        fn next_timeout(&self) -> Option<(u64, &'static str)> {
            None
        }
    }

    #[test]
    fn what_yields_without_an_end_is_stopped() {
        let (name, version) = (sync_core::model::SyncMethod::new("endless"), "1".to_owned());
        let strategy = Endless(StrategyDescriptor { name, version, compares_sets: true, probes_alone: false });
        let window = strategy_abi::Window { since: 0, until: 9 };
        let mut session = Adapted::open(&strategy, request(window)).expect("opened");
        let stopped = Local::default().with(|set| session.handle(Input::Start, set, 1, 1));
        assert_eq!(stopped, Err("yields more than 100001 outputs at once".to_owned()));
        assert!(std::iter::from_fn(|| session.poll()).count() > MAX_OUTPUTS, "more than the host takes");
    }
}

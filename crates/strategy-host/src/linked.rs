//! Both sides of the boundary in one program: everything that can go over it goes over it once, there and back. No library is
//! loaded, so Miri can watch.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::json;
use strategy_abi::{self as abi, Id, Item, Level, Narrow, Reason, Settings, Strategy, ffi};
use sync_core::Now;
use sync_core::model::FailureReason;
use sync_core::nostr::event::{EventId, Kind};
use sync_core::nostr::filter::Filter;
use sync_core::nostr::key::PublicKey;
use sync_core::response::{SaidIn, classify};
use sync_core::strategy::{
    BadEvent, CheckVerdict, Direction, Input, ItemKey, Message, Output, RelayProfile, SessionOutcome, SessionRequest,
    Suitability, SyncSession, SyncStrategy, VecSet, Window,
};

use crate::{Limits, Plugin, Unusable};

const NOW: Now = Now { mono_ms: 1_000, unix_s: 500 };
const ALL: abi::Window = abi::Window { since: 10, until: 99 };

/// Tells what it is told, in what it remembers, and does what `how` says.
struct Echo(String);

struct Session {
    how: String,
    request: abi::Request,
    told: Vec<String>,
    out: VecDeque<abi::Output>,
    deadline: Option<u64>,
}

impl Strategy for Echo {
    const NAME: &'static str = "echo";
    const VERSION: &'static str = "1.2.3";
    const COMPARES_SETS: bool = true;
    type Session = Session;

    fn configure(settings: &Settings<'_>) -> Result<Self, abi::ConfigError> {
        let how = settings.text("how")?.unwrap_or("echo").to_owned();
        match how.as_str() {
            "wrong" => {
                Err(abi::ConfigError { key: "how".into(), value: "\"wrong\"".into(), allowed: "be right".into() })
            }
            _ => Ok(Self(how)),
        }
    }

    fn suits(&self, profile: &abi::Profile, filter: &abi::Filter) -> Result<(), String> {
        match self.0.as_str() {
            "no" => Err(format!("{profile:?} {filter:?}")),
            _ => Ok(()),
        }
    }

    fn open(&self, request: abi::Request, host: &abi::Host<'_>) -> Result<Session, String> {
        if self.0 == "shut" {
            return Err("it is shut".to_owned());
        }
        host.log(Level::Debug, "opens");
        let how = self.0.clone();
        Ok(Session { how, request, told: Vec::new(), out: VecDeque::new(), deadline: None })
    }
}

impl abi::Session for Session {
    fn handle(&mut self, input: abi::Input<'_>, set: &abi::Set<'_>, mono_ms: u64, unix_s: u64) -> Result<(), String> {
        let span = set.host().span("handle");
        set.host().log(Level::Info, "told");
        self.told.push(format!("{input:?} {mono_ms} {unix_s}"));
        self.deadline = Some(mono_ms + 1_000);
        match (self.how.as_str(), input) {
            ("panic", _) => panic!("it was to panic"),
            ("error", abi::Input::Eose { .. }) => return Err("that is no answer".to_owned()),
            (_, abi::Input::Start) => {
                self.told.push(format!("{:?}", self.request));
                let mut items = Vec::new();
                set.items(Item::MIN, Item::MAX, |item| {
                    items.push((item.created_at, item.id[0]));
                    ControlFlow::Continue(())
                });
                let split = set.split(Item::MIN, Item::MAX, 2);
                let print = set.fingerprint(Item::MIN, Item::MAX);
                self.told.push(format!("{} {items:?} {split:?} {print:?}", set.count(Item::MIN, Item::MAX)));
                let narrow = Narrow { kinds: Some(vec![1]), authors: Some(vec![[2; 32]]), ids: None, window: ALL };
                self.out.push_back(abi::Output::Req { sub: 1, narrow, limit: 7 });
                self.out.push_back(abi::Output::NegOpen { sub: 2, narrow: Narrow::to(ALL), payload: vec![0x61] });
            }
            (_, abi::Input::NegMsg { payload, .. }) => {
                self.out.push_back(abi::Output::NegMsg { sub: 2, payload: payload.to_vec() });
                self.out
                    .push_back(abi::Output::Need { ids: vec![[9; 32]], within: abi::Window { since: 20, until: 30 } });
                self.out.push_back(abi::Output::Have(vec![[8; 32], [7; 32]]));
                self.out.push_back(abi::Output::Shared { count: 3, oldest: Some(11) });
                self.out.push_back(abi::Output::Progress(1));
                self.out.push_back(abi::Output::NegClose { sub: 2 });
            }
            (_, abi::Input::Eose { sub: 1, .. }) => {
                self.out.push_back(abi::Output::Dense { second: 12, shown: 4, certain: true });
                self.out.push_back(abi::Output::Close { sub: 1 });
            }
            (_, abi::Input::ConnectionLost) => {
                self.out.push_back(abi::Output::Remember(self.told.join("\n").into_bytes()));
                let reason = Reason::NotServed { ids: vec![[9; 32]], count: 1 };
                self.out.push_back(abi::Output::Done(abi::Outcome::Failed(reason, "not served".to_owned())));
            }
            _ => {}
        }
        drop(span);
        Ok(())
    }

    fn poll(&mut self) -> Option<abi::Output> {
        match self.how.as_str() {
            "endless" => return Some(abi::Output::Progress(1)),
            "heavy" => return Some(abi::Output::Remember(vec![0; 8 << 20])),
            _ => {}
        }
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(u64, &'static str)> {
        self.deadline.map(|at| (at, "an echo"))
    }
}

#[allow(unsafe_code)]
fn echo(how: &str) -> Result<Arc<dyn SyncStrategy>, Unusable> {
    static TABLE: ffi::StrategyV1 = abi::export::table::<Echo>();
    // SAFETY: made by the crate that the interface is of.
    let plugin = unsafe { Plugin::linked(&TABLE, Limits::default()) }.expect("a table");
    assert_eq!((&*plugin.info().name, &*plugin.info().version, &*plugin.info().abi), ("echo", "1.2.3", "1.0"));
    plugin.strategy(&json!({ "how": how, "other": [1, "2s"], "time": "3s", "on": true, "much": 5 }))
}

fn id(byte: u8) -> EventId {
    EventId::from_byte_array([byte; 32])
}

fn filter() -> Filter {
    Filter::new().kinds([Kind::from_u16(1), Kind::from_u16(5)]).author(PublicKey::from_byte_array([2; 32]))
}

fn profile() -> RelayProfile {
    RelayProfile {
        supported_nips: vec![1, 77],
        software: "r 1".into(),
        max_limit: Some(500),
        ..RelayProfile::default()
    }
}

fn request() -> SessionRequest {
    SessionRequest {
        filter: filter(),
        window: Window { since: 10, until: 99 },
        drained: vec![Window { since: 40, until: 50 }],
        remembered: vec![1, 2, 3],
        profile: profile(),
        direction: Direction::Both,
        proven: true,
        seed: 77,
    }
}

fn set() -> VecSet {
    [(11, 1), (12, 2), (13, 3)].into_iter().map(|(created_at, byte)| ItemKey { created_at, id: [byte; 32] }).collect()
}

fn give(session: &mut dyn SyncSession, input: Input<'_>, at: u64) -> Vec<Output> {
    let now = Now { mono_ms: NOW.mono_ms + at, unix_s: NOW.unix_s + at };
    session.handle(input, &set(), now).expect("no protocol was broken");
    std::iter::from_fn(|| session.poll()).collect()
}

#[test]
fn everything_goes_over_and_comes_back() {
    let strategy = echo("echo").expect("it can be used");
    assert_eq!(strategy.suits(&profile(), &filter()), Suitability::Suits);
    let mut session = strategy.open(request());
    let asked = give(&mut *session, Input::Start, 0);
    let window = Window { since: 10, until: 99 };
    let author = PublicKey::from_byte_array([2; 32]);
    assert_eq!(
        asked,
        [
            Output::Send(Message::Req {
                sub: 1,
                filter: Box::new(window.narrow(&Filter::new().kind(Kind::from_u16(1)).author(author)).limit(7)),
            }),
            Output::Send(Message::NegOpen { sub: 2, filter: Box::new(window.narrow(&filter())), payload: vec![0x61] }),
        ]
    );
    assert_eq!(session.next_timeout(), Some((2_000, "an echo")));
    // Events wait for what comes next.
    let event = |byte, created_at, verdict| Input::Event { sub: 1, id: id(byte), created_at, verdict };
    assert_eq!(give(&mut *session, event(4, 12, CheckVerdict::New), 1), []);
    assert_eq!(give(&mut *session, event(5, 12, CheckVerdict::Known), 2), []);
    assert_eq!(give(&mut *session, event(6, 0, CheckVerdict::Bad(BadEvent::BadSignature)), 3), []);
    assert_eq!(
        give(&mut *session, Input::Eose { sub: 1, finished: Some(true) }, 4),
        [Output::Dense { second: 12, shown: 4, certain: true }, Output::Send(Message::Close { sub: 1 })]
    );
    let (within, oldest) = (Window { since: 20, until: 30 }, Some(11));
    assert_eq!(
        give(&mut *session, Input::NegMsg { sub: 2, payload: &[0x61, 1, 2] }, 5),
        [
            Output::Send(Message::NegMsg { sub: 2, payload: vec![0x61, 1, 2] }),
            Output::Need { ids: vec![id(9)], within },
            Output::Have(vec![id(8), id(7)]),
            Output::Shared { count: 3, oldest },
            Output::Progress { items: 1 },
            Output::Send(Message::NegClose { sub: 2 }),
        ]
    );
    let closed = classify(SaidIn::Closed, "rate-limited: slow down", None);
    let too_big = classify(SaidIn::NegErr, "blocked: too many records", Some(50));
    let notice = classify(SaidIn::Notice, "negentropy is disabled", None);
    assert_eq!(give(&mut *session, Input::Closed { sub: 1, said: &closed }, 6), []);
    assert_eq!(give(&mut *session, Input::NegErr { sub: 2, said: &too_big }, 7), []);
    assert_eq!(give(&mut *session, Input::Notice { said: &notice }, 8), []);
    assert_eq!(give(&mut *session, Input::Timeout, 2_000), []);
    let mut last = give(&mut *session, Input::ConnectionLost, 2_001);
    let reason = FailureReason::NotServed { ids: vec![id(9)], count: 1 };
    assert_eq!(last.pop(), Some(Output::Done(SessionOutcome::Failed { reason, text: "not served".to_owned() })));
    let Some(Output::Remember(told)) = last.pop() else { panic!("it remembers") };
    let told = String::from_utf8(told).expect("it was a text");
    let lines: Vec<_> = told.lines().collect();
    let said = |kind: &str, sub: &str, meaning: u32, text: &str, cap: &str, names: bool, at: u64| {
        let (mono_ms, unix_s) = (NOW.mono_ms + at, NOW.unix_s + at);
        format!(
            "{kind} {{ {sub}meaning: {meaning}, text: {text:?}, cap: {cap}, names_negentropy: {names} }} {mono_ms} {unix_s}"
        )
    };
    let whole = |byte: u8| -> Id { [byte; 32] };
    let item = |created_at, byte| Item { created_at, id: whole(byte) };
    let given = abi::Request {
        filter: abi::Filter {
            json: serde_json::to_string(&filter()).expect("JSON"),
            kinds: Some(vec![1, 5]),
            authors: Some(vec![whole(2)]),
            ids: None,
        },
        window: ALL,
        drained: vec![abi::Window { since: 40, until: 50 }],
        remembered: vec![1, 2, 3],
        profile: abi::Profile { nips: vec![1, 77], software: "r 1".into(), max_limit: Some(500), ..Default::default() },
        direction: abi::Direction::Both,
        proven: true,
        seed: 77,
    };
    let event = |byte: u8, created_at: u64, verdict: &str, at: u64| {
        let id = whole(byte);
        format!(
            "Event {{ sub: 1, id: {id:?}, created_at: {created_at}, verdict: {verdict} }} {} {}",
            NOW.mono_ms + at,
            NOW.unix_s + at
        )
    };
    let print = sync_core::strategy::SetView::fingerprint(&set(), sync_core::strategy::KeyRange::ALL);
    assert_eq!(
        lines,
        [
            "Start 1000 500".to_owned(),
            format!("{given:?}"),
            format!("3 [(11, 1), (12, 2), (13, 3)] {:?} {print:?}", [item(12, 2)]),
            event(4, 12, "New", 1),
            event(5, 12, "Known", 2),
            event(6, 0, &format!("Bad({})", ffi::verdict::BAD_SIGNATURE), 3),
            "Eose { sub: 1, finished: Some(true) } 1004 504".to_owned(),
            "NegMsg { sub: 2, payload: [97, 1, 2] } 1005 505".to_owned(),
            said("Closed", "sub: 1, ", ffi::meaning::RATE_LIMITED, &closed.text, "None", false, 6),
            said("NegErr", "sub: 2, ", ffi::meaning::TOO_BIG, &too_big.text, "Some(50)", false, 7),
            said("Notice", "", ffi::meaning::UNSUPPORTED, &notice.text, "None", true, 8),
            "Timeout 3000 2500".to_owned(),
            "ConnectionLost 3001 2501".to_owned(),
        ]
    );
}

#[test]
fn what_fails_over_there_fails_here() {
    let Err(Unusable::Config(error)) = echo("wrong") else { panic!("it refuses that") };
    assert_eq!(error.to_string(), "strategy.echo.how = \"wrong\": be right");
    let strategy = echo("no").expect("it can be used");
    let Suitability::No(reason) = strategy.suits(&profile(), &filter()) else { panic!("it says no") };
    assert!(reason.contains("nips: [1, 77]") && reason.contains("max_limit: Some(500)"), "{reason}");
    for (how, words) in [
        ("panic", "it was to panic"),
        ("shut", "it is shut"),
        ("endless", "yields more than 100001 outputs at once"),
        ("heavy", "yields more than 167772160 bytes at once"),
    ] {
        let strategy = echo(how).expect("it can be used");
        let mut session = strategy.open(request());
        let outputs = give(&mut *session, Input::Start, 0);
        let [Output::Done(SessionOutcome::Failed { reason: FailureReason::Local, text })] = &*outputs else {
            panic!("{how}: {outputs:?}")
        };
        assert!(text.contains(words), "{how}: {text}");
        assert_eq!(give(&mut *session, Input::Timeout, 1), [], "it is over");
    }
    let strategy = echo("error").expect("it can be used");
    let mut session = strategy.open(request());
    give(&mut *session, Input::Start, 0);
    let broken = session.handle(Input::Eose { sub: 1, finished: None }, &set(), NOW).expect_err("it can't go on");
    assert_eq!(broken.to_string(), "that is no answer");
    // Sessions that are left alone are ended, wherever they are.
    drop(session);
    let left = strategy.open(request());
    drop(left);
}

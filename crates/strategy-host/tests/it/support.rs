//! Plugins, and sessions that are driven by hand.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strategy_host::{Limits, Plugin};
use sync_core::Now;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::{
    Direction, Input, Output, RelayProfile, SessionOutcome, SessionRequest, SyncSession, SyncStrategy, VecSet, Window,
};

pub(crate) const NOW: Now = Now { mono_ms: 1_000, unix_s: 1_700_000_000 };

/// The watch of tests that don't mean to meet it.
pub(crate) fn patient() -> Limits {
    Limits { call: Duration::from_secs(60), ..Limits::default() }
}

/// A watch that is met soon.
pub(crate) fn impatient() -> Limits {
    Limits { call: Duration::from_millis(200), ..Limits::default() }
}

/// The plugin that does what it must not.
pub(crate) fn bad(limits: Limits) -> Arc<Plugin> {
    Plugin::load(&testkit::plugins::bad_library(&[]), None, limits).expect("it loads")
}

pub(crate) fn bad_strategy(how: &str, limits: Limits) -> (Arc<Plugin>, Arc<dyn SyncStrategy>) {
    let plugin = bad(limits);
    let strategy = plugin.strategy(&json!({ "how": how })).expect("it takes that");
    (plugin, strategy)
}

pub(crate) fn request() -> SessionRequest {
    SessionRequest {
        filter: Filter::new(),
        window: Window { since: 10, until: u64::MAX },
        drained: Vec::new(),
        remembered: Vec::new(),
        profile: RelayProfile::default(),
        direction: Direction::Down,
        proven: false,
        seed: 1,
    }
}

/// Gives an input, and takes what comes of it.
pub(crate) fn give(session: &mut dyn SyncSession, input: Input<'_>, now: Now) -> Result<Vec<Output>, String> {
    session.handle(input, &VecSet::EMPTY, now).map_err(|error| error.to_string())?;
    Ok(std::iter::from_fn(|| session.poll()).collect())
}

/// The end of a session that is started and ends at once.
pub(crate) fn end_of(strategy: &dyn SyncStrategy) -> SessionOutcome {
    let mut session = strategy.open(request());
    let outputs = give(&mut *session, Input::Start, NOW).expect("no protocol was broken");
    assert!(session.next_timeout().is_none(), "it is over");
    match outputs.into_iter().next_back() {
        Some(Output::Done(outcome)) => outcome,
        other => panic!("ends with {other:?}"),
    }
}

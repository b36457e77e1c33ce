//! Scripted relays on loopback, for the program in its own process to talk to.

use std::collections::BTreeSet;

use nostr::event::Event;
use testkit::relay::{Faults, RelayOptions, RunningRelay, ScriptedRelay};
use testkit::world::{BulkSpec, World, WorldSpec, bulk_events};
use tokio::runtime::Runtime;

use crate::program::Place;

/// The service that the worlds' announcements list.
pub(crate) const DOMAIN: &str = "git.example.com";

/// Relays, and the runtime that they run on.
pub(crate) struct Net {
    // Before the runtime: relays are dropped first.
    pub(crate) relays: Vec<RunningRelay>,
    pub(crate) runtime: Runtime,
}

impl Net {
    /// One relay for each set of events.
    pub(crate) fn of(holdings: impl IntoIterator<Item = Vec<Event>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut net = Self { relays: Vec::new(), runtime: runtime.expect("a runtime") };
        for events in holdings {
            net.add(RelayOptions { events, ..RelayOptions::default() });
        }
        net
    }

    /// One relay with these faults.
    pub(crate) fn faulty(events: Vec<Event>, set: impl FnOnce(&mut Faults)) -> Self {
        let net = Self::of([events]);
        net.relays[0].set_faults(set);
        net
    }

    /// The relays of a world.
    pub(crate) fn world(count: usize, spec: WorldSpec) -> (Self, World) {
        let net = Self::of(vec![Vec::new(); count]);
        let urls: Vec<_> = net.relays.iter().map(|relay| relay.url().clone()).collect();
        let world = World::generate(spec, &urls, DOMAIN);
        for (place, relay) in net.relays.iter().enumerate() {
            world.events_for(place).into_iter().for_each(|event| _ = relay.publish(event));
        }
        (net, world)
    }

    pub(crate) fn add(&mut self, options: RelayOptions) -> &RunningRelay {
        let relay = self.runtime.block_on(ScriptedRelay::start(options)).expect("a port");
        self.relays.push(relay);
        self.relays.last().expect("just added")
    }

    pub(crate) fn url(&self, relay: usize) -> &str {
        self.relays[relay].url().as_str()
    }

    pub(crate) fn urls(&self) -> Vec<&str> {
        self.relays.iter().map(|relay| relay.url().as_str()).collect()
    }
}

/// Plain notes, oldest first.
pub(crate) fn notes(count: usize) -> Vec<Event> {
    bulk_events(&BulkSpec { count, content_len: 40, ..BulkSpec::default() })
}

/// The ids of events, in hex.
pub(crate) fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<String> {
    events.into_iter().map(|event| event.id.to_hex()).collect()
}

/// The ids of what the store of `place` holds.
pub(crate) fn stored(place: &Place) -> BTreeSet<String> {
    let ended = place.run(&["export"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str::<Event>(line).expect("an event").id.to_hex()).collect()
}

/// A place whose daemon starts from these relays, quick in everything. `more` is added to the file, and must begin
/// with whole tables.
pub(crate) fn daemon_place(bootstrap: &[&str], more: &str) -> Place {
    Place::with_config(&format!(
        "service.domain = [{DOMAIN:?}]\nservice.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n\
         sync.bootstrap_relays = {bootstrap:?}\nsync.batch_window = \"200ms\"\nsync.settle = \"300ms\"\n\
         health.base_backoff = \"200ms\"\nlimits.allow_private_addresses = true\nlimits.max_connections_per_host = 100\n\
         {more}"
    ))
}

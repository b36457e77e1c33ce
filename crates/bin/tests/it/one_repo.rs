//! One repository made by hand, and what belongs to it.

use std::time::{SystemTime, UNIX_EPOCH};

use nostr::event::Event;
use testkit::world::{EventSpec, keys};

use crate::net::DOMAIN;

/// When everything was written that isn't written now.
pub(crate) const LONG_AGO: u64 = 1_700_000_000;

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An announcement that lists the service, and these relays.
pub(crate) fn announcement<S: AsRef<str>>(d: &str, at: u64, relays: &[S]) -> Event {
    let own = format!("wss://{DOMAIN}");
    let relays = relays.iter().map(AsRef::as_ref);
    EventSpec::new(30617)
        .at(at)
        .tag(["d", d])
        .tag(["clone", &format!("https://{DOMAIN}/{d}.git")])
        .tag(["relays", &own].into_iter().chain(relays))
        .sign(&keys(1, 1))
}

/// `kind:pubkey:d` of an announcement made by [`announcement`].
pub(crate) fn address(d: &str) -> String {
    format!("30617:{}:{d}", keys(1, 1).public_key().to_hex())
}

pub(crate) fn issue(d: &str, number: u64, at: u64) -> Event {
    let subject = format!("issue {number}");
    EventSpec::new(1621).at(at).tag(["a", &address(d)]).tag(["subject", &subject]).sign(&keys(2, number))
}

pub(crate) fn comment(issue: &Event, number: u64, at: u64) -> Event {
    EventSpec::new(1111).at(at).tag(["E", &issue.id.to_hex()]).content(number.to_string()).sign(&keys(3, number))
}

/// A repository with five issues of three comments each: all that is expected of a sync, written long ago.
pub(crate) fn repo(d: &str, relays: &[&str]) -> Vec<Event> {
    let mut events = vec![announcement(d, LONG_AGO, relays)];
    for number in 0..5 {
        let issue = issue(d, number, LONG_AGO + 100 * (number + 1));
        events.extend((0..3).map(|n| comment(&issue, n, LONG_AGO + 100 * (number + 1) + n + 1)));
        events.push(issue);
    }
    events
}

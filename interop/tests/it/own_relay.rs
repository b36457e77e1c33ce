//! An own relay that others wrote, in another process: filled from nothing, and killed while it is being filled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use interop::client::Client;
use interop::daemon::Daemon;
use interop::events;
use interop::process::{Kind, RelayProcess};
use interop::product::Store;
use interop::proxy::{Proxy, Seen};
use interop::relays::{Relay, RelayBuilderRelay};
use interop::table;
use serde_json::Value;
use sync_core::model::RelayUrl;
use sync_core::nostr::event::Event;
use testkit::relay::{RelayOptions, ScriptedRelay};
use testkit::world::{self, World, WorldSpec};

use crate::real::{DOMAIN, disabled, out_there, publish, real};

/// How long the own relay stays away.
const AWAY: Duration = Duration::from_secs(60);
/// Of the events that are accepted, those that were offered when it is killed.
const BEFORE_THE_KILL: f64 = 0.4;

fn start(kind: Kind) -> RelayProcess {
    RelayProcess::start(env!("CARGO_BIN_EXE_foreign-relay"), kind)
}

/// The daemon with the own relay behind the proxy.
fn daemon(store: &Store, domain: &str, bootstrap: &str, own: &Proxy, more: &str) -> Daemon {
    let quick = "health.base_backoff = \"1s\"\nsync.batch_window = \"500ms\"\nsync.settle = \"500ms\"\n";
    let more = format!("service.own_relay = {:?}\n{quick}{more}", own.url());
    Daemon::start(store, domain, &[bootstrap], &more)
}

fn is_up(status: &Value) -> bool {
    status["own_relay"]["up"] == true
}

/// Whether nothing is under way, and nothing waits for the own relay but what it has put off, by words that leave open
/// whether it ever takes it.
fn is_settled(status: &Value, proxy: &Proxy) -> bool {
    let put_off = proxy.seen().refused().filter(|(_, words)| words.starts_with("error:")).count();
    is_up(status) && status["own_relay"]["held"] == put_off && status["totals"]["pending_batches"] == 0
}

/// What became of each event that is to be accepted: whether the own relay serves it, whether the daemon's store holds it,
/// and what the proxy saw of it.
struct Ending {
    served: BTreeSet<String>,
    held: BTreeSet<String>,
    seen: Seen,
}

impl Ending {
    async fn of(relay: &RelayProcess, proxy: &Proxy, store: &Store, expected: &BTreeSet<String>) -> Self {
        let served = Client::connect(&relay.url()).await.served(expected).await;
        Self { served, held: store.ids(), seen: proxy.seen() }
    }

    /// Nothing is missing but what is `unwanted` by the own relay, by its word, and nothing was offered that isn't accepted,
    /// but for what is `outdated`.
    fn check(
        &self,
        title: &str,
        expected: &BTreeSet<String>,
        unwanted: &BTreeSet<String>,
        outdated: &BTreeSet<String>,
    ) {
        let refused: BTreeMap<_, _> = self.seen.refused().collect();
        let mut rows: BTreeMap<String, usize> = BTreeMap::new();
        for id in expected {
            let what = match refused.get(id) {
                _ if self.served.contains(id) => "accepted, and on the own relay".to_owned(),
                Some(words) => format!("accepted, and refused by the own relay ({words})"),
                None => "MISSING".to_owned(),
            };
            *rows.entry(what).or_default() += 1;
        }
        let mut rows: Vec<_> = rows.into_iter().map(|(what, n)| (n, what)).collect();
        if let Some(most) = refused.keys().filter_map(|id| self.seen.offered.get(*id)).max() {
            rows.push((*most, "times the most that one of the refused was offered".to_owned()));
        }
        let extra: BTreeSet<_> = self.seen.offered.keys().filter(|id| !expected.contains(*id)).cloned().collect();
        rows.push((extra.len(), "offered beside them, outdated later".to_owned()));
        let times = self.seen.times_offered();
        rows.extend(times.into_iter().map(|(times, n)| (n, format!("taken, when offered {times} times"))));
        table::print(&format!("{title}: {} events are accepted", expected.len()), rows);

        let missing: Vec<_> = expected.difference(&self.served).filter(|id| !refused.contains_key(id)).collect();
        assert_eq!(missing, Vec::<&String>::new(), "missing on the own relay without its word");
        let refused: BTreeSet<_> = refused.into_keys().cloned().collect();
        assert_eq!(&refused, unwanted, "refused by the own relay");
        let odd: Vec<_> = extra.difference(outdated).collect();
        assert_eq!(odd, Vec::<&String>::new(), "offered, though not acceptable");
        let not_held: Vec<_> = self.served.difference(&self.held).collect();
        assert_eq!(not_held, Vec::<&String>::new(), "on the own relay, but not in the daemon's store");
        let more: Vec<_> = self.held.difference(&self.served).collect();
        assert_eq!(more, Vec::<&String>::new(), "in the daemon's store, but not on the own relay");
    }
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<String> {
    events.into_iter().map(|event| event.id.to_hex()).collect()
}

/// What is outdated in the end, or by a version that isn't accepted: it may have been offered before that was known.
fn outdated(all: &[Value]) -> BTreeSet<String> {
    let versions = all.iter().filter(|event| matches!(events::kind(event), 10317 | 30617));
    events::left_out(all).into_keys().chain(versions.map(events::id)).collect()
}

/// What that relay refuses, though it is acceptable: deletions that name somebody else's repository, which is how a service
/// comes to accept them, are no deletions to relay-builder.
fn refused_by(kind: Kind, all: &[Value], expected: &BTreeSet<String>) -> BTreeSet<String> {
    let names_another = |event: &&Value| {
        let tags = event["tags"].as_array().into_iter().flatten().filter(|tag| tag[0] == "a");
        let mut authors = tags.filter_map(|tag| tag[1].as_str()?.split(':').nth(1));
        authors.any(|author| event["pubkey"] != author)
    };
    let deletions = all.iter().filter(|event| kind == Kind::RelayBuilder && events::kind(event) == 5);
    deletions.filter(names_another).map(events::id).filter(|id| expected.contains(id)).collect()
}

/// Real events on a relay that the daemon starts from, and an own relay that is empty.
async fn filled_from_nothing(kind: Kind) {
    let Some(all) = real() else { return };
    let bootstrap = RelayBuilderRelay::start().await;
    let refused = publish(&bootstrap, &all).await;
    let on_relay: Vec<_> = all.into_iter().filter(|event| !refused.contains_key(&events::id(event))).collect();
    let lines: String = on_relay.iter().map(|event| format!("{event}\n")).collect();
    let known = world::from_jsonl(lines.as_bytes()).expect("a relay serves events");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let expected = ids(&world::accepted(&known, DOMAIN, now));

    let relay = start(kind);
    let proxy = Proxy::start(relay.url()).await;
    let store = Store::new();
    let here = [bootstrap.url(), proxy.url().to_owned()].map(|url| RelayUrl::parse(&url).expect("an address"));
    let more = disabled(&out_there(&on_relay, &here));
    let daemon = daemon(&store, DOMAIN, here[0].as_str(), &proxy, &more);
    daemon.wait_connected(here[0].as_str());
    daemon.wait_status(|status| is_settled(status, &proxy));
    assert_eq!(daemon.fetch("/healthz").0, 200);

    let ending = Ending::of(&relay, &proxy, &store, &expected).await;
    let unwanted = refused_by(kind, &on_relay, &expected);
    let title = format!("{} as the own relay, filled from nothing", kind.name());
    ending.check(&title, &expected, &unwanted, &outdated(&on_relay));
    assert_eq!(ending.seen.times_offered().into_keys().collect::<Vec<_>>(), [1]);
    assert!(expected.len() > 20, "the service's repositories: {}", expected.len());
    assert_eq!(daemon.stop().code(), Some(0));
}

/// A world of some thousand events; the own relay is killed while it is being filled, stays away, and returns.
async fn killed_while_it_is_filled(kind: Kind) {
    let bootstrap = ScriptedRelay::start(RelayOptions::default()).await.expect("a free port");
    let spec = WorldSpec { repos: 60, authors: 40, roots_per_repo: 7, replies_per_root: 7, ..WorldSpec::default() };
    let world = World::generate(spec, &[bootstrap.url().clone()], "git.example.com");
    world.events().into_iter().for_each(|event| _ = bootstrap.publish(event));
    let expected = ids(&world.accepted());
    let all: Vec<Value> =
        world.events().iter().map(|event| serde_json::from_str(&event.as_json()).expect("JSON")).collect();

    let mut relay = start(kind);
    let proxy = Proxy::start(relay.url()).await;
    let store = Store::new();
    let daemon = daemon(&store, world.domain(), bootstrap.url().as_str(), &proxy, "");
    proxy.wait_offered((expected.len() as f64 * BEFORE_THE_KILL) as usize).await;
    relay.kill();
    let killed = Instant::now();
    let status = daemon.wait_status(|status| !is_up(status));
    let offered = proxy.seen();
    assert!(offered.offered.len() < expected.len(), "in the middle: {} were offered", offered.offered.len());
    assert_eq!(status["own_relay"]["url"], proxy.url());
    let (code, text) = daemon.fetch("/healthz");
    assert!(code == 503 && text.contains("own relay") && text.contains(proxy.url()), "{code} {text}");

    // Not in place of an event: the absence itself is what is tried.
    tokio::time::sleep(AWAY.saturating_sub(killed.elapsed())).await;
    assert!(!is_up(&daemon.status()));
    assert_eq!(daemon.fetch("/healthz").0, 503);
    let tries = proxy.seen().connections - offered.connections;
    relay.restart();
    let kept = Client::connect(&relay.url()).await.served(&expected).await.len();
    let back = Instant::now();
    daemon.wait_status(is_up);
    let up_after = back.elapsed();
    daemon.wait_status(|status| {
        let relays = status["relays"].as_array().map_or(&[][..], Vec::as_slice);
        let connected = |relay: &&Value| relay["url"] == bootstrap.url().as_str() && relay["status"] == "Connected";
        is_settled(status, &proxy) && relays.iter().any(|relay| connected(&relay))
    });
    assert_eq!(daemon.fetch("/healthz").0, 200);
    table::print(
        &format!(
            "{}: killed, back after {AWAY:?}, up again after {up_after:.1?} more, complete after {:.1?}",
            kind.name(),
            back.elapsed()
        ),
        [
            (offered.offered.len(), "offered when it was killed"),
            (kept, "of them kept by it"),
            (tries, "connections tried meanwhile, for NIP-11 or as WebSocket"),
        ],
    );

    let ending = Ending::of(&relay, &proxy, &store, &expected).await;
    let unwanted = refused_by(kind, &all, &expected);
    let title = format!("{} as the own relay, killed while it is filled", kind.name());
    ending.check(&title, &expected, &unwanted, &outdated(&all));
    assert!(ending.seen.times_offered().into_keys().all(|times| times <= 2), "once for each connection at most");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_builder_is_filled_from_nothing() {
    filled_from_nothing(Kind::RelayBuilder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_relay_is_filled_from_nothing() {
    filled_from_nothing(Kind::RsRelay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_builder_is_killed_while_it_is_filled() {
    killed_while_it_is_filled(Kind::RelayBuilder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_relay_is_killed_while_it_is_filled() {
    killed_while_it_is_filled(Kind::RsRelay).await;
}

//! `run` with the embedded own relay: what is published there leads further, and two daemons complete each other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nostr::event::Event;
use testkit::world::WorldSpec;

use crate::daemon::{Daemon, relay};
use crate::net::{Net, daemon_place, ids, stored};
use crate::one_repo::{LONG_AGO, announcement, comment, issue, now};
use crate::program::Place;

/// An address that stays the same, in front of a daemon whose port differs with every start.
struct Front {
    address: SocketAddr,
    behind: Arc<Mutex<Option<SocketAddr>>>,
}

impl Front {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let behind: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let target = Arc::clone(&behind);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let behind = *target.lock().unwrap_or_else(PoisonError::into_inner);
                // Without anybody behind it the client is turned away.
                let Some(Ok(server)) = behind.map(TcpStream::connect) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                std::thread::spawn(move || pass_on(from_client, server));
                std::thread::spawn(move || pass_on(from_server, client));
            }
        });
        Self { address, behind }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    fn lead_to(&self, daemon: &mut Daemon) {
        let address = daemon.own_relay().trim_start_matches("ws://").parse().expect("an address");
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}

/// A place with these events in its store.
fn holding<'a>(events: impl IntoIterator<Item = &'a Event>, bootstrap: &[&str]) -> Place {
    let place = daemon_place(bootstrap, "sync.discover = false\n");
    import(&place, events);
    place
}

fn import<'a>(place: &Place, events: impl IntoIterator<Item = &'a Event>) {
    let lines: String = events.into_iter().map(|event| format!("{}\n", event.as_json())).collect();
    std::fs::write(place.path().join("events.jsonl"), lines).expect("written");
    let ended = place.run(&["import", "events.jsonl"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Publishes events at a relay as a client.
pub(crate) fn publish(url: &str, events: &[Event]) {
    let client = holding(events, &[]);
    let ended = client.run(&["sync", url, "--direction", "up"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

fn wait_stored(daemon: &mut Daemon, count: usize) {
    daemon.wait_status(|status| status["totals"]["store_events"] == count);
}

#[test]
fn what_is_published_at_the_own_relay_leads_further_and_is_served() {
    let net = Net::of([Vec::new()]);
    let place = daemon_place(&[], "service.supported_grasps = [\"GRASP-01\"]\n");
    let mut daemon = Daemon::start(&place);
    let own = daemon.own_relay();
    let (announced, found) = (announcement("r", LONG_AGO, &[net.url(0)]), issue("r", 1, LONG_AGO + 5));
    let _ = net.relays[0].publish(found.clone());
    publish(&own, std::slice::from_ref(&announced));
    daemon.wait_relays(net.urls(), "Connected");
    wait_stored(&mut daemon, 2);
    let live = comment(&found, 1, now());
    let _ = net.relays[0].publish(live.clone());
    wait_stored(&mut daemon, 3);

    // As others see it: everything, by negentropy.
    let other = daemon_place(&[], "");
    let ended = other.run(&["sync", &own, "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\"strategy\":\"negentropy\""), "{}", ended.stdout);
    assert_eq!(stored(&other), ids([&announced, &found, &live]));
    let status = daemon.status();
    assert_eq!((&status["own_relay"]["embedded"], &status["own_relay"]["up"]), (&true.into(), &true.into()));
    assert_eq!(status["own_relay"]["url"], own.as_str());
    assert_eq!(daemon.metric("grasp_sync_own_relay_received_total{outcome=\"stored\"}"), Some(1.0));
    let shown = place.run(&["status", "--admin", &daemon.admin()]);
    assert!(shown.stdout.contains(&format!("own relay {own} (embedded): up\n")), "{}", shown.stdout);
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
fn two_daemons_with_half_a_world_each_complete_each_other_and_again_after_a_kill() {
    let (_net, world) = Net::world(1, WorldSpec::default());
    let all = world.accepted();
    let fronts = [Front::new(), Front::new()];
    let places: Vec<Place> = (0..2)
        .map(|this| {
            let other = fronts[1 - this].url();
            let half = all.iter().filter(|event| event.id.as_bytes()[0] as usize % 2 == this);
            holding(half, &[other.as_str()])
        })
        .collect();
    let mut daemons: Vec<Daemon> = places.iter().map(Daemon::start).collect();
    for (front, daemon) in fronts.iter().zip(&mut daemons) {
        front.lead_to(daemon);
    }
    for (this, daemon) in daemons.iter_mut().enumerate() {
        daemon.wait_relays([fronts[1 - this].url().as_str()], "Connected");
        wait_stored(daemon, all.len());
    }
    let mut expected = ids(&all);
    for (this, daemon) in daemons.iter().enumerate() {
        assert_eq!(stored(&places[this]), expected, "daemon {this}");
        let status = daemon.status();
        let other = relay(&status, &fronts[1 - this].url()).expect("listed").clone();
        assert_eq!(other["strategy"], "negentropy", "{other:#}");
    }

    // Live events cross.
    let (_, live) = world.live_issue(1, now());
    let published = Instant::now();
    publish(&daemons[0].own_relay(), std::slice::from_ref(&live));
    wait_stored(&mut daemons[1], all.len() + 1);
    eprintln!("crossed within {:?}, the client's start included", published.elapsed());
    expected.insert(live.id.to_hex());

    // One is killed; both get events; it returns.
    daemons[1].signal("KILL");
    drop(daemons.pop());
    let (_, here) = world.live_issue(2, now());
    let (_, there) = world.live_issue(3, now());
    publish(&daemons[0].own_relay(), std::slice::from_ref(&here));
    import(&places[1], [&there]);
    daemons.push(Daemon::start(&places[1]));
    fronts[1].lead_to(&mut daemons[1]);
    expected.extend(ids([&here, &there]));
    for daemon in &mut daemons {
        wait_stored(daemon, expected.len());
    }
    for place in &places {
        assert_eq!(stored(place), expected);
    }
    for daemon in daemons {
        assert_eq!(daemon.stop().status.code(), Some(0));
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let place =
        Place::with_config(&format!("admission.mode = \"all\"\nservice.listen = \"{address}\"\nadmin.listen = \"\""));
    let ended = place.run(&["run"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&format!("service.listen = \"{address}\"")), "{}", ended.stderr);
    assert!(ended.stderr.contains("choose another port"), "{}", ended.stderr);
}

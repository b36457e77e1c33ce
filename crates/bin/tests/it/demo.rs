//! `demo`, as it is shown to everybody first.

use crate::net::{Net, notes};
use crate::program::Place;

#[test]
fn the_demo_ends_with_equal_sets() {
    let ended = Place::new().run(&["demo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("0 missing, 0 too many. Equal."), "{ended:?}");
    assert!(ended.stdout.contains("has no NIP-77") && ended.stdout.contains("a new issue is published"), "{ended:?}");
    assert!(!ended.stderr.contains(" ERROR ") && !ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn a_store_of_somebodys_is_not_for_the_demo() {
    let place = Place::new();
    let ended = place.run(&["demo", "--store", "mine"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    assert!(ended.stderr.contains("--store mine") && !place.path().join("mine").exists(), "{ended:?}");
}

#[test]
fn the_demo_leaves_what_is_real_alone() {
    let net = Net::of([notes(3)]);
    let place = Place::with_config(&format!(
        "service.domain = [\"git.example.org\"]\nservice.own_relay = {:?}\nadmission.mode = \"all\"\nlimits.allow_private_addresses = true\n",
        net.url(0)
    ));
    let ended = place.run(&["demo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("0 missing, 0 too many. Equal."), "{ended:?}");
    let stats = net.relays[0].stats();
    assert_eq!((stats.connections, stats.nip11_requests), (0, 0), "the own relay was left alone");
}

//! `demo`, as it is shown to everybody first.

use crate::program::Place;

#[test]
fn the_demo_ends_with_equal_sets() {
    let ended = Place::new().run(&["demo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("0 missing, 0 too many. Equal."), "{ended:?}");
    assert!(ended.stdout.contains("has no NIP-77") && ended.stdout.contains("a new issue is published"), "{ended:?}");
    assert!(!ended.stderr.contains(" ERROR ") && !ended.stderr.contains("panicked"), "{ended:?}");
}

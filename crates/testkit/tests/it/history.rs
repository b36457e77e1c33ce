//! One sync with one relay over random sets, limits and faults. `cargo xtask sim --histories 100000` runs more of them.

use testkit::history;

/// Seeds that every build runs.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=2_000;

#[test]
fn nothing_is_missing_that_is_not_named() {
    std::thread::scope(|scope| {
        let half =
            |odd: u64| move || SEEDS.filter(|seed| seed % 2 == odd).find_map(|seed| history::run(seed, false).err());
        for broken in [scope.spawn(half(0)), scope.spawn(half(1))].map(|half| half.join().expect("panics are caught")) {
            assert!(broken.is_none(), "{}", broken.map(|broken| broken.to_string()).unwrap_or_default());
        }
    });
}

#[test]
fn the_same_seed_does_the_same() {
    assert_eq!(history::run(17, false), history::run(17, false));
}

#[test]
fn cases_end_both_ways() {
    let mut tally = history::Tally::default();
    SEEDS.take(300).filter_map(|seed| history::run(seed, false).ok()).for_each(|case| tally.add(case));
    assert!(tally.complete > 150 && tally.degraded > 5, "{tally:?}");
}

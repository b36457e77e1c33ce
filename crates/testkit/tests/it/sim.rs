//! The whole engine on virtual time, over seeds. `cargo xtask sim --seeds 1000` runs more of them.

use testkit::sim;

/// Seeds that every build runs.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=40;

#[test]
fn whole_systems_end_complete_whatever_happens() {
    std::thread::scope(|scope| {
        let half = |odd: u64| move || SEEDS.filter(|seed| seed % 2 == odd).find_map(|seed| sim::run(seed, false).err());
        let halves = [scope.spawn(half(0)), scope.spawn(half(1))];
        for broken in halves.map(|half| half.join().expect("the simulator catches panics")) {
            assert!(broken.is_none(), "{}", broken.map(|broken| broken.to_string()).unwrap_or_default());
        }
    });
}

#[test]
fn the_same_seed_does_the_same() {
    assert_eq!(sim::run(7, false), sim::run(7, false));
}

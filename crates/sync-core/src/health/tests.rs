//! Back-off, death, cool-downs and lasting faults, over days that pass in no time.

use proptest::prelude::*;

use super::*;

const START: Now = Now { mono_ms: 1_000_000, unix_s: 1_800_000_000 };
const HOUR: u64 = 3_600_000;

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, text: "no luck".to_owned() }
}

#[test]
fn failures_from_before_the_process_began_count() {
    let now = Now { mono_ms: 10, unix_s: START.unix_s };
    let lasting = Some((FaultKind::Tls, now.unix_s - 11 * 3_600));
    let failing_since = Some(now.unix_s - 23 * 3_600);
    let record = HealthRecord { failures: 9, failing_since, fault: lasting, ..HealthRecord::default() };
    let mut health = RelayHealth::restore(HealthConfig::default(), record.clone(), now);
    assert_eq!(health.record(now), record, "nothing is lost by a restart");
    assert_eq!(health.state(now), HealthState::Degraded);
    let later = now.plus_ms(HOUR);
    assert!(health.on_failure(&fault(FaultKind::Tls), &mut Jitter::new(1), later), "twelve hours have passed");
    assert_eq!(health.state(later), HealthState::Dead);
}

fn wait(health: &RelayHealth, now: Now) -> u64 {
    health.next_attempt().saturating_sub(now.mono_ms)
}

proptest! {
    #[test]
    fn back_off_doubles_up_to_an_hour(seed: u64, failures in 1u32..100) {
        let mut health = RelayHealth::new(HealthConfig::default());
        let mut jitter = Jitter::new(seed);
        for _ in 0..failures {
            health.on_failure(&fault(FaultKind::Network), &mut jitter, START);
        }
        let full = 5_000u64.saturating_mul(1 << (failures - 1).min(40)).min(HOUR);
        let wait = wait(&health, START);
        prop_assert!(wait <= full && wait >= full * 4 / 5, "{wait} of {full}");
    }
}

#[test]
fn failing_for_a_day_is_death_with_a_try_a_day() {
    let mut health = RelayHealth::new(HealthConfig::default());
    let mut jitter = Jitter::new(1);
    let mut now = START;
    while health.state(now) != HealthState::Dead {
        health.on_failure(&fault(FaultKind::Timeout), &mut jitter, now);
        now = now.plus_ms(wait(&health, now).max(1));
    }
    assert!(now.mono_ms - START.mono_ms >= 24 * HOUR && now.mono_ms - START.mono_ms < 26 * HOUR);
    health.on_failure(&fault(FaultKind::Timeout), &mut jitter, now);
    assert_eq!(wait(&health, now), 24 * HOUR);
    health.on_connected(now);
    assert_eq!(health.state(now), HealthState::Degraded);
}

#[test]
fn the_moment_of_death_is_due_once_and_not_before() {
    let mut health = RelayHealth::new(HealthConfig::default());
    let mut jitter = Jitter::new(1);
    health.on_failure(&fault(FaultKind::Timeout), &mut jitter, START);
    assert_eq!(health.next_change(), Some(START.mono_ms + 24 * HOUR));
    let later = START.plus_ms(23 * HOUR);
    health.on_failure(&fault(FaultKind::Timeout), &mut jitter, later);
    let restored = RelayHealth::restore(HealthConfig::default(), health.record(later), later);
    assert_eq!(
        (health.next_change(), restored.next_change()),
        (Some(later.mono_ms + HOUR), Some(later.mono_ms + HOUR))
    );
    let dead = later.plus_ms(HOUR);
    health.tick(dead);
    assert_eq!((health.state(dead), health.next_change()), (HealthState::Dead, None));
    assert_eq!(wait(&health, dead), 24 * HOUR, "what was to be tried sooner is not");
    health.on_failure(&fault(FaultKind::Timeout), &mut jitter, dead.plus_ms(24 * HOUR));
    assert_eq!(health.next_change(), None, "it is dead already");
}

#[test]
fn five_stable_minutes_heal() {
    let mut health = RelayHealth::new(HealthConfig::default());
    health.on_failure(&fault(FaultKind::Network), &mut Jitter::new(1), START);
    health.on_connected(START);
    assert_eq!(health.state(START), HealthState::Degraded);
    assert_eq!(health.next_change(), Some(START.mono_ms + 300_000));
    let later = START.plus_ms(300_000);
    health.tick(later);
    assert_eq!((health.state(later), health.failures(), health.next_change()), (HealthState::Healthy, 0, None));
}

#[test]
fn a_brief_connection_does_not_reset_the_back_off() {
    let mut health = RelayHealth::new(HealthConfig::default());
    let mut jitter = Jitter::new(1);
    for _ in 0..5 {
        health.on_connected(START);
        health.on_failure(&fault(FaultKind::Closed), &mut jitter, START.plus_ms(1_000));
    }
    assert!(wait(&health, START) > 60_000);
}

#[test]
fn a_relay_that_drops_every_connection_dies_as_one_that_takes_none() {
    let mut health = RelayHealth::new(HealthConfig::default());
    let mut jitter = Jitter::new(1);
    let mut now = START;
    while health.state(now) != HealthState::Dead {
        health.on_connected(now);
        now = now.plus_ms(1_000);
        health.on_failure(&fault(FaultKind::Closed), &mut jitter, now);
        now = now.plus_ms(wait(&health, now).max(1));
        assert!(now.mono_ms - START.mono_ms < 27 * HOUR, "it never died");
    }
    assert!(now.mono_ms - START.mono_ms >= 24 * HOUR);
}

#[test]
fn a_stable_connection_begins_anew() {
    let mut health = RelayHealth::new(HealthConfig::default());
    let mut jitter = Jitter::new(1);
    health.on_failure(&fault(FaultKind::Network), &mut jitter, START);
    let back = START.plus_ms(23 * HOUR);
    health.on_connected(back);
    let lost = back.plus_ms(2 * HOUR);
    health.on_failure(&fault(FaultKind::Closed), &mut jitter, lost);
    assert_eq!((health.state(lost), health.failures()), (HealthState::Degraded, 1));
    assert!(wait(&health, lost) <= 5_000);
}

#[test]
fn what_held_as_long_as_it_was_wanted_is_not_dead_later() {
    let mut health = RelayHealth::new(HealthConfig::default());
    health.on_failure(&fault(FaultKind::Network), &mut Jitter::new(1), START);
    health.on_connected(START.plus_ms(HOUR));
    let restored = RelayHealth::restore(HealthConfig::default(), health.record(START), START);
    health.on_closed(START.plus_ms(HOUR + 1_000));
    for health in [health, restored] {
        assert_eq!(health.state(START.plus_ms(48 * HOUR)), HealthState::Degraded);
    }
}

#[test]
fn our_own_limits_are_not_held_against_a_relay() {
    let mut jitter = Jitter::new(1);
    let mut untried = RelayHealth::new(HealthConfig::default());
    for kind in [FaultKind::HostFull, FaultKind::NoSockets] {
        for hour in 0..50 {
            let now = START.plus_ms(hour * HOUR);
            assert!(!untried.on_failure(&fault(kind), &mut jitter, now));
            assert_eq!((untried.state(now), untried.failures()), (HealthState::Disconnected, 0));
            assert!(wait(&untried, now) > 0 && wait(&untried, now) <= 60_000, "a short while");
        }
    }
    assert_eq!(untried.last_error(), Some("no luck"));

    let mut lasting = RelayHealth::new(HealthConfig::default());
    lasting.on_failure(&fault(FaultKind::Tls), &mut jitter, START);
    let before = lasting.record(START);
    lasting.on_failure(&fault(FaultKind::NoSockets), &mut jitter, START);
    let after = lasting.record(START);
    assert_eq!((after.failures, after.failing_since, after.fault), (1, before.failing_since, before.fault));
}

#[test]
fn a_cool_down_lasts_sixty_five_seconds() {
    let mut health = RelayHealth::new(HealthConfig::default());
    health.on_connected(START);
    health.on_rate_limited(START);
    assert_eq!(health.state(START.plus_ms(64_999)), HealthState::RateLimited);
    assert_eq!(health.state(START.plus_ms(65_000)), HealthState::Healthy);
}

#[test]
fn a_lasting_fault_is_left_alone_for_half_a_day_and_warned_of_once() {
    let mut health = RelayHealth::new(HealthConfig::default());
    let mut jitter = Jitter::new(1);
    assert!(health.on_failure(&fault(FaultKind::Tls), &mut jitter, START));
    assert_eq!(wait(&health, START), 12 * HOUR);
    assert!(!health.on_failure(&fault(FaultKind::Tls), &mut jitter, START.plus_ms(HOUR)));
    assert!(health.on_failure(&fault(FaultKind::Tls), &mut jitter, START.plus_ms(12 * HOUR)));
}

#[test]
fn what_may_not_be_the_relays_fault_has_an_hour_to_pass() {
    for kind in [FaultKind::Dns, FaultKind::Protocol] {
        let mut health = RelayHealth::new(HealthConfig::default());
        let mut jitter = Jitter::new(1);
        assert!(health.on_failure(&fault(kind), &mut jitter, START));
        assert!(wait(&health, START) <= 5_000);
        let later = START.plus_ms(HOUR);
        assert!(!health.on_failure(&fault(kind), &mut jitter, later));
        assert_eq!(wait(&health, later), 12 * HOUR);
    }
}

#[test]
fn a_restart_keeps_the_waits() {
    let mut health = RelayHealth::new(HealthConfig::default());
    health.on_failure(&fault(FaultKind::Tls), &mut Jitter::new(1), START);
    let record = health.record(START);
    let restart = Now { mono_ms: 5, unix_s: START.unix_s + 3_600 };
    let restored = RelayHealth::restore(HealthConfig::default(), record.clone(), restart);
    assert_eq!(wait(&restored, restart), 11 * HOUR);
    let jumped_back = Now { mono_ms: 5, unix_s: 1_000 };
    assert!(wait(&RelayHealth::restore(HealthConfig::default(), record, jumped_back), jumped_back) <= 24 * HOUR);
}

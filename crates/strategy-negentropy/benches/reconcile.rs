//! What a session costs us: copying the local set and all rounds, with the relay's answers recorded before. Beside it
//! the same by the `negentropy` crate, from copying on.

mod support;

use divan::{Bencher, black_box};
use support::{World, relay, run_crate, run_session, storage};
use sync_core::strategy::VecSet;

const MILLION: u64 = 1_000_000;

/// Equal sets, 1 % different, and the cost against the number of differences.
const WORLDS: &[World] = &[
    World { count: MILLION / 10, differ: 0 },
    World { count: MILLION / 10, differ: MILLION / 1_000 },
    World { count: MILLION, differ: 0 },
    World { count: MILLION, differ: 10 },
    World { count: MILLION, differ: 100 },
    World { count: MILLION, differ: 1_000 },
    World { count: MILLION, differ: 10_000 },
    World { count: MILLION, differ: 100_000 },
];

fn main() {
    divan::main();
}

#[divan::bench(args = WORLDS, sample_count = 5)]
fn session(bencher: Bencher<'_, '_>, world: World) {
    let (local, remote) = world.sides();
    let set: VecSet = local.into_iter().collect();
    let mut relay = relay(&remote);
    let answers = run_session(&set, |_, payload| relay(payload)).answers;
    bencher.bench_local(|| run_session(black_box(&set), |round, _| answers[round].clone()));
}

#[divan::bench(args = WORLDS, sample_count = 5)]
fn by_crate(bencher: Bencher<'_, '_>, world: World) {
    let (local, remote) = world.sides();
    let mut relay = relay(&remote);
    let answers = run_crate(storage(&local), |_, payload| relay(payload)).answers;
    bencher.bench_local(|| run_crate(storage(black_box(&local)), |round, _| answers[round].clone()));
}

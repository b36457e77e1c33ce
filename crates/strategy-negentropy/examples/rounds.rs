//! Rounds and bytes of a reconciliation against the number of differences, beside those of the `negentropy` crate as
//! the asking side: `cargo run --release --example rounds -p strategy-negentropy`.

#[path = "../benches/support/mod.rs"]
mod support;

use support::{Conversation, World, relay, run_crate, run_session, storage};

fn main() {
    println!("| items | differ | by | rounds | bytes up | bytes down |\n|---|---|---|---|---|---|");
    for count in [100_000, 1_000_000] {
        for differ in [0, 10, 100, 1_000, 10_000, 100_000].into_iter().filter(|differ| *differ < count) {
            let world = World { count, differ };
            let (local, remote) = world.sides();
            let mut answer = relay(&remote);
            let ours = run_session(&local.iter().copied().collect(), |_, payload| answer(payload));
            assert!((ours.needs + ours.haves) as u64 >= differ, "{world}");
            row(world, "session", &ours);
            let mut answer = relay(&remote);
            row(world, "crate", &run_crate(storage(&local), |_, payload| answer(payload)));
        }
    }
}

fn row(world: World, by: &str, talk: &Conversation) {
    let (up, down) = (talk.sent.iter().sum::<usize>(), talk.answers.iter().map(Vec::len).sum::<usize>());
    println!("| {} | {} | {by} | {} | {up} | {down} |", world.count, world.differ, talk.sent.len());
}

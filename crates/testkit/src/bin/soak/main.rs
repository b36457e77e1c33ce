//! Lets the daemon run for a while beside relays that misbehave, and looks at what it takes: `cargo xtask soak`.
//!
//! Relays, faults and what is published follow from a seed; when what happens depends on the machine, too. A round of
//! troubles is followed by a quiet one. At the end everything that relays serve and the service accepts must be in the
//! store, and memory and file descriptors must be what they were when the first round of troubles was over.

mod observed;
mod troubles;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use observed::{Daemon, Sample};
use testkit::relay::{RelayOptions, RunningRelay, ScriptedRelay};
use testkit::world::{World, WorldSpec};
use troubles::Troubles;

const USAGE: &str = "usage: soak --binary FILE [--relays N] [--minutes N] [--seed N]
  --binary FILE   the grasp-sync to run
  --relays N      scripted relays (default 50)
  --minutes N     how long (default 10)
  --seed N        what happens (default 1)";

/// The service that the world's announcements list.
const DOMAIN: &str = "git.example.com";
/// How often something happens to a relay.
const PACE: Duration = Duration::from_millis(400);
/// How long relays may take to be complete when nothing happens any more.
const PATIENCE: Duration = Duration::from_secs(120);
/// What an idle process may use of one core, percent.
const IDLE_CPU: f64 = 3.0;

pub(crate) type Error = Box<dyn std::error::Error>;

struct Options {
    binary: PathBuf,
    relays: usize,
    minutes: u64,
    seed: u64,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { binary: PathBuf::new(), relays: 50, minutes: 10, seed: 1 };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{flag} {value}: {error}"));
            match flag.as_str() {
                "--binary" => options.binary = PathBuf::from(&value),
                "--relays" => options.relays = usize::try_from(number()?).unwrap_or(usize::MAX).clamp(1, 1_000),
                "--minutes" => options.minutes = number()?.max(1),
                "--seed" => options.seed = number()?,
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        if options.binary.as_os_str().is_empty() {
            return Err("--binary is missing".to_owned());
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options).await {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            eprintln!("seed {}", options.seed);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}\nseed {}", options.seed);
            ExitCode::FAILURE
        }
    }
}

/// What is not as it should be.
async fn run(options: &Options) -> Result<Vec<String>, Error> {
    let (relays, world) = relays(options).await?;
    let mut daemon = Daemon::start(&options.binary, DOMAIN, relays[0].url()).await?;
    daemon.settled(relays.len(), PATIENCE).await?;
    println!("{} relays, {} events: complete after {:.1} s", relays.len(), world.events().len(), daemon.age());
    println!("{}", Sample::HEADER);
    let mut troubles = Troubles::new(options.seed, world);

    // Rounds of equal length, each half troubles and half quiet.
    let rounds = options.minutes.clamp(2, 5);
    let half = Duration::from_secs(options.minutes * 60) / u32::try_from(rounds * 2)?;
    let mut after = Vec::new();
    for round in 1..=rounds {
        let end = Instant::now() + half;
        let mut pace = tokio::time::interval(PACE);
        while Instant::now() < end {
            pace.tick().await;
            troubles.happen(&relays).await?;
        }
        let busy = daemon.sample()?;
        println!("{}", busy.line(&format!("round {round}, troubles")));
        troubles.end(&relays).await?;
        let quiet = Instant::now();
        daemon.settled(relays.len(), PATIENCE.max(half)).await?;
        // What is idle is so from here on.
        let _ = daemon.sample()?;
        tokio::time::sleep(half.saturating_sub(quiet.elapsed()).max(Duration::from_secs(10))).await;
        let idle = daemon.sample()?;
        println!("{}", idle.line(&format!("round {round}, quiet")));
        after.push(idle);
    }
    let mut problems = judged(&after);
    let missing = troubles.missing(&daemon.stored().await?, DOMAIN);
    problems.extend((missing > 0).then(|| format!("{missing} events are missing in the store")));
    println!(
        "{} published, {} troubles, {} events in the store",
        troubles.published, troubles.count, troubles.accepted
    );
    daemon.stop().await?;
    Ok(problems)
}

async fn relays(options: &Options) -> Result<(Vec<RunningRelay>, World), Error> {
    let mut relays = Vec::new();
    for _ in 0..options.relays {
        relays.push(ScriptedRelay::start(RelayOptions::default()).await?);
    }
    let urls: Vec<_> = relays.iter().map(|relay| relay.url().clone()).collect();
    let spec = WorldSpec { seed: options.seed, repos: options.relays * 4, authors: 100, ..WorldSpec::default() };
    let world = World::generate(spec, &urls, DOMAIN);
    for (place, relay) in relays.iter().enumerate() {
        world.events_for(place).into_iter().for_each(|event| _ = relay.publish(event));
    }
    Ok((relays, world))
}

/// Compares the quiet halves of the rounds: the first has everything that is allocated once.
fn judged(after: &[Sample]) -> Vec<String> {
    let [first, .., last] = after else { return Vec::new() };
    let mut problems = Vec::new();
    // A quarter and a few pages: the allocator gives back what it likes, when it likes.
    let allowed = first.memory + first.memory / 4 + (8 << 20);
    if last.memory > allowed {
        problems.push(format!("{} KiB of memory after {} KiB", last.memory >> 10, first.memory >> 10));
    }
    if last.descriptors > first.descriptors + 8 {
        problems.push(format!("{} file descriptors after {}", last.descriptors, first.descriptors));
    }
    for (round, sample) in (1..).zip(after) {
        if sample.cpu > IDLE_CPU {
            problems.push(format!("{:.1} % of a core in the quiet half of round {round}", sample.cpu));
        }
    }
    problems
}

//! A scripted relay in a process of its own.
//!
//! Prints `listening ws://127.0.0.1:PORT` once it listens. Each line on stdin is a JSON object of faults, which
//! replace those before, and is answered with `faults set` on stdout. Stops when stdin ends, or on SIGTERM or SIGINT.

use std::fs::File;
use std::io::{BufReader, Write};
use std::process::ExitCode;

use testkit::relay::{Faults, RelayOptions, RunningRelay, ScriptedRelay};
use testkit::world::from_jsonl;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const USAGE: &str = "usage: scripted-relay [--port N] [--events FILE.jsonl] [--options JSON] [--faults JSON]";

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    options: RelayOptions,
    faults: Faults,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Error> {
        let (mut arguments, mut port, mut events) = (Self::default(), None, None);
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--port" => port = Some(value.parse().map_err(|error| format!("--port {value}: {error}"))?),
                "--events" => {
                    let file = File::open(&value).map_err(|error| format!("--events {value}: {error}"))?;
                    let read = from_jsonl(BufReader::new(file));
                    events = Some(read.map_err(|error| format!("--events {value}: {error}"))?);
                }
                "--options" => {
                    arguments.options = serde_json::from_str(&value).map_err(|error| format!("--options: {error}"))?;
                }
                "--faults" => {
                    arguments.faults = serde_json::from_str(&value).map_err(|error| format!("--faults: {error}"))?;
                }
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        arguments.options.port = port.unwrap_or(arguments.options.port);
        arguments.options.events = events.unwrap_or_default();
        Ok(arguments)
    }
}

async fn run(arguments: Arguments) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let core = testkit::relay::RelayCore::new(arguments.options.clone());
    core.set_faults(|faults| *faults = arguments.faults);
    let relay = ScriptedRelay::serve(core, arguments.options.port).await?;
    println!("listening {}", relay.url());
    std::io::stdout().flush()?;
    let mut lines = stdin_lines();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            line = lines.recv() => match line {
                None => break,
                Some(line) => set_faults(&relay, &line)?,
            },
        }
    }
    relay.stop().await;
    Ok(())
}

fn set_faults(relay: &RunningRelay, line: &str) -> Result<(), Error> {
    let faults = serde_json::from_str(line).map_err(|error| format!("stdin: {error}"))?;
    relay.set_faults(|held| *held = faults);
    println!("faults set");
    std::io::stdout().flush()?;
    Ok(())
}

/// The lines of stdin. Reading blocks, so it has a thread of its own, which the end of the process ends.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

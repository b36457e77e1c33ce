//! `foreign-relay NAME ADDRESS FOLDER`: a relay that others wrote as a process. Says its address on stdout once it listens,
//! keeps its events in the folder, and serves until it is killed or its stdin ends.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use interop::process::Kind;
use interop::relays::{Relay, RelayBuilderRelay, RsRelay};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((kind, address, folder)) = parse(&args) else {
        eprintln!("usage: foreign-relay relay-builder|rs-relay ADDRESS FOLDER");
        return ExitCode::from(2);
    };
    let relay: Box<dyn Relay> = match kind {
        Kind::RelayBuilder => Box::new(RelayBuilderRelay::start_at(address, folder).await),
        Kind::RsRelay => Box::new(RsRelay::start_at(address, folder)),
    };
    let said = writeln!(std::io::stdout(), "{}", relay.url());
    said.expect("stdout is read");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    drop(relay);
    if matches!(ended, Ok(Ok(_))) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(args: &[String]) -> Option<(Kind, SocketAddr, &Path)> {
    let [kind, address, folder] = args else { return None };
    Some((Kind::named(kind)?, address.parse().ok()?, Path::new(folder)))
}

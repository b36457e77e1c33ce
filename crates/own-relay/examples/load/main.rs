//! What serving costs, clients on the same machine included: a row of JSON for each figure.
//!
//! `cargo run --release -p own-relay --example load -- [PART] [SIZE]`, where PART is one of
//!
//! - `fan-out [SUBSCRIBERS]`: 20,000 events arrive, and each of so many subscribers (1,000) wants all of them; needs two file
//!   descriptors for each (`ulimit -n`);
//! - `stored [EVENTS]`: one REQ for so many events (100,000);
//! - `reconcile [IDS]`: NIP-77 over so many ids (1,000,000), equal, and 1 % different.

mod fan_out;
mod reconcile;
mod served;
mod stored;

use std::error::Error;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().unwrap_or_default();
    let size = arguments.next().map(|text| text.parse()).transpose()?;
    match part.as_str() {
        "fan-out" => fan_out::run(size.unwrap_or(1_000)).await,
        "stored" => stored::run(size.unwrap_or(100_000)).await,
        "reconcile" => reconcile::run(size.unwrap_or(1_000_000)).await,
        other => Err(format!("`{other}` is none of fan-out, stored, reconcile").into()),
    }
}

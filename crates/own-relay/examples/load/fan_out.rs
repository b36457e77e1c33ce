//! Live events to many subscribers.

use std::time::Instant;

use serde_json::json;

use crate::Outcome;
use crate::served::{Client, Served, event, memory, row};

const EVENTS: u64 = 20_000;

pub(crate) async fn run(subscribers: u64) -> Outcome<()> {
    let served = Served::start().await?;
    let mut hearing = Vec::new();
    for _ in 0..subscribers {
        let mut client = served.client().await?;
        client.send(&json!(["REQ", "live", { "kinds": [30617], "limit": 0 }])).await?;
        client.text().await?;
        hearing.push(tokio::spawn(hear(client)));
    }
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    let begun = Instant::now();
    served.put(events).await?;
    let stored = begun.elapsed().as_secs_f64();
    for client in hearing {
        client.await??;
    }
    let took = begun.elapsed().as_secs_f64();
    row(format!("{EVENTS} events to {subscribers} subscribers"), (subscribers * EVENTS) as f64 / took, "deliveries/s");
    row(format!("{EVENTS} events to {subscribers} subscribers, until stored"), stored, "s");
    row(format!("memory with {subscribers} subscribers and their clients"), memory(), "MiB");
    served.stop().await
}

/// Reads every event once.
async fn hear(mut client: Client) -> Outcome<()> {
    for _ in 0..EVENTS {
        client.text().await?;
    }
    Ok(())
}

//! One REQ for everything that is stored.

use std::time::Instant;

use serde_json::json;

use crate::Outcome;
use crate::served::{Served, event, row};

const RUNS: usize = 3;

pub(crate) async fn run(count: u64) -> Outcome<()> {
    let served = Served::start().await?;
    served.put((0..count).map(event).collect()).await?;
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let mut client = served.client().await?;
        let begun = Instant::now();
        client.send(&json!(["REQ", "all", {}])).await?;
        let mut events = 0;
        while !client.text().await?.starts_with("[\"EOSE\"") {
            events += 1;
        }
        assert_eq!(events, count, "all of them");
        rates.push(count as f64 / begun.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    row(format!("one REQ of {count} events"), rates[RUNS / 2], "events/s");
    served.stop().await
}

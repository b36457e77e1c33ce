//! NIP-77 as the answering side, with the crate `negentropy` as the client.

use std::time::Instant;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::event::Event;
use serde_json::{Value, json};

use crate::Outcome;
use crate::served::{Served, event, memory, row};

/// Bytes of a message from the client.
const FRAME: u64 = 60_000;

pub(crate) async fn run(count: u64) -> Outcome<()> {
    let served = Served::start().await?;
    let mut ids = Vec::new();
    // A part at a time: the events themselves are of no use afterwards.
    for start in (0..count).step_by(50_000) {
        let events: Vec<Event> = (start..(start + 50_000).min(count)).map(event).collect();
        ids.extend(events.iter().map(|event| (event.created_at.as_secs(), event.id.to_bytes())));
        served.put(events).await?;
    }
    row(format!("memory with {count} events stored"), memory(), "MiB");
    compare(&served, &ids, "equal").await?;
    let different: Vec<_> = ids.iter().enumerate().filter(|(place, _)| place % 100 != 0).map(|(_, id)| *id).collect();
    compare(&served, &different, "1 % different").await?;
    row(format!("memory after {count} ids were compared"), memory(), "MiB");
    served.stop().await
}

async fn compare(served: &Served, ids: &[(u64, [u8; 32])], what: &str) -> Outcome<()> {
    let mut storage = NegentropyStorageVector::new();
    for (created_at, id) in ids {
        storage.insert(*created_at, Id::from_byte_array(*id))?;
    }
    storage.seal()?;
    let mut ours = Negentropy::owned(storage, FRAME)?;
    let mut client = served.client().await?;
    let begun = Instant::now();
    let mut message = ours.initiate()?;
    let (mut rounds, mut needed, mut had) = (0, Vec::new(), Vec::new());
    client.send(&json!(["NEG-OPEN", "n", {}, hex(&message)])).await?;
    let mut first = 0.0;
    loop {
        let answer: Value = serde_json::from_str(&client.text().await?)?;
        rounds += 1;
        if rounds == 1 {
            first = begun.elapsed().as_secs_f64();
        }
        let text = answer[2].as_str().filter(|_| answer[0] == "NEG-MSG").ok_or_else(|| answer.to_string())?;
        match ours.reconcile_with_ids(&unhex(text)?, &mut had, &mut needed)? {
            Some(next) => message = next,
            None => break,
        }
        client.send(&json!(["NEG-MSG", "n", hex(&message)])).await?;
    }
    let took = begun.elapsed().as_secs_f64();
    row(format!("reconciliation, {what}, {} found in {rounds} rounds", needed.len() + had.len()), took, "s");
    row(format!("reconciliation, {what}, the first answer"), first, "s");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Outcome<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

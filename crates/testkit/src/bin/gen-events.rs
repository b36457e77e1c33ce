//! Writes signed events of about 600 bytes as JSON lines to stdout, for benches: `gen-events COUNT [SEED]`.
//!
//! The same arguments give the same events.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use testkit::world::{BulkSpec, bulk_events, to_jsonl};

/// Events in memory at once.
const CHUNK: usize = 10_000;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let count = words.next().and_then(|word| word.parse::<usize>().ok());
    let seed = words.next().map_or(Ok(1), |word| word.parse::<u64>());
    let (Some(count), Ok(seed), None) = (count, seed, words.next()) else {
        eprintln!("usage: gen-events COUNT [SEED]");
        return ExitCode::from(2);
    };
    match write(count, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("can't write: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(count: usize, seed: u64) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for first in (0..count).step_by(CHUNK) {
        let base = BulkSpec::default();
        let spec = BulkSpec { seed, count: CHUNK.min(count - first), start: base.start + first as u64, ..base };
        out.write_all(to_jsonl(&bulk_events(&spec)).as_bytes())?;
    }
    out.flush()
}

//! A collector of traces as a process, for the benchmark of tracing: prints `listening URL`, takes what comes until its stdin
//! ends, then prints how much came, as one line of JSON.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Read, Write};

use testkit::otlp::Receiver;

fn main() -> Result<(), Box<dyn Error>> {
    let receiver = Receiver::start()?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening {}", receiver.endpoint())?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let spans = receiver.spans();
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
    let roots = spans.iter().filter(|span| span.name == "sync.batch").count();
    let problems = receiver.problems();
    let said = serde_json::json!({
        "spans": spans.len(), "traces": traces.len(), "batches": roots, "problems": problems,
    });
    writeln!(stdout, "{said}")?;
    Ok(())
}

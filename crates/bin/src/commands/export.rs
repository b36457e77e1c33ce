//! `export`: stored events as JSON lines on stdout, newest first.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use nostr::filter::Filter;
use sync_core::store::EventStore;

use super::now;
use crate::cli::ExportArgs;
use crate::config::Config;
use crate::exit::{CliError, Exit};
use crate::store::{Access, open};

/// Exports.
///
/// # Errors
/// The store can't be read, or stdout can't be written.
pub fn run(args: &ExportArgs, config: &Config) -> Result<Exit, CliError> {
    let store = open(config, Access::Read, None)?;
    export(&store, &args.filters, now(), io::stdout().lock())?;
    Ok(Exit::Done)
}

/// Writes the events that match any of `filters` (all where there is none), one a line, each once.
///
/// # Errors
/// The store can't be read, or `out` can't be written.
pub fn export(store: &dyn EventStore, filters: &[Filter], now: u64, out: impl Write) -> Result<(), CliError> {
    let everything = [Filter::new()];
    let filters = if filters.is_empty() { &everything } else { filters };
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut written = Ok(());
    store.query(filters, now, &mut |event| {
        written = serde_json::to_writer(&mut out, &event).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written.and_then(|()| out.flush()).map_err(|error| {
        // What is still buffered can't be written either; dropping the buffer must not try.
        let _ = out.into_parts();
        CliError::output(&error)
    })
}

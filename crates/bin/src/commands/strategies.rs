//! `strategies`: every strategy that is available, in the configured order.

use serde::Serialize;

use crate::cli::StrategiesArgs;
use crate::config::Loaded;
use crate::exit::{CliError, Exit};
use crate::output::print;
use crate::strategies::Registry;

/// One row.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'a str,
    version: &'a str,
    /// `preferred`, `fallback`, or `unused`.
    state: &'a str,
    /// Place in `sync.strategies`, from 1.
    position: Option<usize>,
    /// Of a plugin.
    file: Option<&'a str>,
    /// Of a plugin.
    abi: Option<&'a str>,
}

/// Lists them: those of `sync.strategies` in order, then the others by name.
///
/// # Errors
/// A strategy's configuration is wrong; or stdout can't be written.
pub fn run(args: &StrategiesArgs, loaded: &Loaded, registry: &Registry) -> Result<Exit, CliError> {
    registry.build(loaded)?;
    let order = &loaded.config.sync.strategies;
    let mut rows: Vec<_> = registry
        .all()
        .iter()
        .map(|available| {
            let position = order.iter().position(|name| name.as_str() == available.name);
            let state = match position {
                Some(0) => "preferred",
                Some(_) => "fallback",
                None => "unused",
            };
            let position = position.map(|at| at + 1);
            let (name, version) = (available.name, available.version);
            Row { name, kind: "built-in", version, state, position, file: None, abi: None }
        })
        .collect();
    rows.sort_by_key(|row| (row.position.unwrap_or(usize::MAX), row.name));
    if args.json {
        let document = serde_json::to_string_pretty(&rows).map_err(|error| CliError::Failed(error.to_string()))?;
        print(&format!("{document}\n"))?;
    } else {
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max(4);
        let mut text = format!("{:<width$}  {:<8}  {:<9}  VERSION\n", "NAME", "KIND", "STATE");
        for row in &rows {
            text += &format!("{:<width$}  {:<8}  {:<9}  {}\n", row.name, row.kind, row.state, row.version);
        }
        print(&text)?;
    }
    Ok(Exit::Done)
}

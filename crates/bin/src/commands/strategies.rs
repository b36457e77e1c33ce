//! `strategies`: every strategy that is available, in the configured order, and every plugin that can't be used.

use std::fmt::Write as _;

use serde::Serialize;
use sync_core::manager::{PluginReport, PluginState};

use crate::cli::StrategiesArgs;
use crate::config::{ConfigErrors, Loaded};
use crate::exit::{CliError, Exit};
use crate::output::{plain, print};
use crate::strategies::Registry;

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    /// `None` where a file could not be asked for it.
    name: Option<String>,
    /// `built-in` or `plugin`.
    kind: &'static str,
    version: Option<String>,
    /// `preferred`, `fallback`, or `unused`; of a plugin that can't be used `failed` or `barred`.
    state: &'static str,
    /// Place in `sync.strategies`, from 1.
    position: Option<usize>,
    /// Of a plugin.
    file: Option<String>,
    /// Of a plugin: the version of the interface that it was built for.
    abi: Option<String>,
    /// Of a plugin: SHA-256 of its file, in hex.
    sha256: Option<String>,
    /// Why it can't be used.
    reason: Option<String>,
}

/// Lists them: those of `sync.strategies` in order, then the others by name, then what has none.
///
/// # Errors
/// A strategy's configuration is wrong: that is said after the list; or stdout can't be written.
pub fn run(args: &StrategiesArgs, loaded: &Loaded, registry: &Registry) -> Result<Exit, CliError> {
    let (strategies, problems) = registry.try_build(loaded);
    let order = &loaded.config.sync.strategies;
    let place = |name: &str| order.iter().position(|named| named.as_str() == name);
    let state = |position: Option<usize>| match position {
        Some(0) => "preferred",
        Some(_) => "fallback",
        None => "unused",
    };
    let built_in = registry.all().iter().filter(|available| available.plugin().is_none()).map(|available| {
        let position = place(&available.name);
        Row {
            name: Some(available.name.clone()),
            kind: "built-in",
            version: Some(available.version.clone()),
            state: state(position),
            position: position.map(|at| at + 1),
            file: None,
            abi: None,
            sha256: None,
            reason: None,
        }
    });
    let plugins = strategies.plugins().into_iter().map(|plugin| {
        let PluginReport { name, version, file, abi, sha256, state: of_plugin, reason } = plugin;
        let usable = of_plugin == PluginState::Loaded;
        let position = name.as_deref().filter(|_| usable).and_then(place);
        let state = if usable { state(position) } else { of_plugin.as_str() };
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        let position = position.map(|at| at + 1);
        Row { name, kind: "plugin", version, state, position, file: Some(file), abi, sha256, reason }
    });
    let mut rows: Vec<Row> = built_in.chain(plugins).collect();
    rows.sort_by_key(|row| (row.position.unwrap_or(usize::MAX), row.name.is_none(), row.name.clone()));
    if args.json {
        let document = serde_json::to_string_pretty(&rows).map_err(|error| CliError::Failed(error.to_string()))?;
        print(&format!("{document}\n"))?;
    } else {
        print(&table(&rows))?;
    }
    if problems.is_empty() { Ok(Exit::Done) } else { Err(ConfigErrors(problems).into()) }
}

fn table(rows: &[Row]) -> String {
    let name = |row: &Row| row.name.clone().unwrap_or_else(|| "?".to_owned());
    let width = rows.iter().map(|row| name(row).len()).max().unwrap_or_default().max(4);
    let mut text = format!("{:<width$}  {:<8}  {:<9}  VERSION\n", "NAME", "KIND", "STATE");
    for row in rows {
        let version = row.version.as_deref().unwrap_or("?");
        let _ = writeln!(text, "{:<width$}  {:<8}  {:<9}  {}", name(row), row.kind, row.state, plain(version));
        let details = [("file", &row.file), ("abi", &row.abi), ("sha256", &row.sha256), ("reason", &row.reason)];
        for (label, value) in details {
            if let Some(value) = value {
                let _ = writeln!(text, "  {label:<6}  {}", plain(value));
            }
        }
    }
    text
}

//! The tables of the page: their columns, and what a row says. `page.js` says the same of what arrives later.

use std::fmt::{self, Display};

use sync_core::manager::{BatchProgress, Incident, PluginReport, PluginState, RelayReport};
use sync_core::model::{ConnectionStatus, FilterCoverage, HealthState};

use super::text::{Escaped, counted, grouped, words};
use crate::output::moment;

/// A table of the page.
pub(super) struct Table {
    /// Its name within the page.
    pub(super) id: &'static str,
    /// What is said where it has no rows.
    pub(super) none: &'static str,
    /// Label and class of each column. The first names the row.
    pub(super) columns: &'static [(&'static str, &'static str)],
}

/// The class of a column whose cells have a bar under their text.
const BAR: &str = "bar";

pub(super) const RELAYS: Table = Table {
    id: "relays",
    none: "No relay is known.",
    columns: &[
        ("Relay", "name"),
        ("Status", "fixed"),
        ("Health", "fixed"),
        ("Strategy", "text"),
        ("Coverage", "text"),
        ("Events stored", "number"),
        ("Last connected", "moment"),
        ("Reason", "words"),
    ],
};

pub(super) const BATCHES: Table = Table {
    id: "batches",
    none: "None.",
    columns: &[
        ("Relay", "name"),
        ("Why", "text"),
        ("Layer", "text"),
        ("Strategy", "text"),
        ("Progress", BAR),
        ("Confirms", "text"),
        ("Since", "moment"),
    ],
};

pub(super) const INCIDENTS: Table = Table {
    id: "incidents",
    none: "None since the start.",
    columns: &[("Relay", "name"), ("When", "moment"), ("What", "text"), ("Reason", "words"), ("Times", "number")],
};

pub(super) const PLUGINS: Table = Table {
    id: "plugins",
    none: "None.",
    columns: &[("Name", "name"), ("Version", "text"), ("State", "fixed"), ("File", "words"), ("Reason", "words")],
};

/// What stands in a cell.
#[derive(Default)]
pub(super) struct Cell {
    text: String,
    tone: &'static str,
    /// How much is done of how much.
    bar: Option<(u64, u64)>,
}

impl Cell {
    fn toned(text: impl Into<String>, tone: &'static str) -> Self {
        Self { text: text.into(), tone, bar: None }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, "")
    }
}

impl Table {
    /// The table with its rows, which JavaScript finds by the table's name, and a row without texts for it to copy.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, rows: impl Iterator<Item = Vec<Cell>>) -> fmt::Result {
        let Self { id, none, .. } = self;
        let mut rows = rows.peekable();
        let (no_table, no_words) = if rows.peek().is_some() { ("", " hidden") } else { (" hidden", "") };
        writeln!(f, "<p class=\"none\" id=\"{id}-none\"{no_words}>{none}</p>\n<table id=\"{id}-table\"{no_table}>")?;
        f.write_str("<thead><tr>")?;
        for (label, class) in self.columns {
            write!(f, "<th scope=\"col\" class=\"{class}\">{label}</th>")?;
        }
        writeln!(f, "</tr></thead>\n<tbody id=\"{id}-rows\">")?;
        for cells in rows {
            writeln!(f, "{}", Row { table: self, cells: &cells })?;
        }
        let empty: Vec<Cell> = self.columns.iter().map(|_| Cell::default()).collect();
        let template = Row { table: self, cells: &empty };
        writeln!(f, "</tbody>\n</table>\n<template id=\"{id}-row\">{template}</template>")
    }
}

struct Row<'a> {
    table: &'a Table,
    cells: &'a [Cell],
}

impl Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<tr>")?;
        for (at, ((label, class), cell)) in self.table.columns.iter().zip(self.cells).enumerate() {
            let element = if at == 0 { "th scope=\"row\"" } else { "td" };
            let (text, tone) = (Escaped(&cell.text), cell.tone);
            write!(f, "<{element} class=\"{class}\" data-label=\"{label}\"><span data-tone=\"{tone}\">{text}</span>")?;
            if *class == BAR {
                let (done, all) = cell.bar.unwrap_or((0, 1));
                write!(f, "<progress value=\"{done}\" max=\"{}\"></progress>", all.max(1))?;
            }
            f.write_str(if at == 0 { "</th>" } else { "</td>" })?;
        }
        f.write_str("</tr>")
    }
}

pub(super) fn relay(relay: &RelayReport) -> Vec<Cell> {
    let sum = |of: fn(&FilterCoverage) -> usize| relay.coverage.iter().map(of).sum::<usize>() as u64;
    let mut coverage = items(relay.repos, relay.root_events);
    if !relay.coverage.is_empty() {
        let so_far = windows(sum(|filter| filter.drained.len()), sum(|filter| filter.open.len()));
        coverage = format!("{coverage}; {so_far}");
    }
    let error = relay.last_error.as_deref().unwrap_or_default();
    let error = if error.is_empty() || error == relay.reason { String::new() } else { format!("last error: {error}") };
    let reasons: Vec<String> =
        [&relay.reason, &error].into_iter().filter(|reason| !reason.is_empty()).map(|reason| words(reason)).collect();
    vec![
        relay.url.as_str().into(),
        Cell::toned(relay.status.to_string(), tone_of_status(relay.status)),
        Cell::toned(relay.health.to_string(), tone_of_health(relay.health)),
        relay.strategy.replace(',', ", ").into(),
        coverage.into(),
        grouped(relay.events_stored).into(),
        relay.last_connected.map_or_else(|| "never".to_owned(), moment).into(),
        reasons.join("; ").into(),
    ]
}

pub(super) fn batch(batch: &BatchProgress) -> Vec<Cell> {
    let again = if batch.tries > 0 { format!(", try {}", batch.tries + 1) } else { String::new() };
    let progress = format!(
        "{} of {}; {}; {} ended",
        grouped(batch.filters_drained),
        counted(batch.filters, "filter", "filters"),
        windows(batch.windows_drained, batch.windows_open),
        counted(batch.sessions, "session", "sessions"),
    );
    vec![
        batch.relay.as_str().into(),
        (batch.reason.replace('_', " ") + &again).into(),
        batch.layer.as_str().into(),
        batch.strategy.as_str().into(),
        Cell { bar: Some((batch.filters_drained, batch.filters)), ..progress.into() },
        items(batch.repos, batch.root_events).into(),
        moment(batch.since).into(),
    ]
}

pub(super) fn incident(incident: &Incident) -> Vec<Cell> {
    let subject = if incident.subject.is_empty() { String::new() } else { format!(": {}", incident.subject) };
    vec![
        incident.relay.as_str().into(),
        moment(incident.at).into(),
        format!("{}{subject}", incident.kind).into(),
        words(&incident.reason).into(),
        grouped(incident.count).into(),
    ]
}

pub(super) fn plugin(plugin: &PluginReport) -> Vec<Cell> {
    let tone = if plugin.state == PluginState::Loaded { "good" } else { "bad" };
    vec![
        plugin.name.as_deref().unwrap_or("unnamed").into(),
        plugin.version.as_deref().unwrap_or_default().into(),
        Cell::toned(plugin.state.as_str(), tone),
        plugin.file.as_str().into(),
        words(&plugin.reason).into(),
    ]
}

fn items(repos: u64, root_events: u64) -> String {
    let repos = counted(repos, "repository", "repositories");
    format!("{repos}, {}", counted(root_events, "root event", "root events"))
}

fn windows(drained: u64, open: u64) -> String {
    format!("{} drained, {} open", counted(drained, "window", "windows"), grouped(open))
}

fn tone_of_status(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Connected => "good",
        ConnectionStatus::Syncing | ConnectionStatus::Connecting => "busy",
        ConnectionStatus::ConnectedDegraded => "warn",
        ConnectionStatus::Disconnected => "off",
    }
}

fn tone_of_health(health: HealthState) -> &'static str {
    match health {
        HealthState::Healthy => "good",
        HealthState::Degraded | HealthState::RateLimited => "warn",
        HealthState::Dead => "bad",
        HealthState::Disconnected => "off",
    }
}

//! The document for people: at most [`WIDTH`] columns, whatever stands in it.

use std::fmt::Write as _;

use sync_core::manager::{
    BatchProgress, Incident, OwnRelayReport, PluginReport, PluginState, RelayReport, StatusReport,
};
use sync_core::model::{ConnectionStatus, FilterCoverage, HealthState};

use super::columns::{fit, number, padded, put};
use crate::output::{moment, plain};

/// The widths of the columns, with a space between: 80 in all.
const WIDTHS: [usize; 6] = [29, 17, 12, 5, 5, 7];
/// Filters under way that are shown for one relay, and how much of each.
const MAX_FILTERS: usize = 3;
const FILTER_WIDTH: usize = 24;
/// Batches, and incidents, that are shown; the rest is counted.
const MAX_BATCHES: usize = 10;
const MAX_INCIDENTS: usize = 10;

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BLUE: &str = "34";
const FAINT: &str = "2";
const BOLD: &str = "1";

/// Writes a table, with colours or without.
pub(super) struct Painter {
    /// Whether a terminal is to show colours.
    pub(super) colours: bool,
}

impl Painter {
    /// The document as lines.
    pub(super) fn table(&self, report: &StatusReport) -> String {
        let mut out = String::new();
        summary(&mut out, report);
        if !report.trouble.is_empty() {
            self.put(&mut out, RED, 0, &format!("trouble: {}", report.trouble));
        }
        if let Some(own) = &report.own_relay {
            self.own_relay(&mut out, own);
        }
        report.plugins.iter().for_each(|plugin| self.plugin(&mut out, plugin));
        out.push('\n');
        self.heading(&mut out);
        report.relays.iter().for_each(|relay| self.relay(&mut out, relay));
        if !report.batches.is_empty() {
            out.push('\n');
            self.put(&mut out, BOLD, 0, "BATCHES IN FLIGHT");
            report.batches.iter().take(MAX_BATCHES).for_each(|shown| batch(&mut out, shown));
            rest(&mut out, report.totals.pending_batches.saturating_sub(MAX_BATCHES as u64));
        }
        if !report.incidents.is_empty() {
            out.push('\n');
            self.put(&mut out, BOLD, 0, "RECENT FALLBACKS AND FAILURES");
            report.incidents.iter().take(MAX_INCIDENTS).for_each(|incident| self.incident(&mut out, incident));
            rest(&mut out, report.incidents.len().saturating_sub(MAX_INCIDENTS) as u64);
        }
        out
    }

    fn own_relay(&self, out: &mut String, own: &OwnRelayReport) {
        let kind = if own.embedded { "embedded" } else { "external" };
        let state = if own.up { "up" } else { "DOWN" };
        let held = if own.embedded { String::new() } else { format!(", {} events wait for it", own.held) };
        let colour = if own.up { "" } else { RED };
        self.put(out, colour, 0, &format!("own relay {} ({kind}): {state}{held}", own.url));
        reason(out, &own.reason);
    }

    fn plugin(&self, out: &mut String, plugin: &PluginReport) {
        let name = plugin.name.as_deref().unwrap_or(&plugin.file);
        let version = plugin.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let colour = if plugin.state == PluginState::Loaded { "" } else { RED };
        self.put(out, colour, 0, &format!("plugin {name}{version}: {}", plugin.state.as_str()));
        reason(out, &plugin.reason);
    }

    fn heading(&self, out: &mut String) {
        let [a, b, c, d, e, f] = WIDTHS;
        let (relay, status, health) = (padded("RELAY", a), padded("STATUS", b), padded("HEALTH", c));
        let line = format!("{relay} {status} {health} {:>d$} {:>e$} {:>f$}", "REPOS", "ROOTS", "BATCHES");
        let _ = writeln!(out, "{}", self.paint(BOLD, &line));
    }

    fn relay(&self, out: &mut String, relay: &RelayReport) {
        let [a, b, c, d, e, f] = WIDTHS;
        let status = self.paint(colour_of_status(relay.status), &padded(&relay.status.to_string(), b));
        let health = self.paint(colour_of_health(relay.health), &padded(&relay.health.to_string(), c));
        let (repos, roots) = (number(relay.repos, d), number(relay.root_events, e));
        let batches = number(relay.pending_batches, f);
        let name = padded(&plain(short(relay.url.as_str())), a);
        let _ = writeln!(out, "{name} {status} {health} {repos:>d$} {roots:>e$} {batches:>f$}");
        if !relay.strategy.is_empty() {
            put(out, 2, &format!("by {}", relay.strategy.replace(',', ", ")));
        }
        for filter in relay.coverage.iter().filter(|filter| !filter.open.is_empty()).take(MAX_FILTERS) {
            put(out, 2, &progress(filter));
        }
        reason(out, &relay.reason);
        let error = relay.last_error.as_deref().unwrap_or_default();
        if !error.is_empty() && error != relay.reason {
            put(out, 2, &format!("last error: {error}"));
        }
    }

    fn incident(&self, out: &mut String, incident: &Incident) {
        let Incident { at, relay, kind, subject, count, .. } = incident;
        let subject = if subject.is_empty() { String::new() } else { format!(" {subject}") };
        let times = if *count > 1 { format!(", {count} times") } else { String::new() };
        self.put(out, "", 0, &format!("{} {}: {kind}{subject}{times}", moment(*at), short(relay.as_str())));
        self.put(out, FAINT, 2, &incident.reason);
    }

    /// Lines of one colour.
    fn put(&self, out: &mut String, colour: &str, indent: usize, text: &str) {
        let mut lines = String::new();
        put(&mut lines, indent, text);
        for line in lines.lines() {
            let _ = writeln!(out, "{}", self.paint(colour, line));
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours && !colour.is_empty() { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn summary(out: &mut String, report: &StatusReport) {
    let totals = &report.totals;
    put(
        out,
        0,
        &format!(
            "grasp-sync {}: {} relays, {} connected, {} complete, {} degraded, {} dead",
            report.version, totals.relays, totals.connected, totals.complete, totals.degraded, totals.dead
        ),
    );
    put(
        out,
        0,
        &format!(
            "{} repositories, {} root events, {} batches in flight, {} events stored",
            totals.repos, totals.root_events, totals.pending_batches, totals.store_events
        ),
    );
    if let Some(last) = report.events_per_second.last() {
        let most = report.events_per_second.iter().max().unwrap_or(last);
        put(out, 0, &format!("{last} events in the last second, {most} at most in one of the last two minutes"));
    }
}

fn batch(out: &mut String, batch: &BatchProgress) {
    let by = if batch.strategy.is_empty() { String::new() } else { format!(" by {}", batch.strategy) };
    let text = format!(
        "{}: {} (layer {}){by}, {} of {} filters, {} windows drained, {} open, since {}",
        short(batch.relay.as_str()),
        batch.reason.replace('_', " "),
        batch.layer,
        batch.filters_drained,
        batch.filters,
        batch.windows_drained,
        batch.windows_open,
        moment(batch.since),
    );
    put(out, 0, &text);
}

fn reason(out: &mut String, reason: &str) {
    if !reason.is_empty() {
        put(out, 2, reason);
    }
}

/// Says how much isn't shown.
fn rest(out: &mut String, more: u64) {
    if more > 0 {
        put(out, 0, &format!("… and {more} more"));
    }
}

/// How far a filter has come, for people.
fn progress(filter: &FilterCoverage) -> String {
    let (drained, open) = (filter.drained.len(), filter.open.len());
    let until = filter.open.last().map_or(0, |window| window.until);
    let name = fit(&plain(&filter.filter), FILTER_WIDTH);
    format!("{name}: {drained} windows drained, {open} open, the newest up to {until}")
}

fn short(url: &str) -> &str {
    url.strip_prefix("wss://").unwrap_or(url)
}

fn colour_of_status(status: ConnectionStatus) -> &'static str {
    match status {
        ConnectionStatus::Connected => GREEN,
        ConnectionStatus::Syncing | ConnectionStatus::Connecting => BLUE,
        ConnectionStatus::ConnectedDegraded => YELLOW,
        ConnectionStatus::Disconnected => FAINT,
    }
}

fn colour_of_health(health: HealthState) -> &'static str {
    match health {
        HealthState::Healthy => GREEN,
        HealthState::Degraded | HealthState::RateLimited => YELLOW,
        HealthState::Dead => RED,
        HealthState::Disconnected => FAINT,
    }
}

#[cfg(test)]
mod tests {
    use sync_core::manager::{IncidentKind, Totals};
    use sync_core::model::RelayUrl;
    use sync_core::strategy::Window;

    use super::super::columns::{WIDTH, width};
    use super::*;

    fn relay(url: &str, reason: &str) -> RelayReport {
        RelayReport {
            url: RelayUrl::parse(url).expect("valid"),
            status: ConnectionStatus::ConnectedDegraded,
            health: HealthState::Disconnected,
            reason: reason.to_owned(),
            strategy: "negentropy,req".to_owned(),
            repos: 12_345,
            root_events: 54_321,
            pending_batches: 7,
            coverage: Vec::new(),
            events_stored: 0,
            last_connected: None,
            last_error: Some("closed".to_owned()),
        }
    }

    /// A report with `word` wherever a text may be a stranger's, and numbers as large as can be.
    fn report_with(word: &str) -> StatusReport {
        let url = RelayUrl::parse(&format!("wss://{}.example.com", "a".repeat(60))).expect("valid");
        let word = || word.to_owned();
        let mut shown = relay(url.as_str(), &word());
        (shown.repos, shown.root_events, shown.pending_batches) = (u64::MAX, u64::MAX, u64::MAX);
        (shown.strategy, shown.last_error) = (word(), Some(format!("{} again", word())));
        let open = vec![Window { since: 0, until: u64::MAX }];
        shown.coverage = vec![FilterCoverage { filter: word(), open, ..FilterCoverage::default() }];
        let plugin = PluginReport {
            name: Some(word()),
            version: Some(word()),
            file: word(),
            abi: None,
            sha256: None,
            state: PluginState::Barred,
            reason: word(),
        };
        let batch = BatchProgress {
            relay: url.clone(),
            id: 1,
            reason: word(),
            layer: word(),
            strategy: word(),
            since: u64::MAX,
            tries: 0,
            filters: u64::MAX,
            filters_drained: u64::MAX,
            windows_drained: u64::MAX,
            windows_open: u64::MAX,
            sessions: 0,
            repos: 0,
            root_events: 0,
        };
        let incident = Incident {
            at: u64::MAX,
            relay: url,
            kind: IncidentKind::Fallback,
            subject: word(),
            reason: word(),
            count: u64::MAX,
        };
        let totals = Totals { relays: u64::MAX, root_events: u64::MAX, pending_batches: u64::MAX, ..Totals::default() };
        StatusReport {
            version: word(),
            trouble: word(),
            own_relay: Some(OwnRelayReport { embedded: false, url: word(), up: false, reason: word(), held: u64::MAX }),
            plugins: vec![plugin],
            totals,
            events_per_second: vec![u64::MAX],
            batches: vec![batch],
            incidents: vec![incident],
            relays: vec![shown],
            ..StatusReport::default()
        }
    }

    #[test]
    fn the_table_fits_eighty_columns_whatever_stands_in_it() {
        for word in [
            "x".repeat(5_000),
            "two words ".repeat(500),
            "漢字".repeat(500),
            "e\u{301}".repeat(500),
            "\u{9b}2J".repeat(99),
        ] {
            let text = Painter { colours: false }.table(&report_with(&word));
            assert!(text.lines().all(|line| width(line) <= WIDTH), "{text}");
            assert!(text.lines().count() < 80, "{text}");
        }
    }

    #[test]
    fn reasons_stand_below_their_relay_once() {
        let relays = vec![relay("wss://a.example.com", "3 ids not served"), relay("ws://b.example.com", "closed")];
        let text = Painter { colours: false }.table(&StatusReport { relays, ..StatusReport::default() });
        assert!(text.contains("  by negentropy, req\n  3 ids not served\n  last error: closed\n"), "{text}");
        assert!(text.contains("ws://b.example.com") && text.matches("closed").count() == 2, "{text}");
    }

    #[test]
    fn what_strangers_said_can_not_move_the_cursor() {
        for colours in [false, true] {
            let text = Painter { colours }.table(&report_with("\u{1b}[2J\n\r\u{8}\u{9b}3;J\u{7f}\u{202e}x"));
            // What is left of control characters are our own colours.
            let ours = text.split('\u{1b}').skip(1).all(|rest| rest.starts_with('[') && rest[1..4].contains('m'));
            assert!(ours, "{text}");
            let rest = text.replace(['\u{1b}', '\n'], "");
            assert!(!rest.contains(char::is_control) && !rest.contains('\u{202e}'), "{text}");
            assert_eq!(text.contains('\u{1b}'), colours);
        }
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let report = report_with("the word");
        let (grey, coloured) = (Painter { colours: false }.table(&report), Painter { colours: true }.table(&report));
        let stripped: String = coloured
            .split('\u{1b}')
            .enumerate()
            .map(|(at, part)| if at == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) })
            .collect();
        assert_eq!(stripped, grey);
        assert!(coloured.contains("\u{1b}[33mConnectedDegraded\u{1b}[0m"), "{coloured}");
    }

    #[test]
    fn batches_and_incidents_are_told_and_counted() {
        let mut report = report_with("word");
        report.totals.pending_batches = 12;
        report.incidents = vec![report.incidents[0].clone(); 13];
        report.incidents[0] = Incident { at: 1_700_000_000, count: 2, ..report.incidents[0].clone() };
        let text = Painter { colours: false }.table(&report);
        assert!(text.contains("BATCHES IN FLIGHT\n") && text.contains("… and 2 more\n"), "{text}");
        assert!(text.contains("2023-11-14 22:13:20\n  aaa") && text.contains("… and 3 more\n"), "{text}");
    }
}

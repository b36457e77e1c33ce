//! `GET /`: the relays as a plain page, for a look without tools. No scripts; the browser reloads it.
//!
//! Addresses, reasons and errors are words of strangers: every text is escaped.

use std::fmt::{self, Display, Write};

use sync_core::manager::{PluginState, RelayReport, StatusReport};

use super::Health;

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"refresh\" content=\"5\">
<title>grasp-sync</title>
<style>
body { font-family: sans-serif; margin: 2em; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: 0.3em 0.8em; border-bottom: 1px solid #ccc; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: #a00; }
</style>
</head>
<body>
<h1>grasp-sync</h1>
";

const COLUMNS: &str = "<table>
<thead><tr><th>Relay</th><th>Status</th><th>Health</th><th>Reason</th><th>Strategy</th><th class=\"n\">Repositories</th>\
<th class=\"n\">Root events</th><th class=\"n\">Batches</th><th class=\"n\">Events stored</th><th>Last connected</th>\
<th>Last error</th></tr></thead>
<tbody>
";

const FOOT: &str = "</tbody>
</table>
<p><a href=\"/status\">status</a> · <a href=\"/events\">events</a> · <a href=\"/metrics\">metrics</a> · \
<a href=\"/healthz\">health</a></p>
</body>
</html>
";

pub(super) fn render(report: &StatusReport, health: &Health) -> String {
    Page { report, health }.to_string()
}

struct Page<'a> {
    report: &'a StatusReport,
    health: &'a Health,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.report.totals;
        f.write_str(HEAD)?;
        if let Health::Failing(reason) = self.health {
            writeln!(f, "<p class=\"bad\">{}</p>", Escaped(reason))?;
        }
        writeln!(
            f,
            "<p>Version {}. {} relays: {} connected, {} complete, {} degraded, {} dead. {} repositories, {} root events, \
             {} batches in flight, {} events in the store.</p>",
            Escaped(&self.report.version),
            totals.relays,
            totals.connected,
            totals.complete,
            totals.degraded,
            totals.dead,
            totals.repos,
            totals.root_events,
            totals.pending_batches,
            totals.store_events,
        )?;
        if let Some(own) = &self.report.own_relay {
            let class = if own.up { "" } else { " class=\"bad\"" };
            let kind = if own.embedded { "embedded" } else { "external" };
            write!(f, "<p{class}>Own relay {} ({kind}): {}", Escaped(&own.url), if own.up { "up" } else { "down" })?;
            if !own.embedded {
                write!(f, ", {} events wait for it", own.held)?;
            }
            if !own.reason.is_empty() {
                write!(f, "; {}", Escaped(&own.reason))?;
            }
            writeln!(f, ".</p>")?;
        }
        for plugin in &self.report.plugins {
            let class = if plugin.state == PluginState::Loaded { "" } else { " class=\"bad\"" };
            let name = plugin.name.as_deref().unwrap_or(&plugin.file);
            write!(f, "<p{class}>Plugin {}: {}", Escaped(name), plugin.state.as_str())?;
            if !plugin.reason.is_empty() {
                write!(f, "; {}", Escaped(&plugin.reason))?;
            }
            writeln!(f, ".</p>")?;
        }
        f.write_str(COLUMNS)?;
        for relay in &self.report.relays {
            row(f, relay, self.report.at)?;
        }
        f.write_str(FOOT)
    }
}

fn row(f: &mut fmt::Formatter<'_>, relay: &RelayReport, at: u64) -> fmt::Result {
    write!(
        f,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td>",
        Escaped(relay.url.as_str()),
        relay.status,
        relay.health,
        Escaped(&relay.reason),
        Escaped(&relay.strategy),
        relay.repos,
        relay.root_events,
        relay.pending_batches,
        relay.events_stored,
    )?;
    match relay.last_connected {
        Some(then) => write!(f, "{} s ago", at.saturating_sub(then))?,
        None => f.write_str("never")?,
    }
    writeln!(f, "</td><td>{}</td></tr>", Escaped(relay.last_error.as_deref().unwrap_or_default()))
}

/// A text that can't leave the element it stands in.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

//! `GET /`: the whole state on one page, which this program carries with all that it needs.
//!
//! The page is complete as it is sent, so that it can be read without JavaScript; it then loads itself anew now and then.
//! With JavaScript it follows `/events` (`page.js`). Addresses, reasons, errors, names and files are words of strangers:
//! here every text is escaped, there it is set as text, and [`POLICY`] lets nothing run that isn't one of [`ASSETS`].

mod rows;
mod text;

use std::fmt::{self, Display};

use sync_core::manager::{OwnRelayReport, StatusReport};

use crate::output::moment;
use text::{Escaped, counted, grouped, words};

/// What the page may do (Content-Security-Policy): run, look and ask what comes from here; nothing in a line of its own.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                                 require-trusted-types-for 'script'";

/// What belongs to the page: path, media type, content.
pub(super) const ASSETS: [(&str, &str, &str); 3] = [
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>
<title>grasp-sync</title>
<link rel=\"icon\" href=\"icon.svg\">
<link rel=\"stylesheet\" href=\"page.css\">
<script src=\"page.js\" defer></script>
</head>
<body>
";

/// The field is for JavaScript, which shows it.
const RELAYS_HEAD: &str = "<div class=\"head\"><h2>Relays</h2>\
<label id=\"sift\" hidden><span id=\"sift-words\"></span> \
<input id=\"sift-field\" type=\"search\" placeholder=\"address, status, reason\" aria-label=\"Show relays with these words\" \
autocomplete=\"off\" spellcheck=\"false\"></label></div>
";

const FOOT: &str = "<footer>All times are UTC. \
<a href=\"status\">status</a> <a href=\"events\">events</a> <a href=\"metrics\">metrics</a> <a href=\"healthz\">health</a>\
</footer>
</body>
</html>
";

pub(super) fn render(report: &StatusReport) -> String {
    Page(report).to_string()
}

struct Page<'a>(&'a StatusReport);

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        f.write_str(HEAD)?;
        writeln!(
            f,
            "<header><h1>grasp-sync</h1><span id=\"version\">{}</span>\
             <span id=\"live\" role=\"status\" data-tone=\"\">as of {} UTC</span></header>",
            Escaped(&report.version),
            moment(report.at)
        )?;
        let hidden = if report.trouble.is_empty() { " hidden" } else { "" };
        writeln!(f, "<p class=\"alert\" id=\"trouble\" role=\"alert\"{hidden}>{}</p>", Escaped(&report.trouble))?;
        totals(f, report)?;
        own_relay(f, report.own_relay.as_ref())?;
        f.write_str("<h2>Events stored per second</h2>\n")?;
        rate(f, &report.events_per_second)?;
        f.write_str(RELAYS_HEAD)?;
        rows::RELAYS.write(f, report.relays.iter().map(rows::relay))?;
        f.write_str("<h2>Batches in flight</h2>\n")?;
        rows::BATCHES.write(f, report.batches.iter().map(rows::batch))?;
        f.write_str("<h2>Recent fallbacks and failures</h2>\n")?;
        rows::INCIDENTS.write(f, report.incidents.iter().map(rows::incident))?;
        let hidden = if report.plugins.is_empty() { " hidden" } else { "" };
        writeln!(f, "<section id=\"plugins\"{hidden}>\n<h2>Plugins</h2>")?;
        rows::PLUGINS.write(f, report.plugins.iter().map(rows::plugin))?;
        f.write_str("</section>\n")?;
        f.write_str(FOOT)
    }
}

fn totals(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let totals = &report.totals;
    f.write_str("<dl>\n")?;
    for (id, label, count) in [
        ("relays", "Relays", totals.relays),
        ("connected", "Connected", totals.connected),
        ("complete", "Complete", totals.complete),
        ("degraded", "Degraded", totals.degraded),
        ("dead", "Dead", totals.dead),
        ("repos", "Repositories", totals.repos),
        ("root_events", "Root events", totals.root_events),
        ("pending_batches", "Batches", totals.pending_batches),
        ("store_events", "Events stored", totals.store_events),
    ] {
        writeln!(f, "<div><dt>{label}</dt><dd id=\"total-{id}\">{}</dd></div>", grouped(count))?;
    }
    f.write_str("</dl>\n")
}

fn own_relay(f: &mut fmt::Formatter<'_>, own: Option<&OwnRelayReport>) -> fmt::Result {
    let Some(own) = own else { return f.write_str("<p id=\"own\" hidden></p>\n") };
    let class = if own.up { "" } else { " class=\"alert\"" };
    let kind = if own.embedded { "embedded" } else { "external" };
    let state = if own.up { "up" } else { "down" };
    write!(f, "<p id=\"own\"{class}>Own relay {} ({kind}): {state}", Escaped(&own.url))?;
    if !own.embedded {
        write!(f, ", {} for it", counted(own.held, "event waits", "events wait"))?;
    }
    if !own.reason.is_empty() {
        write!(f, "; {}", Escaped(&words(&own.reason)))?;
    }
    f.write_str("</p>\n")
}

/// The last seconds as a line of steps, and in words for whom a line says nothing.
fn rate(f: &mut fmt::Formatter<'_>, seconds: &[u64]) -> fmt::Result {
    let highest = seconds.iter().copied().max().unwrap_or(0);
    let start = StatusReport::MAX_SECONDS.saturating_sub(seconds.len());
    f.write_str(
        "<figure><svg viewBox=\"0 0 120 32\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <polyline id=\"rate-line\" points=\"",
    )?;
    for (at, count) in seconds.iter().enumerate() {
        let height = if highest == 0 { 0.0 } else { 28.0 * *count as f64 / highest as f64 };
        let (from, y) = (start + at, 30.0 - height);
        write!(f, "{}{from},{y:.1} {},{y:.1}", if at > 0 { " " } else { "" }, from + 1)?;
    }
    writeln!(
        f,
        "\"/></svg><figcaption id=\"rate-words\">{} in the last second, {} at most in one of the last two minutes\
         </figcaption></figure>",
        grouped(seconds.last().copied().unwrap_or(0)),
        grouped(highest)
    )
}

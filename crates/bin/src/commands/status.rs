//! `status`: the running daemon's relays, asked of its admin endpoint.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use sync_core::manager::{OwnRelayReport, PluginReport, RelayReport, StatusReport};
use sync_core::model::FilterCoverage;
use tokio::net::TcpStream;
use url::Url;

use crate::cli::StatusArgs;
use crate::config::Config;
use crate::exit::{CliError, Exit};
use crate::output::{fit, plain, print};

/// The whole exchange takes no longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The document is no larger: thousands of relays with their reasons.
const MAX_DOCUMENT: usize = 64 << 20;

/// Asks and prints. The configuration is read only where `--admin` doesn't say whom to ask.
///
/// # Errors
/// No daemon answers, or it answers nonsense.
pub fn run(args: &StatusArgs, load: impl FnOnce() -> Result<Config, CliError>) -> Result<Exit, CliError> {
    let url = match &args.admin {
        Some(text) => endpoint(text)?,
        None => endpoint(&configured(&load()?)?)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("can't start: {error}")))?;
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, get(&url)).await });
    let body = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
    let body = body.map_err(|why| CliError::Failed(format!("no status from {url}: {why}; is the daemon running?")))?;
    let nonsense = |error| CliError::Failed(format!("{url} does not answer with a status document: {error}"));
    if args.json {
        let _: serde_json::Value = serde_json::from_slice(&body).map_err(nonsense)?;
        print(&format!("{}\n", String::from_utf8_lossy(body.trim_ascii_end())))?;
    } else {
        print(&table(&serde_json::from_slice(&body).map_err(nonsense)?))?;
    }
    Ok(Exit::Done)
}

/// Where a daemon of this configuration can be asked.
fn configured(config: &Config) -> Result<String, CliError> {
    let listen = config.admin.listen.ok_or_else(|| {
        CliError::Usage("admin.listen is \"\": the daemon has no admin endpoint; or give --admin URL".to_owned())
    })?;
    // Bound to every address it answers on the loopback one.
    let ip = match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address.ip(),
    };
    Ok(format!("http://{}", SocketAddr::new(ip, listen.port())))
}

/// `/status` under the address given.
fn endpoint(text: &str) -> Result<Url, CliError> {
    let wrong = || CliError::Usage(format!("--admin {text}: must be a URL such as http://127.0.0.1:7448"));
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&text).map_err(|_| wrong())?;
    if url.scheme() != "http" || !url.has_host() {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/');
    let path = if path.ends_with("/status") { path.to_owned() } else { format!("{path}/status") };
    url.set_path(&path);
    Ok(url)
}

async fn get(url: &Url) -> Result<Bytes, String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(&url[url::Position::BeforePath..])
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
}

/// Filters under way that are shown for one relay, and how much of each.
const MAX_FILTERS: usize = 3;
const FILTER_WIDTH: usize = 24;

/// The widths of the columns, with a space between: 80 in all.
const WIDTHS: [usize; 6] = [29, 17, 12, 5, 5, 7];

/// The document for people: at most 80 columns, but for reasons, which stand on lines of their own.
fn table(report: &StatusReport) -> String {
    let totals = &report.totals;
    let mut text = format!(
        "grasp-sync {}: {} relays, {} connected, {} complete, {} degraded, {} dead\n\
         {} repositories, {} root events, {} batches in flight, {} events stored\n",
        plain(&report.version),
        totals.relays,
        totals.connected,
        totals.complete,
        totals.degraded,
        totals.dead,
        totals.repos,
        totals.root_events,
        totals.pending_batches,
        totals.store_events,
    );
    if let Some(own) = &report.own_relay {
        text.push_str(&own_relay(own));
    }
    report.plugins.iter().for_each(|plugin| text.push_str(&plugin_line(plugin)));
    text.push('\n');
    row(&mut text, ["RELAY", "STATUS", "HEALTH", "REPOS", "ROOTS", "BATCHES"]);
    report.relays.iter().for_each(|relay| relay_rows(&mut text, relay));
    text
}

/// The own relay in a line; one for the reason where it can't be used.
fn own_relay(own: &OwnRelayReport) -> String {
    let kind = if own.embedded { "embedded" } else { "external" };
    let state = if own.up { "up" } else { "DOWN" };
    let held = if own.embedded { String::new() } else { format!(", {} events wait for it", own.held) };
    let reason = if own.reason.is_empty() { String::new() } else { format!("  {}\n", plain(&own.reason)) };
    format!("own relay {} ({kind}): {state}{held}\n{reason}", plain(&own.url))
}

/// A plugin in a line; one for the reason where it can't be used.
fn plugin_line(plugin: &PluginReport) -> String {
    let name = plugin.name.as_deref().unwrap_or(&plugin.file);
    let reason = if plugin.reason.is_empty() { String::new() } else { format!("  {}\n", plain(&plugin.reason)) };
    let version = plugin.version.as_ref().map(|version| format!(" {}", plain(version))).unwrap_or_default();
    format!("plugin {}{version}: {}\n{reason}", plain(name), plugin.state.as_str())
}

fn relay_rows(text: &mut String, relay: &RelayReport) {
    let (status, health) = (relay.status.to_string(), relay.health.to_string());
    let (repos, roots, batches) =
        (relay.repos.to_string(), relay.root_events.to_string(), relay.pending_batches.to_string());
    let url = plain(relay.url.as_str());
    let short = url.strip_prefix("wss://").unwrap_or(&url);
    row(text, [&fit(short, WIDTHS[0]), &status, &health, &repos, &roots, &batches]);
    for filter in relay.coverage.iter().filter(|filter| !filter.open.is_empty()).take(MAX_FILTERS) {
        let _ = writeln!(text, "  {}", plain(&progress(filter)));
    }
    let faults = [(relay.reason.as_str(), ""), (relay.last_error.as_deref().unwrap_or_default(), "last error: ")];
    for (at, (words, label)) in faults.iter().enumerate() {
        let said_already = at > 0 && faults[0].0 == *words;
        if !words.is_empty() && !said_already {
            let _ = writeln!(text, "  {label}{}", plain(words));
        }
    }
}

/// How far a filter has come, for people.
fn progress(filter: &FilterCoverage) -> String {
    let (drained, open) = (filter.drained.len(), filter.open.len());
    let until = filter.open.last().map_or(0, |window| window.until);
    format!("{}: {drained} windows drained, {open} open, the newest up to {until}", fit(&filter.filter, FILTER_WIDTH))
}

fn row(text: &mut String, cells: [&str; 6]) {
    let [relay, status, health, repos, roots, batches] = cells;
    let [a, b, c, d, e, f] = WIDTHS;
    let line = format!("{relay:<a$} {status:<b$} {health:<c$} {repos:>d$} {roots:>e$} {batches:>f$}");
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use sync_core::model::{ConnectionStatus, HealthState, RelayUrl};

    use super::*;

    fn relay(url: &str, reason: &str) -> RelayReport {
        RelayReport {
            url: RelayUrl::parse(url).expect("valid"),
            status: ConnectionStatus::ConnectedDegraded,
            health: HealthState::Disconnected,
            reason: reason.to_owned(),
            strategy: "negentropy".to_owned(),
            repos: 12_345,
            root_events: 54_321,
            pending_batches: 7,
            coverage: Vec::new(),
            events_stored: 0,
            last_connected: None,
            last_error: Some("closed".to_owned()),
        }
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        let long = format!("wss://{}.example.com", "a".repeat(60));
        let relays = vec![relay(&long, "3 ids not served"), relay("ws://b.example.com", "closed")];
        let text = table(&StatusReport { relays, ..StatusReport::default() });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("  3 ids not served\n  last error: closed\n"), "{text}");
        assert!(text.contains("ws://b.example.com") && text.matches("closed").count() == 2, "{text}");
    }

    #[test]
    fn what_a_relay_said_can_not_move_the_cursor() {
        let text = table(&StatusReport { relays: vec![relay("a.b", "\u{1b}[2J\nx")], ..StatusReport::default() });
        assert!(text.contains("\\u{1b}[2J\\u{a}x"), "{text}");
    }

    #[test]
    fn addresses_lead_to_the_document() {
        for (text, url) in [
            ("http://127.0.0.1:7448", "http://127.0.0.1:7448/status"),
            ("127.0.0.1:1/", "http://127.0.0.1:1/status"),
            ("http://[::1]:1/status", "http://[::1]:1/status"),
            ("http://host/admin/", "http://host/admin/status"),
        ] {
            assert_eq!(endpoint(text).expect(text).as_str(), url);
        }
        assert!(endpoint("https://x").is_err());
        assert!(endpoint("http://").is_err());
    }

    #[test]
    fn a_daemon_on_every_address_is_asked_on_the_loopback_one() {
        let mut config = Config::default();
        assert!(configured(&config).is_err());
        config.admin.listen = "0.0.0.0:9".parse().ok();
        assert_eq!(configured(&config).expect("on"), "http://127.0.0.1:9");
        config.admin.listen = "[::]:9".parse().ok();
        assert_eq!(configured(&config).expect("on"), "http://[::1]:9");
    }
}

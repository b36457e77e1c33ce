//! `status --watch`: the document as the daemon's event stream tells it, drawn anew with each change, until SIGINT or SIGTERM.
//! A daemon that goes away is said, and waited for.

use std::io::{self, IsTerminal};
use std::time::Duration;

use serde_json::Value;
use sync_core::manager::StatusReport;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use super::client::{Events, ServerEvent};
use super::table::Painter;
use crate::exit::{CliError, Exit};
use crate::output::{plain, plain_json, print, say, stdout_takes_colours};

/// Pause before a daemon that is away is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The height of a terminal that doesn't tell it.
const USUAL_HEIGHT: u16 = 24;

/// Why following has ended.
enum Ended {
    /// The daemon is away, or says what can't be understood.
    Away(String),
    /// Our own output fails.
    Output(CliError),
}

/// Follows the daemon whose document is at `status`.
///
/// # Errors
/// The output can't be written, or the system gives no signals.
pub(super) async fn run(status: &Url, json: bool) -> Result<Exit, CliError> {
    let mut events = status.clone();
    events.set_path(&format!("{}events", status.path().trim_end_matches("status")));
    let failed = |error: io::Error| CliError::Failed(format!("can't listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut screen = Screen::new(json);
    loop {
        let ended = tokio::select! {
            () = asked_to_end(&mut interrupt, &mut terminate) => return Ok(Exit::Done),
            ended = follow(&events, &mut screen) => ended,
        };
        match ended {
            Ended::Output(error) => return Err(error),
            Ended::Away(why) => screen.away(&format!("{events}: {why}; waiting for the daemon"))?,
        }
        tokio::select! {
            () = asked_to_end(&mut interrupt, &mut terminate) => return Ok(Exit::Done),
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    }
}

async fn asked_to_end(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn follow(url: &Url, screen: &mut Screen) -> Ended {
    let mut events = match Events::open(url).await {
        Ok(events) => events,
        Err(why) => return Ended::Away(why),
    };
    let mut document = Document::default();
    loop {
        let arrived = match events.next().await {
            Ok(arrived) => arrived,
            Err(why) => return Ended::Away(why),
        };
        for event in arrived {
            if let Err(error) = document.take(&event) {
                return Ended::Away(format!("event `{}`: {error}", plain(&event.name)));
            }
        }
        let shown = match document.shown(screen.json) {
            Ok(shown) => shown,
            Err(error) => return Ended::Away(format!("it does not tell a status document: {error}")),
        };
        if let Err(error) = screen.show(shown) {
            return Ended::Output(error);
        }
    }
}

/// The document, kept true by events. Members that this version doesn't know are kept.
#[derive(Default)]
struct Document(Value);

impl Document {
    fn take(&mut self, event: &ServerEvent) -> Result<(), serde_json::Error> {
        let data: Value = serde_json::from_str(&event.data)?;
        let Self(document) = self;
        match (event.name.as_str(), data) {
            ("status", whole) => *document = whole,
            ("changed", Value::Object(parts)) => {
                if let Some(document) = document.as_object_mut() {
                    document.extend(parts);
                }
            }
            ("relay", relay) => {
                if let Some(relays) = document.get_mut("relays").and_then(Value::as_array_mut) {
                    let url = |relay: &Value| relay["url"].as_str().map(str::to_owned);
                    match relays.binary_search_by_key(&url(&relay), url) {
                        Ok(at) => relays[at] = relay,
                        Err(at) => relays.insert(at, relay),
                    }
                }
            }
            ("gone", gone) => {
                if let Some(relays) = document.get_mut("relays").and_then(Value::as_array_mut) {
                    relays.retain(|relay| relay["url"] != gone["url"]);
                }
            }
            // An event of a later version.
            _ => {}
        }
        Ok(())
    }

    fn shown(&self, json: bool) -> Result<Shown, serde_json::Error> {
        if json {
            return Ok(Shown::Json(self.0.to_string()));
        }
        Ok(Shown::Table(Box::new(serde_json::from_value(self.0.clone())?)))
    }
}

/// What is drawn.
enum Shown {
    Json(String),
    Table(Box<StatusReport>),
}

/// Where it is drawn.
struct Screen {
    json: bool,
    /// Whether what was drawn is drawn over. Otherwise what is new follows it.
    redraws: bool,
    painter: Painter,
    /// What was drawn last.
    last: String,
    /// Why the daemon is away; empty where it isn't.
    away: String,
}

impl Screen {
    fn new(json: bool) -> Self {
        let redraws = !json && io::stdout().is_terminal();
        let painter = Painter { colours: stdout_takes_colours() };
        Self { json, redraws, painter, last: String::new(), away: String::new() }
    }

    fn show(&mut self, shown: Shown) -> Result<(), CliError> {
        let returned = !std::mem::take(&mut self.away).is_empty();
        if returned && !self.redraws {
            say("the daemon answers");
        }
        match shown {
            Shown::Json(line) => print(&format!("{}\n", plain_json(&line))),
            Shown::Table(report) => {
                self.last = self.painter.table(&report);
                if self.redraws { self.draw() } else { print(&format!("{}\n", self.last)) }
            }
        }
    }

    /// The daemon is away: said once for each reason.
    fn away(&mut self, why: &str) -> Result<(), CliError> {
        if self.away == why {
            return Ok(());
        }
        why.clone_into(&mut self.away);
        if self.redraws {
            return self.draw();
        }
        say(plain(why));
        Ok(())
    }

    fn draw(&self) -> Result<(), CliError> {
        let height = rustix::termios::tcgetwinsize(io::stdout()).map_or(USUAL_HEIGHT, |size| size.ws_row);
        print(&frame(&self.away, &self.last, usize::from(height)))
    }
}

/// What draws these lines over whatever a terminal of this height shows.
fn frame(away: &str, table: &str, height: usize) -> String {
    let mut notice = String::new();
    if !away.is_empty() {
        super::columns::put(&mut notice, 0, away);
    }
    let lines: Vec<&str> = notice.lines().chain(table.lines()).collect();
    // The last line is the cursor's.
    let room = height.saturating_sub(1).max(1);
    let (shown, more) = if lines.len() <= room { (lines.len(), 0) } else { (room - 1, lines.len() - room + 1) };
    let mut frame = "\u{1b}[H".to_owned();
    for line in &lines[..shown] {
        // What stood there goes first: after a line as wide as the terminal its last character would go.
        frame.push_str("\u{1b}[K");
        frame.push_str(line);
        frame.push('\n');
    }
    if more > 0 {
        frame.push_str(&format!("\u{1b}[K… and {more} more lines\n"));
    }
    frame.push_str("\u{1b}[J");
    frame
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, data: Value) -> ServerEvent {
        ServerEvent { name: name.to_owned(), data: data.to_string() }
    }

    #[test]
    fn a_document_follows_its_events_and_keeps_what_it_does_not_know() {
        let mut document = Document::default();
        let relay = |url: &str, status: &str| json!({ "url": url, "status": status });
        for event in [
            event("relay", relay("early", "lost")),
            event("status", json!({ "later": [1], "at": 1, "relays": [relay("b", "old"), relay("d", "old")] })),
            event("relay", relay("c", "new")),
            event("relay", relay("a", "new")),
            event("relay", relay("d", "new")),
            event("gone", json!({ "url": "b" })),
            event("changed", json!({ "at": 2, "totals": { "relays": 3 } })),
            event("unheard-of", json!(null)),
        ] {
            document.take(&event).expect("JSON");
        }
        let relays = [relay("a", "new"), relay("c", "new"), relay("d", "new")];
        assert_eq!(document.0, json!({ "later": [1], "at": 2, "totals": { "relays": 3 }, "relays": relays }));
        document.take(&event("status", json!("no object"))).expect("JSON");
        document.take(&event("relay", relay("a", "new"))).expect("JSON");
        assert!(document.shown(false).is_err());
        assert!(document.take(&ServerEvent { name: "status".to_owned(), data: "{".to_owned() }).is_err());
    }

    #[test]
    fn a_frame_is_no_higher_than_the_terminal() {
        let table: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let whole = frame("", &table, 200);
        assert_eq!(whole.matches('\n').count(), 100);
        let cut = frame("gone", &table, 24);
        assert_eq!(cut.matches('\n').count(), 23, "{cut}");
        assert!(
            cut.starts_with("\u{1b}[H\u{1b}[Kgone\n\u{1b}[Kline 0\n") && cut.contains("… and 79 more lines"),
            "{cut}"
        );
    }

    #[test]
    fn why_a_daemon_is_away_can_not_move_the_cursor() {
        assert!(!frame("\u{1b}[2Jx\u{9b}", "", 24).contains("\u{1b}[2J"));
    }
}

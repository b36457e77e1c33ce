//! The page as it is sent: everything is there, and nothing of it is a stranger's markup.

use sync_core::manager::{BatchProgress, Incident, IncidentKind, OwnRelayReport, PluginReport, PluginState};
use sync_core::model::FilterCoverage;
use sync_core::strategy::Window;

use super::*;
use crate::admin::page::{ASSETS, render};

/// What a stranger would have the page do: each leaves another place of the markup.
pub(super) const HOSTILE: [&str; 5] = [
    "</span></td><img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    "\" onmouseover=\"document.title='owned'\" x=\"",
    "</template></table><svg onload=\"document.title='owned'\">",
    "&lt;b&gt; javascript:document.title='owned' ${document.title} {{7*7}} \u{202e}\u{1b}[2J",
];

/// A report with `word` wherever a text may be a stranger's.
pub(super) fn report_with(word: &str) -> StatusReport {
    let url = |name: &str| RelayUrl::parse(&format!("wss://{name}.example.com/it's")).expect("valid");
    let word = || word.to_owned();
    let window = |since| Window { since, until: since + 10 };
    let covered = FilterCoverage {
        filter: word(),
        drained: vec![window(100), window(200)],
        open: vec![window(300)],
        ..FilterCoverage::default()
    };
    let incident = |at, kind| Incident { at, relay: url("b"), kind, subject: word(), reason: word(), count: 1_234 };
    let broken = PluginReport {
        name: None,
        version: None,
        file: word(),
        abi: None,
        sha256: None,
        state: PluginState::Failed,
        reason: word(),
    };
    let mut relays = vec![
        relay("wss://a.example.com", ConnectionStatus::Connected, ""),
        relay("wss://b.example.com/it's", ConnectionStatus::ConnectedDegraded, &word()),
        relay("wss://c.example.com", ConnectionStatus::Disconnected, &word()),
        relay("wss://d.example.com", ConnectionStatus::Syncing, "historic sync in progress"),
    ];
    relays[1].last_error = Some(word());
    relays[1].strategy = word();
    relays[2].health = HealthState::Dead;
    relays[2].last_connected = None;
    relays[2].last_error = Some(format!("{} again", word()));
    (relays[3].coverage, relays[3].pending_batches) = (vec![covered], 1);
    StatusReport {
        trouble: word(),
        own_relay: Some(OwnRelayReport { embedded: false, url: word(), up: false, reason: word(), held: 12_345 }),
        plugins: vec![
            PluginReport { name: Some(word()), version: Some(word()), state: PluginState::Loaded, ..broken.clone() },
            broken,
        ],
        events_per_second: vec![0, 3, 1_250, 40],
        batches: vec![BatchProgress {
            relay: url("d"),
            id: 7,
            reason: "initial_connect".to_owned(),
            layer: word(),
            strategy: word(),
            since: 1_700_000_000,
            tries: 1,
            filters: 5,
            filters_drained: 2,
            windows_drained: 14,
            windows_open: 3,
            sessions: 1,
            repos: 1,
            root_events: 40,
        }],
        incidents: vec![
            incident(1_700_000_050, IncidentKind::Fallback),
            incident(1_700_000_040, IncidentKind::BatchFailed),
        ],
        ..(*report(relays)).clone()
    }
}

#[test]
fn whatever_strangers_wrote_the_markup_is_the_same() {
    let harmless = render(&report_with("harmless"));
    for word in HOSTILE {
        let escaped = word
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;");
        let page = render(&report_with(word));
        assert!(page.contains(&escaped) && !page.contains(word), "{page}");
        assert_eq!(page.replace(&escaped, "harmless"), harmless);
    }
}

#[test]
fn everything_is_there_without_scripts() {
    let page = render(&report_with("the word"));
    for part in [
        "<span id=\"version\">1.2.3</span>",
        "as of 2023-11-14 22:14:20 UTC",
        "Own relay the word (external): down, 12,345 events wait for it; the word",
        "<dd id=\"total-relays\">4</dd>",
        "40 in the last second, 1,250 at most in one of the last two minutes",
        "points=\"116,30.0 117,30.0 117,29.9 118,29.9 118,2.0 119,2.0 119,29.1 120,29.1\"",
        "<span data-tone=\"warn\">ConnectedDegraded</span>",
        "<span data-tone=\"bad\">Dead</span>",
        "wss://b.example.com/it&#39;s",
        "2 repositories, 3 root events; 2 windows drained, 1 open",
        ">never<",
        "the word; last error: the word again",
        "initial connect, try 2",
        "2 of 5 filters; 14 windows drained, 3 open; 1 session ended</span><progress value=\"2\" max=\"5\">",
        "fallback: the word",
        "1,234",
        "<span data-tone=\"good\">loaded</span>",
        "http-equiv=\"refresh\"",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn a_page_with_nothing_to_show_says_so() {
    let page = render(&StatusReport::default());
    assert!(
        page.contains("id=\"relays-none\">No relay is known.") && page.contains("id=\"relays-table\" hidden"),
        "{page}"
    );
    assert!(page.contains("id=\"trouble\" role=\"alert\" hidden") && page.contains("id=\"plugins\" hidden"), "{page}");
}

#[test]
fn a_reason_without_end_is_cut() {
    let page = render(&report(vec![relay("wss://a.b", ConnectionStatus::Disconnected, &"x".repeat(100_000))]));
    assert!(page.contains("x…</span>") && page.len() < 20_000, "{}", page.len());
}

#[tokio::test]
async fn every_answer_forbids_whatever_is_not_needed() {
    let endpoint = Endpoint::start(vec![]).await;
    for path in ["/", "/page.js", "/page.css", "/icon.svg", "/status", "/metrics", "/healthz", "/nothing"] {
        let (header, _) = endpoint.get(path).await;
        for line in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(header.lines().any(|found| found == line), "{path}: no {line} in {header}");
        }
    }
    endpoint.stop().await;
}

#[tokio::test]
async fn what_the_page_needs_comes_from_here_with_its_media_type() {
    let endpoint = Endpoint::start(vec![]).await;
    let (header, page) = endpoint.get("/").await;
    assert!(header.contains("content-type: text/html; charset=utf-8"), "{header}");
    let named: Vec<_> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| page.split(attribute).skip(1))
        .map(|rest| format!("/{}", rest.split('"').next().unwrap_or_default()))
        .collect();
    assert_eq!(named, ["/page.js", "/icon.svg", "/page.css", "/status", "/events", "/metrics", "/healthz"]);
    for (path, media_type, text) in ASSETS {
        let (header, body) = endpoint.get(path).await;
        assert!(
            header.starts_with("http/1.1 200") && header.contains(&format!("content-type: {media_type}")),
            "{header}"
        );
        assert_eq!(body, text);
        // A way by which text would become markup, or code, or by which another host would be asked.
        for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "url(", "@import", "//cdn"]
        {
            assert!(!text.contains(word), "{path}: {word}");
        }
    }
    endpoint.stop().await;
}

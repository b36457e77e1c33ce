//! The page in a real browser: it follows changes, it is readable without JavaScript and on a phone, and what strangers
//! wrote is text. `cargo xtask e2e` runs these; pictures are kept in the folder that it names.

use std::path::PathBuf;

use serde_json::json;
use sync_core::manager::OwnRelayReport;
use testkit::browser::{Browser, Screen};

use super::page::{HOSTILE, report_with};
use super::*;

const PHONE: Screen = Screen { width: 375, height: 812, mobile: true, dark: false };
const DESK: Screen = Screen { width: 1280, height: 900, mobile: false, dark: false };

/// Every cell's text, table by table, and whatever else is said.
const TEXTS: &str = "['version', 'trouble', 'own', 'rate-words'].map((id) => document.getElementById(id).textContent)
    .concat(Array.from(document.querySelectorAll('dd, tbody span, tbody progress'),
        (part) => part.tagName === 'PROGRESS' ? `${part.value}/${part.max}` : `${part.dataset.tone ?? ''} ${part.textContent}`))
    .concat(document.getElementById('rate-line').getAttribute('points'))";
const IS_LIVE: &str = "document.getElementById('live').textContent === 'live'";

fn pictures() -> PathBuf {
    let folder = std::env::var_os("E2E_PICTURES").expect("E2E_PICTURES names a folder for pictures: cargo xtask e2e");
    PathBuf::from(folder)
}

impl Endpoint {
    async fn start_with(report: StatusReport) -> Self {
        let endpoint = Self::start(vec![]).await;
        endpoint.status.send_replace(Arc::new(report));
        endpoint
    }

    fn page(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn live(endpoint: &Endpoint) -> Browser {
    let browser = Browser::start(true).expect("a browser");
    browser.screen(DESK).expect("a desk");
    browser.open(&endpoint.page()).expect("the page");
    browser.wait(IS_LIVE).expect("the stream");
    browser
}

/// Nothing was refused by the page's policy, nothing was thrown, nothing could not be loaded.
fn assert_silent(browser: &Browser) {
    assert_eq!(browser.console().expect("the console"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_without_loading_the_page_again() {
    let steady = relay("wss://a.example", ConnectionStatus::Connected, "");
    let moving = |status, reason| relay("wss://c.example", status, reason);
    let connecting = moving(ConnectionStatus::Connecting, "not tried yet");
    let endpoint = Endpoint::start(vec![steady.clone(), connecting]).await;
    let browser = live(&endpoint);
    browser.value("window.stays = true").expect("a mark that a load would wipe");
    let row = |url: &str| {
        format!(
            "Array.from(document.querySelectorAll('#relays-rows tr')).find((row) => row.cells[0].textContent === '{url}')"
        )
    };

    for (status, reason) in [
        (ConnectionStatus::Syncing, "historic sync in progress"),
        (ConnectionStatus::ConnectedDegraded, "3 ids not served"),
        (ConnectionStatus::Connected, ""),
        (ConnectionStatus::Disconnected, "closed by the relay"),
    ] {
        endpoint.status.send_replace(report(vec![steady.clone(), moving(status, reason)]));
        let row = row("wss://c.example");
        let shown = format!("{row}.cells[1].textContent === '{status}' && {row}.cells[7].textContent === '{reason}'");
        browser.wait(&shown).expect("the new status");
    }
    // A new relay stands in its place, one that is gone is gone, and everything else follows.
    let new = relay("wss://b.example", ConnectionStatus::Connecting, "");
    endpoint.status.send_replace(report(vec![steady.clone(), new, moving(ConnectionStatus::Connecting, "")]));
    browser.wait("document.querySelectorAll('#relays-rows tr').length === 3").expect("the new relay");
    let names = browser.value("Array.from(document.querySelectorAll('#relays-rows th'), (cell) => cell.textContent)");
    assert_eq!(names.expect("names"), json!(["wss://a.example", "wss://b.example", "wss://c.example"]));
    endpoint.status.send_replace(report(vec![steady]));
    browser.wait("document.querySelectorAll('#relays-rows tr').length === 1").expect("two are gone");
    browser.wait("document.getElementById('total-relays').textContent === '1'").expect("the total");
    assert_eq!(browser.value("window.stays").expect("the mark"), true, "the page was loaded again");
    assert_silent(&browser);

    // The daemon ends: that is said.
    endpoint.stop().await;
    browser.wait("document.getElementById('live').textContent.startsWith('no connection')").expect("the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn among_thousands_of_relays_those_with_the_words_are_found() {
    let mut relays: Vec<_> =
        (0..2_000).map(|at| relay(&format!("wss://r{at:04}.example"), ConnectionStatus::Connected, "")).collect();
    let degraded = |at: usize| relay(&format!("wss://r{at:04}.example"), ConnectionStatus::ConnectedDegraded, "3 ids");
    relays[1_234] = degraded(1_234);
    let endpoint = Endpoint::start(relays.clone()).await;
    let browser = live(&endpoint);
    let shown = "Array.from(document.querySelectorAll('#relays-rows tr')).filter((row) => row.checkVisibility())
        .map((row) => row.cells[0].textContent)";
    let sift = |words: &str| {
        let field = "document.getElementById('sift-field')";
        browser.value(&format!("({field}.value = {}, {field}.dispatchEvent(new Event('input')))", json!(words)))
    };
    assert_eq!(browser.value(&format!("{shown}.length")).expect("rows"), 2_000);
    sift("  IDS  degraded ").expect("words");
    assert_eq!(browser.value(shown).expect("rows"), json!(["wss://r1234.example"]));
    let words = "document.getElementById('sift-words').textContent";
    assert_eq!(browser.value(words).expect("words"), "1 of 2,000");
    browser.picture(&pictures().join("sifted.png")).expect("a picture");
    // What changes comes and goes by the same words.
    (relays[1_234], relays[77]) = (relays[0].clone(), degraded(77));
    relays[1_234].url = RelayUrl::parse("wss://r1234.example").expect("valid");
    endpoint.status.send_replace(report(relays.clone()));
    browser.wait(&format!("JSON.stringify({shown}) === '[\"wss://r0077.example\"]'")).expect("the other one");
    relays.remove(77);
    endpoint.status.send_replace(report(relays));
    browser.wait(&format!("{words} === '0 of 1,999'")).expect("none");
    sift("").expect("no words");
    assert_eq!(browser.value(&format!("{shown}.length")).expect("rows"), 1_999);
    assert_silent(&browser);
    endpoint.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_text_and_runs_nothing() {
    let endpoint = Endpoint::start(vec![]).await;
    let browser = live(&endpoint);
    for word in HOSTILE {
        let (elements, texts) = ("document.querySelectorAll('*').length", "document.body.textContent");
        let marker = |word: &str| format!("document.getElementById('trouble').textContent === {}", json!(word));
        // As it is pushed to an open page, and as it is sent anew.
        endpoint.status.send_replace(Arc::new(report_with("harmless")));
        browser.wait(&marker("harmless")).expect("the harmless state");
        let harmless = browser.value(elements).expect("a number");
        endpoint.status.send_replace(Arc::new(report_with(word)));
        browser.wait(&marker(word)).expect("the hostile state");
        for turn in ["pushed", "loaded"] {
            assert_eq!(browser.value(elements).expect("a number"), harmless, "{turn}: {word}");
            let text = browser.value(texts).expect("texts");
            let times = text.as_str().map_or(0, |text| text.matches(word).count());
            assert!(times >= 15, "{turn}: {word} is shown {times} times");
            assert_eq!(browser.value("document.title").expect("a title"), "grasp-sync", "{turn}: {word}");
            browser.open(&endpoint.page()).expect("the page");
            browser.wait(IS_LIVE).expect("the stream");
        }
    }
    assert_silent(&browser);
    // That the policy is in force: the page's own script could not make markup of a text, either.
    let inner = "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'made'; } catch (error) { return error.name; } })()";
    assert_eq!(browser.value(inner).expect("a word"), "TypeError");
    endpoint.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_page_says_the_same() {
    let report = report_with("3 ids are not served");
    let endpoint = Endpoint::start_with(report).await;
    let with = live(&endpoint);
    let without = Browser::start(false).expect("a browser");
    without.screen(PHONE).expect("a phone");
    without.open(&endpoint.page()).expect("the page");
    // Drawn by JavaScript, and as it was sent.
    let drawn = with.value(TEXTS).expect("texts");
    assert!(drawn.as_array().is_some_and(|texts| texts.len() > 60), "{drawn}");
    assert_eq!(drawn, without.value(TEXTS).expect("texts"));
    let live = without.value("document.getElementById('live').textContent").expect("words");
    assert_eq!(live, "as of 2023-11-14 22:14:20 UTC", "JavaScript is on");
    without.picture(&pictures().join("phone-no-javascript.png")).expect("a picture");
    assert_silent(&with);
    assert_silent(&without);
    endpoint.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_phones_and_desks_in_both_colours() {
    let mut report = report_with("blocked: 3 ids are not served (filter {\"kinds\":[30617]}, second 1700000000)");
    report.trouble.clear();
    report.own_relay = Some(OwnRelayReport {
        embedded: true,
        url: "ws://127.0.0.1:7447".to_owned(),
        up: true,
        reason: String::new(),
        held: 0,
    });
    report.totals = Totals {
        relays: 5,
        connected: 4,
        complete: 2,
        degraded: 1,
        dead: 1,
        repos: 1_204,
        root_events: 18_377,
        pending_batches: 1,
        store_events: 1_482_909,
    };
    report.plugins[0].name = Some("window".to_owned());
    report.plugins[0].version = Some("1.0.0".to_owned());
    report.plugins[0].file = "/usr/lib/grasp-sync/libstrategy_window.so".to_owned();
    report.plugins[0].reason.clear();
    report.plugins[1].file = "/usr/lib/grasp-sync/libbroken.so".to_owned();
    report.plugins[1].reason = "no symbol `grasp_strategy`".to_owned();
    let seconds = 0..StatusReport::MAX_SECONDS as u64;
    report.events_per_second = seconds.map(|second| (second * 37 % 101) * (second / 10 % 4)).collect();
    report.relays[1].strategy = "negentropy,req".to_owned();
    report.batches[0].strategy = "negentropy".to_owned();
    report.batches[0].layer = "2+3".to_owned();
    report.incidents[0].subject = "negentropy → req".to_owned();
    report.incidents[1].subject = "initial_connect".to_owned();
    report.incidents[1].reason = "x".repeat(400);
    report.relays.push(relay(
        &format!("wss://{}.onion/{}", "a".repeat(60), "b".repeat(200)),
        ConnectionStatus::Connected,
        "",
    ));
    let endpoint = Endpoint::start_with(report).await;
    let browser = live(&endpoint);
    for (name, screen) in [("phone", PHONE), ("desktop", DESK)] {
        for (colours, dark) in [("light", false), ("dark", true)] {
            browser.screen(Screen { dark, ..screen }).expect("a screen");
            let widths = browser.value("[document.documentElement.scrollWidth, window.innerWidth]").expect("widths");
            assert_eq!(widths, json!([screen.width, screen.width]), "{name}: something is wider than the screen");
            let cut = "Array.from(document.querySelectorAll('body *')).filter((part) => part.scrollWidth > part.clientWidth + 1
                && part.clientWidth > 0 && getComputedStyle(part).display !== 'inline').map((part) => part.outerHTML.slice(0, 99))";
            assert_eq!(browser.value(cut).expect("parts"), json!([]), "{name}: something is wider than its place");
            let paper = browser.value("getComputedStyle(document.body).backgroundColor").expect("a colour");
            assert_eq!(paper, if dark { "rgb(18, 22, 28)" } else { "rgb(246, 247, 249)" }, "{colours}");
            browser.picture(&pictures().join(format!("{name}-{colours}.png"))).expect("a picture");
        }
    }
    assert_silent(&browser);
    endpoint.stop().await;
}

//! The page of a daemon in a real browser, with relays that come, go, and say what they shouldn't. `cargo xtask e2e` runs it.

use std::path::PathBuf;

use testkit::browser::{Browser, Screen};
use testkit::relay::RelayOptions;

use crate::daemon::Daemon;
use crate::net::{Net, daemon_place};
use crate::one_repo::repo;

const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";

#[test]
fn the_page_of_a_daemon_follows_its_relays() {
    let mut net = Net::of([Vec::new()]);
    net.add(RelayOptions::default()).set_faults(|faults| faults.refuse_req = Some(format!("blocked: {HOSTILE}")));
    // A name as bad as an address can be: quotes stay as they are written.
    let named = format!("ws://127.0.0.1:1/'onload='document.title=1'/{HOSTILE}").replace(' ', "");
    let mut relays = net.urls();
    relays.push(&named);
    repo("r", &relays).into_iter().for_each(|event| _ = net.relays[0].publish(event));
    let plugin = format!("[[plugins.load]]\npath = {:?}\n", format!("/nonexistent/{HOSTILE}.so"));
    let daemon = Daemon::start(&daemon_place(&[net.url(0)], &plugin));

    let browser = Browser::start(true).expect("a browser");
    browser.screen(Screen { width: 1280, height: 900, mobile: false, dark: false }).expect("a desk");
    browser.open(&daemon.admin()).expect("the page");
    browser.value("window.stays = true").expect("a mark that a load would wipe");
    let cell = |url: &str, at: usize| {
        let rows = "Array.from(document.querySelectorAll('#relays-rows tr'))";
        format!("{rows}.find((row) => row.cells[0].textContent === '{url}')?.cells[{at}].textContent")
    };
    browser.wait(&format!("{} === 'Connected'", cell(net.url(0), 1))).expect("the good relay is complete");
    browser.wait("document.querySelectorAll('#relays-rows tr').length === 3").expect("the others are found");
    let refused = cell(net.url(1), 7);
    browser.wait(&format!("{refused}?.includes(\"<img src=x onerror=\")")).expect("the refusal, in the relay's words");
    browser.wait("document.querySelectorAll('#incidents-rows tr').length > 0").expect("an incident");
    let bad_name = "document.getElementById('relays-rows').textContent.includes(\"'onload='document.title=1'\")";
    browser.wait(bad_name).expect("the name, as text");
    let file = "document.getElementById('plugins-rows').textContent.includes(\"/nonexistent/<img src=x\")";
    browser.wait(file).expect("the plugin's file, as text");
    browser.wait("document.getElementById('rate-words').textContent !== ''").expect("the rate");
    let pictures =
        PathBuf::from(std::env::var_os("E2E_PICTURES").expect("E2E_PICTURES names a folder: cargo xtask e2e"));
    browser.picture(&pictures.join("daemon.png")).expect("a picture");

    net.runtime.block_on(net.relays[0].stop());
    browser.wait(&format!("{} === 'Disconnected'", cell(net.url(0), 1))).expect("the good relay is gone");
    net.runtime.block_on(net.relays[0].restart()).expect("the same port");
    browser.wait(&format!("{} === 'Connected'", cell(net.url(0), 1))).expect("it is complete again");

    assert_eq!(browser.value("window.stays").expect("the mark"), true, "the page was loaded again");
    let made = "document.querySelectorAll('img, script:not([src=\"page.js\"]), body [onload]').length";
    assert_eq!(browser.value(made).expect("a number"), 0, "an element was made of a stranger's words");
    assert_eq!(browser.value("document.title").expect("a title"), "grasp-sync");
    assert_eq!(browser.console().expect("the console"), Vec::<String>::new());
    assert_eq!(daemon.stop().status.code(), Some(0));
}

//! What is wrong is named: the key, the value, where it came from, and what is allowed.

use crate::program::Place;

#[track_caller]
fn refused(config: &str, words: &[&str]) {
    let said = Place::with_config(config).refused();
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

#[test]
fn unknown_keys() {
    refused("[sync]\nbatch_windw = \"2s\"", &["sync.batch_windw = \"2s\"", "file ./grasp-sync.toml", "`batch_window`"]);
    refused("[synk]\nx = 1", &["synk.x = 1", "unknown key", "`sync`"]);
    refused("zzz = 1", &["zzz = 1", "allowed here: admin, admission"]);
    refused("[sync.relays.\"wss://a.b\"]\nstrategy = \"req\"", &["sync.relays.\"wss://a.b\".strategy", "`strategies`"]);
    refused("[strategy.negentropy]\nframes = 1", &["strategy.negentropy.frames = 1", "grasp-sync.toml"]);
    refused("[strategy.magic]\nx = 1", &["strategy.magic", "negentropy, req"]);
}

#[test]
fn wrong_types() {
    refused("[sync]\nbatch_window = 5", &["sync.batch_window = 5", "a text such as \"5s\""]);
    refused("[sync]\ndiscover = \"yes\"", &["sync.discover = \"yes\"", "true or false"]);
    refused("[sync]\nchunk_size = -1", &["sync.chunk_size = -1", "whole number"]);
    refused("[sync]\nchunk_size = 1.5", &["sync.chunk_size = 1.5", "whole number"]);
    refused("[service]\ndomain = \"a.b\"", &["service.domain = \"a.b\"", "a list of texts such as"]);
    refused("[service]\ndomain = [1]", &["service.domain = [1]", "a list of texts"]);
    refused("sync = 1", &["sync = 1", "a table"]);
    refused("strategy = 1", &["strategy = 1", "a table"]);
    refused("[sync.relays]\n\"wss://a.b\" = 1", &["sync.relays.\"wss://a.b\" = 1", "a table"]);
    refused("[sync]\nbatch_window = 2020-01-01", &["sync.batch_window", "a text such as"]);
}

#[test]
fn impossible_values() {
    for (config, words) in [
        ("[sync]\nbatch_window = \"soon\"", ["sync.batch_window = \"soon\"", "from 0s to 1h"]),
        ("[sync]\nbatch_window = \"99999999999999999w\"", ["sync.batch_window", "from 0s to 1h"]),
        ("[sync]\ndaily_sync = [\"23h\"]", ["sync.daily_sync = [\"23h\"]", "two durations"]),
        ("[sync]\ndaily_sync = [\"25h\", \"23h\"]", ["sync.daily_sync", "the shorter one first"]),
        ("[sync]\nchunk_size = 0", ["sync.chunk_size = 0", "from 1 to 10000"]),
        ("[sync]\nstrategies = []", ["sync.strategies = []", "at least one"]),
        ("[sync]\nstrategies = [\"req\", \"req\"]", ["sync.strategies", "each once"]),
        ("[sync]\nstrategies = [\"telepathy\"]", ["sync.strategies = [\"telepathy\"]", "available: negentropy, req"]),
        ("[sync]\nbootstrap_relays = [\"https://a.b\"]", ["sync.bootstrap_relays", "ws or wss"]),
        ("[sync.relays.\"https://a.b\"]\ndisabled = true", ["sync.relays.\"https://a.b\"", "ws or wss"]),
        (
            "[sync.relays.\"wss://a.b\"]\nstrategies = [\"x\"]",
            ["sync.relays.\"wss://a.b\".strategies", "no strategy `x`"],
        ),
        ("[sync.relays.\"wss://a.b\".limits]\nmax_filters = 0", ["\"wss://a.b\".limits.max_filters = 0", "from 1"]),
        (
            "[sync.relays.\"wss://a.b\"]\ndisabled = true\n[sync.relays.\"a.b:443\"]\ndisabled = true",
            ["sync.relays.\"wss://a.b\"", "another spelling"],
        ),
        ("[admin]\nhosts = [\"*\"]", ["admin.hosts = [\"*\"]", "status.example.com"]),
        ("[admin]\nhosts = [\"https://a.b\"]", ["admin.hosts", "without scheme"]),
        ("[admin]\nhosts = [\"a.b:443\"]", ["admin.hosts", "port"]),
        ("[admin]\nhosts = [\"bücher.example\"]", ["admin.hosts", "xn--bcher-kva.example"]),
        ("[store]\nmax_size = \"64GB\"", ["store.max_size = \"64GB\"", "KiB, MiB, GiB"]),
        ("[store]\npath = \"\"", ["store.path = \"\"", "directory"]),
        (
            "[service]\nown_relay = \"external\"",
            ["service.own_relay = \"external\"", "\"embedded\", or the URL of a relay"],
        ),
        (
            "[service]\nown_relay = \"http://x\"",
            ["service.own_relay = \"http://x\"", "\"embedded\", or the URL of a relay"],
        ),
        ("[service]\nlisten = \"localhost\"", ["service.listen = \"localhost\"", "an IP address with a port"]),
        ("[service]\ndomain = [\"https://a.b\"]", ["service.domain", "without a scheme"]),
        ("[admin]\nlisten = \"x\"", ["admin.listen = \"x\"", "or \"\" for none"]),
        ("[admission]\nmode = \"some\"", ["admission.mode = \"some\"", "\"grasp\" or \"all\""]),
        ("[admission]\nallow = [\"bob\"]", ["admission.allow = [\"bob\"]", "npub1"]),
        ("[health]\nmax_backoff = \"1s\"", ["health.max_backoff = \"1s\"", "at least health.base_backoff"]),
        ("[limits]\nmax_event_size = 8388608", ["limits.max_message_size", "at least limits.max_event_size"]),
        ("[rejected]\ncold = \"1m\"", ["rejected.cold = \"1m\"", "at least rejected.hot"]),
        ("[telemetry]\nsample_ratio = 1.5", ["telemetry.sample_ratio = 1.5", "from 0.0 to 1.0"]),
        ("[telemetry]\nsample_ratio = nan", ["telemetry.sample_ratio = nan", "from 0.0 to 1.0"]),
        ("[telemetry]\nlog_format = \"xml\"", ["telemetry.log_format = \"xml\"", "\"text\" or \"json\""]),
        ("[telemetry]\notlp_endpoint = \"x:1\"", ["telemetry.otlp_endpoint = \"x:1\"", "http"]),
        ("[strategy.req]\npage_size = \"many\"", ["strategy.req.page_size = \"many\"", "grasp-sync.toml"]),
    ] {
        refused(config, &words);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    refused("[sync]\nchunk_size = 0\nsettle = \"x\"", &["2 problems", "sync.chunk_size = 0", "sync.settle = \"x\""]);
    refused("[sync]\nchunk = 0\ndiscover = 1", &["2 problems", "sync.chunk = 0", "sync.discover = 1"]);
}

#[test]
fn the_source_is_named() {
    let said = Place::new().var("GRASP_SYNC_SYNC__BATCH_WINDOW", "soon").refused();
    assert!(
        said.contains("sync.batch_window = \"soon\" (from environment variable GRASP_SYNC_SYNC__BATCH_WINDOW)"),
        "{said}"
    );
    let said = Place::new().var("GRASP_SYNC_SYNC__BATCH", "5s").refused();
    assert!(
        said.contains("sync.batch = \"5s\" (from environment variable GRASP_SYNC_SYNC__BATCH): unknown key"),
        "{said}"
    );
}

#[test]
fn files_that_can_not_be_read() {
    let ended = Place::new().run(&["config", "check", "--config", "none.toml"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("none.toml: can't be read"), "{ended:?}");
    refused("[sync]\nchunk_size = = 1", &["./grasp-sync.toml: line 2, column 14: "]);
    refused("[service]\nsecret_key_file = \"none\"", &["service.secret_key_file = \"none\"", "can be read"]);
}

#[test]
fn secrets_are_never_shown() {
    let secret = "5fe0a7dd1be5c4d2a7b8a5f4ce3d1c3e9f4b7f1d2d6c1e0b9a8f7e6d5c4b3a21";
    let nsec = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
    for config in [
        format!("[service]\nsecret_key = \"{secret}0\""),
        format!("[service]\nsecret_key = [\"{secret}\"]"),
        format!("[service]\nsecret_kye = \"{nsec}\""),
        format!("[service]\nsecretkey = \"{secret}\""),
        format!("[service]\nsecret_key = \"{secret}"),
        format!("[service]\nsecret_key = \"{secret}\"\nsecret_key_file = \"grasp-sync.toml\""),
    ] {
        let said = Place::with_config(&config).refused();
        assert!(!said.contains(secret) && !said.contains(nsec), "{said}");
    }
    let place = Place::with_config(&format!("[service]\nsecret_key = \"{secret}\""));
    for args in [&["config", "show"][..], &["config", "show", "--json"]] {
        let ended = place.run(args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stdout.contains(secret) && ended.stdout.contains("(hidden)"), "{ended:?}");
    }
    let place = Place::with_config("[service]\nsecret_key_file = \"key\"").file("key", &format!("{nsec}\n"));
    let ended = place.run(&["config", "show"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains(nsec), "{ended:?}");
}

#[test]
fn a_key_is_nothing_to_warn_of() {
    let config = "[service]\nsecret_key = \"5fe0a7dd1be5c4d2a7b8a5f4ce3d1c3e9f4b7f1d2d6c1e0b9a8f7e6d5c4b3a21\"";
    let ended = Place::with_config(config).run(&["config", "check"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("warning"), "{ended:?}");
}

#[test]
fn run_needs_a_domain_unless_it_takes_all() {
    let ended = Place::new().run(&["run"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("service.domain = [] (from default)"), "{ended:?}");
    let ended = Place::new().run(&["config", "check"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "ok\n"), "{ended:?}");
    assert!(ended.stderr.contains("note: ") && ended.stderr.contains("service.domain"), "{ended:?}");
    let ended = Place::with_config("[admission]\nmode = \"all\"").run(&["config", "check"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
}

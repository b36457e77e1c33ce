//! Defaults < file < environment < flags; and each value remembers where it came from.

use serde_json::json;

use crate::program::Place;

#[test]
fn each_layer_overrides_the_one_before() {
    let place = Place::new();
    assert_eq!(place.shown(&[])["store.path"], json!({ "value": "./grasp-sync-data", "source": "default" }));
    let place = Place::with_config("[store]\npath = \"from-file\"");
    assert_eq!(place.shown(&[])["store.path"], json!({ "value": "from-file", "source": "file ./grasp-sync.toml" }));
    let place = place.var("GRASP_SYNC_STORE__PATH", "from-env");
    let source = "environment variable GRASP_SYNC_STORE__PATH";
    assert_eq!(place.shown(&[])["store.path"], json!({ "value": "from-env", "source": source }));
    let shown = place.shown(&["--store", "from-flag"]);
    assert_eq!(shown["store.path"], json!({ "value": "from-flag", "source": "flag --store" }));
    assert_eq!(shown["store.max_size"]["source"], "default");
}

#[test]
fn the_first_file_that_exists_counts() {
    let place = Place::new().file(".config/grasp-sync/config.toml", "[sync]\nsettle = \"1s\"");
    assert_eq!(place.shown(&[])["sync.settle"]["value"], "1s");
    let xdg = place.path().join("xdg").display().to_string();
    let place = place.file("xdg/grasp-sync/config.toml", "[sync]\nsettle = \"2s\"").var("XDG_CONFIG_HOME", &xdg);
    assert_eq!(place.shown(&[])["sync.settle"]["value"], "2s");
    let place = place.file("grasp-sync.toml", "[sync]\nsettle = \"3s\"");
    assert_eq!(place.shown(&[])["sync.settle"]["value"], "3s");
    let place = place.file("other.toml", "[sync]\nsettle = \"4s\"");
    assert_eq!(place.shown(&["--config", "other.toml"])["sync.settle"]["value"], "4s");
}

#[test]
fn environment_variables_have_the_type_of_their_key() {
    let place = Place::new()
        .var("GRASP_SYNC_SYNC__BATCH_WINDOW", "2s")
        .var("GRASP_SYNC_SYNC__CHUNK_SIZE", "50")
        .var("GRASP_SYNC_SYNC__DISCOVER", "false")
        .var("GRASP_SYNC_SYNC__BOOTSTRAP_RELAYS", r#"["wss://a.b", "wss://c.d"]"#)
        .var("GRASP_SYNC_SYNC__DAILY_SYNC", "")
        .var("GRASP_SYNC_SERVICE__DOMAIN", "git.example.com")
        .var("GRASP_SYNC_ADMIN__HOSTS", "a.example, b.example,")
        .var("GRASP_SYNC_TELEMETRY__SERVICE_NAME", "42")
        .var("GRASP_SYNC_TELEMETRY__SAMPLE_RATIO", "0.5")
        .var("GRASP_SYNC_LIMITS__MAX_EVENT_SIZE", "65536")
        .var("GRASP_SYNC_ADMIN__LISTEN", "")
        .var("GRASP_SYNC_STRATEGY__NEGENTROPY__TIMEOUT", "10s")
        .var("GRASP_SYNC_STRATEGY__REQ__PAGE_SIZE", "100")
        .var("GRASP_SYNCHRONISE", "not ours");
    let shown = place.shown(&[]);
    for (key, value) in [
        ("sync.batch_window", json!("2s")),
        ("sync.chunk_size", json!(50)),
        ("sync.discover", json!(false)),
        ("sync.bootstrap_relays", json!(["wss://a.b", "wss://c.d"])),
        ("sync.daily_sync", json!([])),
        ("service.domain", json!(["git.example.com"])),
        ("admin.hosts", json!(["a.example", "b.example"])),
        ("telemetry.service_name", json!("42")),
        ("telemetry.sample_ratio", json!(0.5)),
        ("limits.max_event_size", json!("65536")),
        ("admin.listen", json!("")),
        ("strategy.negentropy.timeout", json!("10s")),
        ("strategy.req.page_size", json!(100)),
    ] {
        assert_eq!(shown[key]["value"], value, "{key}");
        assert_ne!(shown[key]["source"], "default", "{key}");
    }
}

#[test]
fn what_is_shown_can_be_read_back() {
    let config = "[sync]\nsettle = \"1s\"\n[limits]\nmax_event_size = 65536\n\
                  [sync.relays.\"wss://a.b\"]\nstrategies = [\"req\"]\nlimits = { max_filters = 3 }\n";
    let place = Place::with_config(config);
    let shown = place.run(&["config", "show"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("\nsettle = \"1s\"  # from file ./grasp-sync.toml\n"), "{}", shown.stdout);
    assert!(
        shown.stdout.contains("\n[sync.relays.\"wss://a.b\".limits]\nmax_filters = 3  # from file"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("\nbatch_window = \"5s\"  # from default\n"), "{}", shown.stdout);
    let again = Place::with_config(&shown.stdout);
    let values = |place: &Place| {
        let shown = place.shown(&[]);
        let object = shown.as_object().expect("an object").clone();
        object.into_iter().map(|(key, value)| (key, value["value"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&place));
}

//! `[strategy.negentropy]`: defaults, ranges, and errors that say what is allowed.

use serde_json::json;
use strategy_negentropy::NegentropyStrategy;
use sync_core::strategy::SyncStrategy;

#[test]
fn defaults_are_those_of_the_contract() {
    let defaults = NegentropyStrategy::from_config(&json!({})).expect("defaults are valid");
    let contract = json!({ "frame_size_limit": 60000, "fetch_chunk": 256, "concurrency": 4, "timeout": "30s" });
    let written = NegentropyStrategy::from_config(&contract).expect("the contract's values are valid");
    assert_eq!(defaults.hints(), written.hints());
    assert_eq!((defaults.hints().concurrency, defaults.hints().fetch_chunk), (4, 256));
    let descriptor = defaults.descriptor();
    assert_eq!(descriptor.name.as_str(), "negentropy");
    assert!(descriptor.compares_sets && descriptor.probes_alone);
}

#[test]
fn errors_name_key_value_and_what_is_allowed() {
    for (config, message) in [
        (
            json!({ "frame_limit": 1 }),
            "strategy.negentropy.frame_limit = 1: is unknown; the keys are frame_size_limit, fetch_chunk, concurrency, timeout",
        ),
        (
            json!({ "frame_size_limit": 60001 }),
            "strategy.negentropy.frame_size_limit = 60001: must be a whole number from 4096 to 60000",
        ),
        (
            json!({ "frame_size_limit": "60000" }),
            "strategy.negentropy.frame_size_limit = \"60000\": must be a whole number from 4096 to 60000",
        ),
        (json!({ "concurrency": 0 }), "strategy.negentropy.concurrency = 0: must be a whole number from 1 to 64"),
        (json!({ "fetch_chunk": -1 }), "strategy.negentropy.fetch_chunk = -1: must be a whole number from 1 to 5000"),
        (
            json!({ "timeout": "0s" }),
            "strategy.negentropy.timeout = \"0s\": must be a duration in quotes from 1ms to 1h, such as \"30s\"",
        ),
    ] {
        let error = NegentropyStrategy::from_config(&config).expect_err("not allowed");
        assert_eq!(error.to_string(), message);
    }
}

//! `[strategy.req]`: defaults, ranges, and errors that say what is allowed.

use serde_json::json;
use strategy_req::ReqStrategy;
use sync_core::strategy::SyncStrategy;

#[test]
fn defaults_and_values_of_the_contract_are_taken() {
    for config in [json!({}), json!({ "page_size": 500, "timeout": "30s" })] {
        let strategy = ReqStrategy::from_config(&config).expect("valid");
        let descriptor = strategy.descriptor();
        assert_eq!(descriptor.name.as_str(), "req");
        assert!(!descriptor.compares_sets && !descriptor.probes_alone);
    }
}

#[test]
fn errors_name_key_value_and_what_is_allowed() {
    for (config, message) in [
        (json!({ "pagesize": 1 }), "strategy.req.pagesize = 1: is unknown; the keys are page_size, timeout"),
        (json!({ "page_size": 0 }), "strategy.req.page_size = 0: must be a whole number from 1 to 5000"),
        (json!({ "page_size": 1.5 }), "strategy.req.page_size = 1.5: must be a whole number from 1 to 5000"),
        (
            json!({ "timeout": 30 }),
            "strategy.req.timeout = 30: must be a duration in quotes from 1ms to 1h, such as \"30s\"",
        ),
    ] {
        assert_eq!(ReqStrategy::from_config(&config).expect_err("not allowed").to_string(), message);
    }
}

//! A plugin reads its own section of the configuration.

use serde_json::json;
use strategy_host::{Plugin, Unusable};
use testkit::plugins::rust_library;

use crate::support::{bad, impatient, patient};

fn said(plugin: &std::sync::Arc<Plugin>, config: serde_json::Value) -> String {
    match plugin.strategy(&config) {
        Ok(_) => "takes it".to_owned(),
        Err(Unusable::Config(error)) => error.to_string(),
        Err(Unusable::Failed(reason)) => format!("fails: {reason}"),
    }
}

#[test]
fn a_library_of_a_built_in_says_what_the_built_in_says() {
    for (package, name) in [("plugin-req", "req"), ("plugin-negentropy", "negentropy")] {
        let plugin = Plugin::load(&rust_library(package), None, patient()).expect("it loads");
        for config in [
            json!({}),
            json!(null),
            json!({"timeout": "5s"}),
            json!({"timeout": 5}),
            json!({"timeout": "0s"}),
            json!({"page_size": 17}),
            json!({"page_size": "many"}),
            json!({"frame_size_limit": 1}),
            json!({"concurrency": 3, "fetch_chunk": 11}),
            json!({"unheard_of": [1, {"a": "b"}]}),
        ] {
            let built_in = match name {
                "req" => strategy_req::ReqStrategy::from_config(&config).map(|strategy| hints(&strategy)),
                _ => strategy_negentropy::NegentropyStrategy::from_config(&config).map(|strategy| hints(&strategy)),
            };
            match built_in {
                Ok(expected) => {
                    let strategy = plugin.strategy(&config).unwrap_or_else(|error| panic!("{config}: {error}"));
                    assert_eq!(hints(&*strategy), expected, "{config}");
                }
                Err(error) => {
                    let expected = error.to_string().replace(name, &format!("{name}-plugin"));
                    assert_eq!(said(&plugin, config), expected);
                }
            }
        }
    }
}

fn hints(strategy: &dyn sync_core::strategy::SyncStrategy) -> sync_core::strategy::SessionHints {
    strategy.hints()
}

#[test]
fn a_plugin_that_answers_nonsense_is_not_used() {
    let plugin = bad(patient());
    assert_eq!(said(&plugin, json!({"how": "refuse"})), "strategy.bad.how = \"refuse\": must be anything else");
    assert_eq!(
        said(&plugin, json!({"how": "hints"})),
        "fails: can't check its configuration: it asks for a concurrency of 100000; 1 to 64 are allowed"
    );
    assert_eq!(said(&plugin, json!([1])), "strategy.bad. = [1]: must be a table");
    assert_eq!(said(&plugin, json!({"how": "honest"})), "takes it");
}

#[test]
fn a_plugin_that_hangs_over_its_configuration_is_barred() {
    let plugin = bad(impatient());
    let reason = "check_config did not return within 200ms";
    assert_eq!(said(&plugin, json!({"how": "hang-check"})), format!("fails: {reason}"));
    assert_eq!(plugin.barred().as_deref(), Some(reason));
    assert_eq!(said(&plugin, json!({})), format!("fails: {reason}"));
}

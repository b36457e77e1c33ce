//! `config show`: every value with where it came from, secrets hidden.

use std::fmt::Write as _;

use figment::value::{Dict, Value};

use super::layers::{KeyPath, Layers, presentable, quoted_key, shown};
use super::problem::is_secret;

/// As TOML that can be read back.
pub(super) fn toml(layers: &Layers) -> String {
    let mut text = String::new();
    table(layers, &KeyPath::default(), &layers.tree, &mut text);
    text.trim_start().to_owned()
}

fn table(layers: &Layers, path: &KeyPath, dict: &Dict, text: &mut String) {
    let (tables, values): (Vec<_>, Vec<_>) = dict.iter().partition(|(_, value)| value.as_dict().is_some());
    if !values.is_empty() {
        let _ = writeln!(text, "\n[{path}]");
    }
    for (key, value) in values {
        let shown = match is_secret(&path.join(key), value) {
            true => "\"(hidden)\"".to_owned(),
            false => shown(&path.join(key), value),
        };
        let _ = writeln!(text, "{} = {shown}  # from {}", quoted_key(key), layers.origin(value));
    }
    for (key, value) in tables {
        if let Some(dict) = value.as_dict() {
            table(layers, &path.join(key), dict, text);
        }
    }
}

/// As one JSON object: dotted key → `{"value", "source"}`.
pub(super) fn json(layers: &Layers) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    collect(layers, &KeyPath::default(), &layers.tree, &mut object);
    object.into()
}

fn collect(layers: &Layers, path: &KeyPath, dict: &Dict, object: &mut serde_json::Map<String, serde_json::Value>) {
    for (key, value) in dict {
        let path = path.join(key);
        match value {
            Value::Dict(_, dict) => collect(layers, &path, dict, object),
            _ => {
                let source = layers.origin(value);
                let value = match is_secret(&path, value) {
                    true => "(hidden)".into(),
                    false => serde_json::to_value(presentable(&path, value)).unwrap_or_default(),
                };
                object.insert(path.to_string(), serde_json::json!({ "value": value, "source": source }));
            }
        }
    }
}

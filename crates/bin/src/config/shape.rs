//! Unknown keys and wrong types: the merged tree compared with the tree of the defaults.

use figment::value::{Dict, Value};

use super::layers::{KeyPath, Layers, shown, tree_of};
use super::otel;
use super::problem::{ConfigErrors, Problem};
use super::raw::{Raw, relay_template};
use super::units::parse_size;

/// Finds every key that doesn't exist and every value of the wrong type.
///
/// # Errors
/// All of them.
pub(super) fn check(layers: &Layers) -> Result<(), ConfigErrors> {
    let mut shape = Shape { layers, problems: Vec::new() };
    shape.table(&KeyPath::default(), &tree_of(&Raw::default())?, &layers.tree);
    if shape.problems.is_empty() { Ok(()) } else { Err(ConfigErrors(shape.problems)) }
}

struct Shape<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

impl Shape<'_> {
    fn problem(&mut self, path: &KeyPath, value: &Value, text: String) {
        let (key, origin) = (path.to_string(), self.layers.origin(value));
        self.problems.push(Problem::Key { key, value: shown(path, value), origin, text });
    }

    fn table(&mut self, path: &KeyPath, template: &Dict, found: &Dict) {
        for (key, value) in found {
            let path = path.join(key);
            match template.get(key) {
                Some(template) => self.value(&path, template, value),
                None => {
                    for (path, leaf) in leaves(&path, value) {
                        self.problem(&path, leaf, unknown(key, template));
                    }
                }
            }
        }
    }

    fn value(&mut self, path: &KeyPath, template: &Value, found: &Value) {
        if path.is("strategy") {
            self.tables(path, found, "the configuration of one strategy", |_, _, _| {});
        } else if path.is("sync.relays") {
            self.tables(path, found, "the configuration of one relay", |shape, path, dict| {
                shape.table(path, &relay_template(), dict);
            });
        } else if let (Some(template), Some(found)) = (template.as_dict(), found.as_dict()) {
            self.table(path, template, found);
        } else if !has_type(path, template, found) {
            let by_origin = otel::allowed(&self.layers.origin(found)).map(str::to_owned);
            let allowed = by_origin.unwrap_or_else(|| described(path, template));
            self.problem(path, found, format!("must be {allowed}"));
        }
    }

    /// A table whose keys are names, each with a table of its own.
    fn tables(&mut self, path: &KeyPath, found: &Value, what: &str, check: impl Fn(&mut Self, &KeyPath, &Dict)) {
        let Some(found) = found.as_dict() else {
            return self.problem(path, found, "must be a table".to_owned());
        };
        for (name, value) in found {
            let path = path.join(name);
            match value.as_dict() {
                Some(dict) => check(self, &path, dict),
                None => self.problem(&path, value, format!("must be a table: {what}")),
            }
        }
    }
}

/// The values under `value` that aren't tables, each with its key; `value` itself where there are none.
fn leaves<'a>(path: &KeyPath, value: &'a Value) -> Vec<(KeyPath, &'a Value)> {
    match value.as_dict() {
        Some(dict) if !dict.is_empty() => dict.iter().flat_map(|(key, value)| leaves(&path.join(key), value)).collect(),
        _ => vec![(path.clone(), value)],
    }
}

fn has_type(path: &KeyPath, template: &Value, found: &Value) -> bool {
    match (template, found) {
        (Value::String(_, default), Value::Num(..)) => parse_size(default).is_some() && is_whole(found),
        (Value::Num(..), Value::Num(..)) => template.to_u128().is_none() || is_whole(found),
        (Value::Array(..), Value::Array(_, items)) => {
            path.is("plugins.load") || items.iter().all(|item| item.as_str().is_some())
        }
        (Value::String(..), Value::String(..)) | (Value::Bool(..), Value::Bool(..)) => true,
        _ => false,
    }
}

/// A number that fits 64 bits, without sign or fraction.
fn is_whole(value: &Value) -> bool {
    value.to_u128().is_some_and(|number| u64::try_from(number).is_ok())
        || value.to_i128().is_some_and(|number| u64::try_from(number).is_ok())
}

fn described(path: &KeyPath, template: &Value) -> String {
    match template {
        Value::String(_, default) if default.is_empty() => "a text".to_owned(),
        Value::String(_, default) => format!("a text such as {default:?}"),
        Value::Bool(..) => "true or false".to_owned(),
        Value::Num(..) if template.to_u128().is_some() => "a whole number, not negative".to_owned(),
        Value::Num(..) => "a number".to_owned(),
        Value::Array(..) if path.is("plugins.load") => "a list of tables".to_owned(),
        Value::Array(..) => format!("a list of texts such as {}", example(path)),
        _ => "a table".to_owned(),
    }
}

fn example(path: &KeyPath) -> &'static str {
    match path.last() {
        Some("hosts") => r#"["status.example.com"]"#,
        Some("domain") => r#"["git.example.com"]"#,
        Some("bootstrap_relays") => r#"["wss://relay.example.com"]"#,
        Some("strategies") => r#"["negentropy", "req"]"#,
        Some("daily_sync") => r#"["23h", "25h"]"#,
        Some("supported_grasps") => r#"["GRASP-01"]"#,
        _ => r#"["npub1…", "npub1…/identifier"]"#,
    }
}

/// What to say of a key that isn't in `template`.
fn unknown(key: &str, template: &Dict) -> String {
    let nearest = template
        .keys()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min();
    match nearest {
        Some((_, known)) => format!("unknown key; did you mean `{known}`?"),
        None => {
            let known: Vec<_> = template.keys().map(String::as_str).collect();
            format!("unknown key; allowed here: {}", known.join(", "))
        }
    }
}

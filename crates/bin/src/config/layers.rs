//! Where values come from: defaults < file < environment < flags, merged by figment; each value remembers its origin. Of the
//! environment, OTEL_* stands below GRASP_SYNC_*.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use telemetry::traces::masked;

use super::otel;
use super::problem::{ConfigErrors, Problem, is_secret};
use super::raw::Raw;

/// What environment variables begin with; `__` stands between levels.
const PREFIX: &str = "GRASP_SYNC_";

/// The flags that bear on the configuration.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--store DIR`.
    pub store: Option<PathBuf>,
}

/// The environment variables that a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable's value; `None` where it isn't set, or isn't UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).and_then(|(_, value)| Some(value.to_str()?.trim().to_owned()))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| PathBuf::from(value));
        // The XDG rules: a relative path is to be ignored.
        value.filter(|path| path.is_absolute())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(vars.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// A key as its parts; displayed dotted, parts that aren't bare TOML keys in quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    /// From a dotted key without quotes.
    pub(super) fn new(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    /// This key with one more part.
    pub(super) fn join(&self, part: &str) -> Self {
        Self(self.0.iter().cloned().chain([part.to_owned()]).collect())
    }

    /// Whether it is this dotted key.
    pub(super) fn is(&self, dotted: &str) -> bool {
        self.0.iter().map(String::as_str).eq(dotted.split('.'))
    }

    /// The last part.
    pub(super) fn last(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// What it leads to.
    pub(super) fn find<'a>(&self, tree: &'a Dict) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(tree.get(first)?, |value, part| value.as_dict()?.get(part))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{}", quoted_key(part))?;
        }
        Ok(())
    }
}

/// A part of a key as TOML writes it.
pub(super) fn quoted_key(part: &str) -> String {
    let bare = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare { part.to_owned() } else { toml::Value::from(part).to_string() }
}

/// All layers merged.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    figment: Figment,
    /// The merged values.
    pub(super) tree: Dict,
}

impl Layers {
    /// Reads every layer. The shape is not checked.
    pub(super) fn read(flags: &Flags, env: &Environment) -> Result<Self, ConfigErrors> {
        let defaults = tree_of(&Raw::default())?;
        let mut figment = Figment::new();
        let mut layer = |origin: String, dict: Dict| {
            figment = std::mem::take(&mut figment).merge(Layer { origin, dict });
        };
        layer("default".to_owned(), defaults.clone());
        if let Some(path) = find_file(flags, env)? {
            layer(format!("file {}", path.display()), read_file(&path)?);
        }
        for (origin, dict) in otel::found(env).into_iter().map(otel::Found::into_layer) {
            layer(origin, dict);
        }
        let mut vars: Vec<_> = env.0.iter().filter_map(|(name, value)| Some((name.to_str()?, value))).collect();
        vars.sort_unstable();
        for (name, value) in vars {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let path = KeyPath(key.split("__").map(str::to_ascii_lowercase).collect());
            let origin = format!("environment variable {name}");
            let Some(text) = value.to_str() else {
                let value = "(not UTF-8)".to_owned();
                return Err(Problem::Key { key: path.to_string(), value, origin, text: "must be UTF-8".into() }.into());
            };
            let value = read_variable(text, path.find(&defaults));
            layer(origin, nest(&path.0, value));
        }
        if let Some(store) = &flags.store {
            let Some(text) = store.to_str() else {
                let (key, value) = ("store.path".to_owned(), store.display().to_string());
                let origin = "flag --store".to_owned();
                return Err(Problem::Key { key, value, origin, text: "must be UTF-8".into() }.into());
            };
            layer("flag --store".to_owned(), nest(&["store".into(), "path".into()], Value::from(text)));
        }
        let tree = figment.find_value("").map_err(|error| figment_problem(&error))?.into_dict().unwrap_or_default();
        Ok(Self { figment, tree })
    }

    /// The raw type; fails only where the shape wasn't checked before.
    pub(super) fn raw(&self) -> Result<Raw, ConfigErrors> {
        Value::from(self.tree.clone()).deserialize().map_err(|error| figment_problem(&error))
    }

    /// Where a value came from.
    pub(super) fn origin(&self, value: &Value) -> String {
        self.figment.get_metadata(value.tag()).map_or_else(|| "default".to_owned(), |origin| origin.name.to_string())
    }

    /// A problem with the value at `path`.
    pub(super) fn problem(&self, path: &KeyPath, text: impl Into<String>) -> Problem {
        let found = path.find(&self.tree);
        Problem::Key {
            key: path.to_string(),
            value: found.map_or_else(|| "(not set)".to_owned(), |value| shown(path, value)),
            origin: found.map_or_else(|| "default".to_owned(), |value| self.origin(value)),
            text: text.into(),
        }
    }
}

/// A value as TOML, secrets hidden.
pub(super) fn shown(path: &KeyPath, value: &Value) -> String {
    if is_secret(path, value) {
        return "(hidden)".to_owned();
    }
    let value = presentable(path, value);
    toml::Value::try_from(&value).map_or_else(|_| format!("{value:?}"), |value| value.to_string())
}

/// A value without what must not be shown of it: collectors are given keys in their addresses.
pub(super) fn presentable(path: &KeyPath, value: &Value) -> Value {
    match value.as_str() {
        Some(text) if path.is("telemetry.otlp_endpoint") => Value::from(masked(text)),
        _ => value.clone(),
    }
}

/// The defaults as a tree.
pub(super) fn tree_of(raw: &Raw) -> Result<Dict, ConfigErrors> {
    let value = Value::serialize(raw).map_err(|error| figment_problem(&error))?;
    Ok(value.into_dict().unwrap_or_default())
}

/// One source of values.
struct Layer {
    origin: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// The file of `--config`, else the first of the usual ones that exists.
fn find_file(flags: &Flags, env: &Environment) -> Result<Option<PathBuf>, ConfigErrors> {
    if let Some(path) = &flags.config {
        return Ok(Some(path.clone()));
    }
    let home = || env.path("HOME").map(|home| home.join(".config"));
    let user = env.path("XDG_CONFIG_HOME").or_else(home).map(|dir| dir.join("grasp-sync/config.toml"));
    let candidates = [Some(PathBuf::from("./grasp-sync.toml")), user, Some(PathBuf::from("/etc/grasp-sync.toml"))];
    for path in candidates.into_iter().flatten() {
        match path.try_exists() {
            Ok(true) => return Ok(Some(path)),
            Ok(false) => {}
            Err(error) => return Err(Problem::File { text: format!("can't be read: {error}"), path }.into()),
        }
    }
    Ok(None)
}

fn read_file(path: &Path) -> Result<Dict, ConfigErrors> {
    let problem = |text: String| ConfigErrors::from(Problem::File { path: path.to_owned(), text });
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("can't be read: {error}")))?;
    toml::from_str(&text).map_err(|error| {
        // The error's own text quotes the line, which may hold a secret.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let (line, column) =
            (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
        problem(format!("line {line}, column {column}: {}", error.message().trim_end()))
    })
}

/// An environment variable's value: text as it stands where the key is a text; a list as TOML, or one text alone;
/// anything else as TOML where it is that.
fn read_variable(text: &str, default: Option<&Value>) -> Value {
    match default {
        Some(Value::String(..)) if !text.starts_with('"') => Value::from(text),
        Some(Value::Array(..)) if text.trim().is_empty() => Value::from(Vec::<String>::new()),
        Some(Value::Array(..)) => match read_toml(text) {
            Some(value) if value.as_array().is_some() => value,
            _ if text.trim_start().starts_with('[') => Value::from(text),
            _ => Value::from(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect::<Vec<_>>()),
        },
        _ => read_toml(text).unwrap_or_else(|| Value::from(text)),
    }
}

fn read_toml(text: &str) -> Option<Value> {
    let mut dict: Dict = toml::from_str(&format!("value = {text}")).ok()?;
    dict.remove("value").filter(|_| dict.is_empty())
}

fn nest(path: &[String], value: Value) -> Dict {
    match path {
        [] => Dict::new(),
        [last] => Dict::from([(last.clone(), value)]),
        [first, rest @ ..] => Dict::from([(first.clone(), Value::from(nest(rest, value)))]),
    }
}

fn figment_problem(error: &figment::Error) -> ConfigErrors {
    Problem::Key {
        key: error.path.join("."),
        value: "(as given)".to_owned(),
        origin: error.metadata.as_ref().map_or_else(|| "default".to_owned(), |origin| origin.name.to_string()),
        text: error.kind.to_string(),
    }
    .into()
}

//! What is wrong with a configuration, in words that name the key, the value, where it came from and what is allowed.

use std::fmt;
use std::path::PathBuf;

use super::layers::KeyPath;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A file can't be read, or isn't TOML.
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// A key that doesn't exist, or a value of the wrong type, or one that can't be.
    Key {
        /// The key, dotted.
        key: String,
        /// Its value as TOML; `(hidden)` for a secret.
        value: String,
        /// Where it came from: `file …`, `environment variable …`, `flag …` or `default`.
        origin: String,
        /// What is wrong, or what is allowed.
        text: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, text } => write!(f, "{}: {text}", path.display()),
            Self::Key { key, value, origin, text } => write!(f, "{key} = {value} (from {origin}): {text}"),
        }
    }
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [problem] => write!(f, "configuration: {problem}"),
            problems => {
                write!(f, "configuration: {} problems", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// Whether the value at `path` must not be shown: the secret key, and what looks like a misspelt or misplaced one.
pub(super) fn is_secret(path: &KeyPath, value: &figment::value::Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let names_a_secret = path.last().is_some_and(|key| key.contains("secret") && !key.ends_with("_file"));
    (names_a_secret && value.as_str() != Some("")) || text.starts_with("nsec1")
}

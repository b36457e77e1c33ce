//! Single values read from their text. Each error says what is allowed, to follow "must be".

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nostr::key::{Keys, PublicKey};
use sync_core::admission::{AdmissionMode, ListEntry};
use sync_core::model::{RelayUrl, RepoAddress, SyncMethod};
use url::{Host, Url};

use super::settings::PluginFile;
use super::units::duration_in;

/// Every item of a list; the error names the first that can't be.
pub(super) fn each<T>(texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text).map_err(|allowed| not_each(&allowed, format_args!("{text:?}")))).collect()
}

fn not_each(allowed: &str, found: std::fmt::Arguments<'_>) -> String {
    format!("a list of which each is {allowed}; {found} is not")
}

/// `[[plugins.load]]`. Whether the file is there is known when it is loaded.
pub(super) fn plugin_files(tables: &[serde_json::Value]) -> Result<Vec<PluginFile>, String> {
    const ALLOWED: &str = "a table of `path`, a text, and `sha256`, 64 hex digits or \"\"";
    let read = |table: &serde_json::Value| {
        let table = table.as_object()?;
        let known = table.keys().all(|key| matches!(key.as_str(), "path" | "sha256"));
        let path = table.get("path")?.as_str().filter(|path| known && !path.is_empty())?;
        let sha256 = table.get("sha256").map_or(Some(""), serde_json::Value::as_str)?;
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let sha256 = if sha256.is_empty() { None } else { Some(is_hash.then(|| sha256.to_owned())?) };
        Some(PluginFile { path: path.into(), sha256 })
    };
    tables.iter().map(|table| read(table).ok_or_else(|| not_each(ALLOWED, format_args!("{table}")))).collect()
}

/// A path that doesn't depend on where the program was started.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("an absolute path".to_owned()) }
}

/// `None` for the empty text.
pub(super) fn optional<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    read(text).map(Some).map_err(|allowed| format!("{allowed}, or \"\" for none"))
}

/// A number within `allowed`.
pub(super) fn number_in(number: u64, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    let (min, max) = (allowed.start(), allowed.end());
    if allowed.contains(&number) { Ok(number) } else { Err(format!("a whole number from {min} to {max}")) }
}

/// A number within `allowed` that this machine can count to.
pub(super) fn count_in(number: u64, allowed: RangeInclusive<u64>) -> Result<usize, String> {
    let number = number_in(number, allowed)?;
    usize::try_from(number).map_err(|_| format!("at most {}", usize::MAX))
}

/// A text that isn't blank.
pub(super) fn word(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a text that isn't empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// An IP address with its port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an IP address with a port, such as \"127.0.0.1:7447\" or \"[::1]:7447\"".to_owned())
}

/// `host`, `host:port`, or with a path; without a scheme.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let allowed =
        || "a domain, such as \"git.example.com\", with a port or a path where need be, without a scheme".to_owned();
    if text.contains("://") || text.contains(char::is_whitespace) || text.contains(['?', '#', '@']) {
        return Err(allowed());
    }
    match Url::parse(&format!("https://{text}")) {
        Ok(url) if url.has_host() => Ok(text.to_owned()),
        _ => Err(allowed()),
    }
}

/// The name of a host, by itself; a dot at its end means nothing.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    match Host::parse(name) {
        Ok(Host::Domain(read)) if read.eq_ignore_ascii_case(name) && !read.contains('*') => Ok(read),
        Ok(Host::Domain(read)) if !read.contains('*') => {
            Err(format!("the name of a host as browsers send it, here {read:?}"))
        }
        _ => Err("the name of a host, such as \"status.example.com\", without scheme, port, path and `*`".to_owned()),
    }
}

/// An address to send OTLP to.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text.to_owned()),
        _ => Err("a URL with http or https, such as \"http://127.0.0.1:4318\"".to_owned()),
    }
}

/// A secret key as nsec or hex. The error doesn't repeat it.
pub(super) fn keys(text: &str) -> Result<Keys, String> {
    Keys::parse(text.trim()).map_err(|_| "a secret key as nsec1… or as 64 hex digits".to_owned())
}

/// A file that holds such a key.
pub(super) fn keys_in_file(path: &str) -> Result<Keys, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("a file that can be read: {error}"))?;
    keys(&text).map_err(|allowed| format!("a file that holds {allowed}"))
}

/// `grasp` or `all`.
pub(super) fn admission_mode(text: &str) -> Result<AdmissionMode, String> {
    match text {
        "grasp" => Ok(AdmissionMode::Grasp),
        "all" => Ok(AdmissionMode::All),
        _ => Err("\"grasp\" or \"all\"".to_owned()),
    }
}

/// `npub`, hex, or either with `/identifier`.
pub(super) fn list_entry(text: &str) -> Result<ListEntry, String> {
    let (author, identifier) = match text.split_once('/') {
        Some((author, identifier)) => (author, Some(identifier)),
        None => (text, None),
    };
    let allowed = || "an author as npub1… or 64 hex digits, or a repository as npub1…/identifier".to_owned();
    let author = PublicKey::parse(author).map_err(|_| allowed())?;
    match identifier {
        None => Ok(ListEntry::Author(author)),
        Some("") => Err(allowed()),
        Some(identifier) => Ok(ListEntry::Repo(RepoAddress::new(author, identifier))),
    }
}

/// Relays; spellings of one count once.
pub(super) fn relays(texts: &[String]) -> Result<Vec<RelayUrl>, String> {
    let relays = each(texts, |text| RelayUrl::parse(text).map_err(|error| format!("a relay's URL ({error})")))?;
    let mut seen = BTreeSet::new();
    Ok(relays.into_iter().filter(|relay| seen.insert(relay.clone())).collect())
}

/// `None` for `embedded`.
pub(super) fn own_relay(text: &str) -> Result<Option<RelayUrl>, String> {
    let allowed = || "\"embedded\", or the URL of a relay such as \"ws://127.0.0.1:8080\"".to_owned();
    match text {
        "embedded" => Ok(None),
        // Without a scheme it may be a word that was meant for something else.
        url if url.contains("://") => {
            RelayUrl::parse(url).map(Some).map_err(|error| format!("{} ({error})", allowed()))
        }
        _ => Err(allowed()),
    }
}

/// Names of strategies in order. Whether they exist is known to [`crate::strategies::Registry`].
pub(super) fn strategies(names: &[String]) -> Result<Vec<SyncMethod>, String> {
    let distinct: BTreeSet<_> = names.iter().collect();
    if names.is_empty() || distinct.len() < names.len() {
        return Err("a list of at least one strategy, each once".to_owned());
    }
    each(names, |name| word(name).map(SyncMethod::new))
}

/// `[]` for none, or the two ends of an interval.
pub(super) fn interval(
    texts: &[String],
    allowed: RangeInclusive<Duration>,
) -> Result<Option<RangeInclusive<Duration>>, String> {
    match texts {
        [] => Ok(None),
        [from, to] => {
            let (from, to) = (duration_in(from, allowed.clone())?, duration_in(to, allowed)?);
            if from <= to { Ok(Some(from..=to)) } else { Err("two durations, the shorter one first".to_owned()) }
        }
        _ => Err("two durations such as [\"23h\", \"25h\"], or [] for never".to_owned()),
    }
}

//! The address of a repository, and the kinds that repositories are made of (SPEC §2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use nostr::key::PublicKey;

/// Event kinds with a role of their own (SPEC §2).
pub mod kinds {
    /// NIP-09 deletion.
    pub const DELETION: u16 = 5;
    /// NIP-34 patch, a root event.
    pub const PATCH: u16 = 1617;
    /// NIP-34 pull request, a root event.
    pub const PULL_REQUEST: u16 = 1618;
    /// NIP-34 pull request update.
    pub const PULL_REQUEST_UPDATE: u16 = 1619;
    /// NIP-34 issue, a root event.
    pub const ISSUE: u16 = 1621;
    /// NIP-34 user grasp list.
    pub const GRASP_LIST: u16 = 10317;
    /// NIP-34 repository announcement.
    pub const ANNOUNCEMENT: u16 = 30617;
    /// NIP-34 repository state.
    pub const STATE: u16 = 30618;

    /// The kinds of root events: what layer 3 follows.
    pub const ROOT_EVENTS: [u16; 3] = [PATCH, PULL_REQUEST, ISSUE];
}

/// `30617:<pubkey>:<d>`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoAddress {
    /// The author of the announcement.
    pub pubkey: PublicKey,
    /// Its `d` tag; may be empty, may hold colons.
    pub identifier: Arc<str>,
}

/// Why a text is no repository address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepoAddressError {
    /// Not three parts, or the first isn't `30617`.
    #[error("`{0}` is not of the form 30617:<pubkey>:<identifier>")]
    Form(String),
    /// The second part is no public key in hex.
    #[error("`{0}` does not hold a public key of 64 hex digits")]
    PublicKey(String),
}

impl RepoAddress {
    /// The address of the repository `identifier` of `pubkey`.
    pub fn new(pubkey: PublicKey, identifier: impl Into<Arc<str>>) -> Self {
        Self { pubkey, identifier: identifier.into() }
    }

    /// The address that an announcement (kind 30617) or a state (30618) belongs to; `None` for other kinds. A
    /// missing `d` counts as empty (NIP-01).
    pub fn of_event(event: &nostr::event::Event) -> Option<Self> {
        matches!(event.kind.as_u16(), kinds::ANNOUNCEMENT | kinds::STATE)
            .then(|| Self::new(event.pubkey, identifier_of(event)))
    }
}

/// The value of the first `d` tag, empty where there is none (NIP-01).
pub(crate) fn identifier_of(event: &nostr::event::Event) -> &str {
    event
        .tags
        .iter()
        .map(|tag| tag.as_slice())
        .find(|tag| tag.first().is_some_and(|name| name == "d"))
        .and_then(|tag| tag.get(1))
        .map_or("", String::as_str)
}

impl FromStr for RepoAddress {
    type Err = RepoAddressError;

    /// Splits in three at most: an identifier may hold colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let (Some("30617"), Some(pubkey), Some(identifier)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(RepoAddressError::Form(text.to_owned()));
        };
        let pubkey = PublicKey::from_hex(pubkey).map_err(|_| RepoAddressError::PublicKey(text.to_owned()))?;
        Ok(Self::new(pubkey, identifier))
    }
}

impl fmt::Display for RepoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", kinds::ANNOUNCEMENT, self.pubkey.to_hex(), self.identifier)
    }
}

impl fmt::Debug for RepoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for RepoAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RepoAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifier_may_hold_colons() {
        let text = format!("30617:{}:a:b:c", "11".repeat(32));
        let address: RepoAddress = text.parse().expect("three parts at most");
        assert_eq!(&*address.identifier, "a:b:c");
        assert_eq!(address.to_string(), text);
    }

    #[test]
    fn other_kinds_and_bad_keys_are_refused() {
        assert!(matches!("30618:00:x".parse::<RepoAddress>(), Err(RepoAddressError::Form(_))));
        assert!(matches!("30617:zz:x".parse::<RepoAddress>(), Err(RepoAddressError::PublicKey(_))));
    }
}

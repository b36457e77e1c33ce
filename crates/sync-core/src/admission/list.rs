//! Entries of the allow and deny lists, as the operator writes them.

use std::fmt;
use std::str::FromStr;

use nostr::key::PublicKey;
use nostr::nips::nip19::FromBech32;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::RepoAddress;

/// An entry of the allow or deny list. Written and serialised as `npub`, hex, `npub/identifier` or `hex/identifier`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListEntry {
    /// Everything by this author.
    Author(PublicKey),
    /// One repository: its announcement and its state.
    Repo(RepoAddress),
}

/// Why a text is no entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListEntryError {
    /// The author is neither an npub nor hex.
    #[error("`{0}` names no author; write an npub or 64 hex digits, then /identifier for one repository")]
    Author(String),
    /// A secret key, which is not repeated here.
    #[error("this is a secret key; write the npub that belongs to it, and treat the key as published")]
    SecretKey,
    /// Nothing after the slash.
    #[error("`{0}` ends with a slash; write the repository's identifier after it, or leave the slash out")]
    Identifier(String),
}

impl FromStr for ListEntry {
    type Err = ListEntryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.to_ascii_lowercase().starts_with("nsec1") {
            return Err(ListEntryError::SecretKey);
        }
        let (author, identifier) = match text.split_once('/') {
            Some((author, identifier)) => (author, Some(identifier)),
            None => (text, None),
        };
        let key = if author.starts_with("npub1") {
            PublicKey::from_bech32(author).ok()
        } else {
            PublicKey::from_hex(author).ok()
        };
        let key = key.ok_or_else(|| ListEntryError::Author(text.to_owned()))?;
        match identifier {
            None => Ok(Self::Author(key)),
            Some("") => Err(ListEntryError::Identifier(text.to_owned())),
            Some(identifier) => Ok(Self::Repo(RepoAddress::new(key, identifier))),
        }
    }
}

impl fmt::Display for ListEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Author(author) => f.write_str(&author.to_hex()),
            Self::Repo(address) => write!(f, "{}/{}", address.pubkey.to_hex(), address.identifier),
        }
    }
}

impl Serialize for ListEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "a008def15796fba9a0d6fab04e8fd57089285d9fd505da5a83fe8aad57a3564d";
    const NPUB: &str = "npub15qydau2hjma6ngxkl2cyar74wzyjshvl65za5k5rl69264ar2exs5cyejr";

    #[test]
    fn npub_and_hex_are_the_same_author() {
        let author = NPUB.parse::<ListEntry>();
        assert_eq!(author, HEX.parse());
        assert!(matches!(author, Ok(ListEntry::Author(_))));
    }

    #[test]
    fn the_rest_after_the_slash_is_the_identifier() {
        let entry: ListEntry = format!("{NPUB}/my/repo:x").parse().expect("an entry");
        assert_eq!(entry.to_string(), format!("{HEX}/my/repo:x"));
        assert_eq!(entry.to_string().parse(), Ok(entry));
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        assert_eq!("bob".parse::<ListEntry>(), Err(ListEntryError::Author("bob".to_owned())));
        assert_eq!("/repo".parse::<ListEntry>(), Err(ListEntryError::Author("/repo".to_owned())));
        assert_eq!(format!("{HEX}/").parse::<ListEntry>(), Err(ListEntryError::Identifier(format!("{HEX}/"))));
        let secret = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
        let error = secret.parse::<ListEntry>().expect_err("a secret");
        assert!(!error.to_string().contains(secret));
    }
}

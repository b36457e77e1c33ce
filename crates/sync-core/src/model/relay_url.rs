//! One spelling for each relay (SPEC §5).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::{Host, Url};

/// A relay's address, normalised: lower-case scheme and host, no default port, no trailing slash, no
/// credentials, query or fragment. Spellings of one relay are equal. Cheap to clone.
///
/// `Relay.Example.com`, `wss://relay.example.com:443/` and `wss://relay.example.com` are one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayUrl(Arc<str>);

/// Why a text is no relay address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayUrlError {
    /// The text can't be read as a URL.
    #[error("`{0}` is not a URL")]
    Malformed(String),
    /// A scheme other than `ws` and `wss`.
    #[error("`{url}` has the scheme `{scheme}`; a relay has ws or wss")]
    Scheme {
        /// The text as given.
        url: String,
        /// The scheme found.
        scheme: String,
    },
    /// No host, or credentials in the authority: such a URL is never right in an announcement.
    #[error("`{0}` names no plain host")]
    Host(String),
    /// Longer than [`RelayUrl::MAX_LEN`].
    #[error("a relay URL of {0} bytes is longer than the {max} allowed", max = RelayUrl::MAX_LEN)]
    TooLong(usize),
}

impl RelayUrl {
    /// The longest accepted text, in bytes.
    pub const MAX_LEN: usize = 512;

    /// Reads and normalises `text`; a missing scheme means `wss`.
    ///
    /// # Errors
    /// What is wrong with the text, see [`RelayUrlError`].
    pub fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let text = text.trim();
        if text.len() > Self::MAX_LEN {
            return Err(RelayUrlError::TooLong(text.len()));
        }
        let malformed = || RelayUrlError::Malformed(text.to_owned());
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(malformed());
        }
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("wss://{text}") };
        let url = Url::parse(&with_scheme).map_err(|_| malformed())?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(RelayUrlError::Scheme { url: text.to_owned(), scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RelayUrlError::Host(text.to_owned()));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_owned(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        if host.is_empty() {
            return Err(RelayUrlError::Host(text.to_owned()));
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let path = url.path().trim_end_matches('/');
        Ok(Self(format!("{}://{host}{port}{path}", url.scheme()).into()))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the connection is encrypted (`wss`).
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("wss:")
    }

    /// Host without port; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        let end = if authority.starts_with('[') {
            authority.find(']').map_or(authority.len(), |at| at + 1)
        } else {
            authority.find(':').unwrap_or(authority.len())
        };
        &authority[..end]
    }

    /// The port to connect to: the one given, else 443 (`wss`) or 80 (`ws`).
    pub fn port(&self) -> u16 {
        self.authority()[self.host().len()..]
            .strip_prefix(':')
            .and_then(|port| port.parse().ok())
            .unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// The path, empty or starting with a slash.
    pub fn path(&self) -> &str {
        let start = self.scheme_len() + self.authority().len();
        &self.0[start..]
    }

    fn scheme_len(&self) -> usize {
        self.0.find("://").map_or(0, |at| at + 3)
    }

    fn authority(&self) -> &str {
        let rest = &self.0[self.scheme_len()..];
        &rest[..rest.find('/').unwrap_or(rest.len())]
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl serde::Serialize for RelayUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RelayUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_relay_are_equal() {
        for (text, normal) in [
            ("Relay.Example.com", "wss://relay.example.com"),
            ("wss://relay.example.com:443/", "wss://relay.example.com"),
            ("WS://relay.example.com:80", "ws://relay.example.com"),
            ("wss://relay.example.com./a//", "wss://relay.example.com/a"),
            ("relay.example.com:7000", "wss://relay.example.com:7000"),
            ("wss://relay.example.com/x?y=1#z", "wss://relay.example.com/x"),
            ("ws://0x7f.1:81", "ws://127.0.0.1:81"),
            ("ws://[::1]:9", "ws://[::1]:9"),
        ] {
            assert_eq!(RelayUrl::parse(text).map(|url| url.to_string()), Ok(normal.to_owned()), "{text}");
        }
    }

    #[test]
    fn parts_are_read_back() {
        let url = RelayUrl::parse("ws://[::1]:9/p").expect("valid");
        assert_eq!((url.host(), url.port(), url.path(), url.is_tls()), ("[::1]", 9, "/p", false));
        let url = RelayUrl::parse("example.org").expect("valid");
        assert_eq!((url.host(), url.port(), url.path(), url.is_tls()), ("example.org", 443, "", true));
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        assert!(matches!(RelayUrl::parse("https://a.b"), Err(RelayUrlError::Scheme { .. })));
        assert!(matches!(RelayUrl::parse("wss://u:p@a.b"), Err(RelayUrlError::Host(_))));
        assert!(matches!(RelayUrl::parse(""), Err(RelayUrlError::Malformed(_))));
        assert!(matches!(RelayUrl::parse("wss://a b"), Err(RelayUrlError::Malformed(_))));
        assert!(matches!(RelayUrl::parse(&"a".repeat(600)), Err(RelayUrlError::TooLong(600))));
    }
}

//! The service's addresses, and whether a URL in a tag names one of them (SPEC §3).
//!
//! Both sides are read as URLs and compared part by part, never as text: `evil-example.org` is not `example.org`.

use std::fmt;

use url::{Host, Url};

/// Longest text read as an address, in bytes.
const MAX_LEN: usize = 2048;

/// Schemes under which a service is reached, with the port that goes without saying.
const SCHEMES: [(&str, u16); 5] = [("wss", 443), ("https", 443), ("ws", 80), ("http", 80), ("git", 9418)];

/// Why a text is no domain of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// It has a scheme.
    #[error("`{0}` has a scheme; write host, host:port or host/path, such as `git.example.com`")]
    Scheme(String),
    /// It has credentials, a query or a fragment.
    #[error("`{0}` has more than host, port and path; write host, host:port or host/path, such as `git.example.com`")]
    Parts(String),
    /// The host is none, or the port is no number up to 65535.
    #[error("`{0}` is not a domain; write host, host:port or host/path, such as `git.example.com`")]
    Malformed(String),
}

/// Where something is served: what domains and URLs have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    host: String,
    path: Vec<String>,
}

impl Place {
    fn of(url: &Url) -> Option<Self> {
        // A host under a scheme that the URL standard doesn't know (`git`) is kept as written: read it again.
        let host = match url.host()? {
            Host::Domain(name) => Host::parse(name).ok()?,
            Host::Ipv4(address) => Host::Ipv4(address),
            Host::Ipv6(address) => Host::Ipv6(address),
        };
        let host = host.to_string().trim_end_matches('.').to_owned();
        let path = url.path().split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        (!host.is_empty()).then_some(Self { host, path })
    }
}

/// One address of the service: host, perhaps a port, perhaps a path under which it is served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceDomain {
    place: Place,
    /// `None`: the default port of whatever scheme a URL has.
    port: Option<u16>,
}

impl ServiceDomain {
    pub(super) fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.trim();
        let malformed = || DomainError::Malformed(text.to_owned());
        if text.contains("://") {
            return Err(DomainError::Scheme(text.to_owned()));
        }
        if text.contains(['@', '?', '#']) {
            return Err(DomainError::Parts(text.to_owned()));
        }
        if !readable(text) || text.contains(['\\', '*', '%']) {
            return Err(malformed());
        }
        // Under a scheme without a default port, a port that is written stays visible.
        let url = Url::parse(&format!("git://{text}")).map_err(|_| malformed())?;
        let place = Place::of(&url).ok_or_else(malformed)?;
        Ok(Self { place, port: url.port() })
    }

    /// Whether `text`, a URL from a tag, lies at or under this address. A missing scheme means `wss`.
    pub(super) fn is_named_by(&self, text: &str) -> bool {
        let text = text.trim();
        if !readable(text) {
            return false;
        }
        let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("wss://{text}")) };
        let Ok(url) = url else { return false };
        let Some((_, default_port)) = SCHEMES.iter().find(|(scheme, _)| *scheme == url.scheme()) else { return false };
        if !url.username().is_empty() || url.password().is_some() {
            return false;
        }
        let port = url.port_or_known_default().unwrap_or(*default_port);
        Place::of(&url).is_some_and(|place| {
            place.host == self.place.host
                && port == self.port.unwrap_or(*default_port)
                && place.path.starts_with(&self.place.path)
        })
    }
}

/// As [`ServiceDomain::parse`] reads it back.
impl fmt::Display for ServiceDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.place.path.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// The URL parser drops line breaks and the like within a text, which could join what doesn't belong together.
fn readable(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LEN && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(domain: &str, url: &str) -> bool {
        ServiceDomain::parse(domain).expect("a domain").is_named_by(url)
    }

    #[test]
    fn spellings_and_schemes_of_the_service_are_recognised() {
        for url in [
            "wss://example.org",
            "WSS://Example.ORG:443/",
            "https://example.org/npub1x/repo.git",
            "http://example.org",
            "http://example.org:80/",
            "ws://example.org./",
            "git://EXAMPLE.org/repo.git",
            "git://example.org:9418/repo.git",
            "example.org",
            " wss://example.org ",
        ] {
            assert!(named("example.org", url), "{url}");
        }
        assert!(named("bücher.example", "https://xn--bcher-kva.example/x"));
        assert!(named("[::1]:7447", "ws://[0:0::1]:7447"));
        assert!(named("127.0.0.1:7447", "http://127.0.0.1:7447/npub1x/r.git"));
    }

    #[test]
    fn what_only_looks_like_the_service_is_not_it() {
        for url in [
            "wss://evil-example.org",
            "wss://example.org.evil.net",
            "wss://sub.example.org",
            "wss://evil.net/example.org",
            "wss://evil.net/?example.org",
            "wss://evil.net#example.org",
            "wss://example.org@evil.net",
            "wss://user@example.org",
            "wss://example.org:7777",
            "https://example.org:80",
            "git@example.org:repo.git",
            "ftp://example.org",
            "javascript:example.org",
            "wss://exam\nple.org",
            "",
            "://",
        ] {
            assert!(!named("example.org", url), "{url}");
        }
    }

    #[test]
    fn a_port_must_be_the_same_port() {
        assert!(named("example.org:443", "wss://example.org"));
        assert!(!named("example.org:443", "ws://example.org"));
        assert!(named("example.org:8080", "http://example.org:8080/x"));
        assert!(!named("example.org:8080", "http://example.org"));
    }

    #[test]
    fn a_path_counts_on_segment_borders() {
        assert!(named("example.org/git", "https://example.org/git"));
        assert!(named("example.org/git/", "https://example.org//git/npub1x/r.git"));
        assert!(!named("example.org/git", "https://example.org/gitter/r.git"));
        assert!(!named("example.org/git", "https://example.org/"));
        assert!(!named("example.org/git", "https://example.org/git/../other"));
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        assert!(matches!(ServiceDomain::parse("https://example.org"), Err(DomainError::Scheme(_))));
        assert!(matches!(ServiceDomain::parse("me@example.org"), Err(DomainError::Parts(_))));
        assert!(matches!(ServiceDomain::parse("example.org?x"), Err(DomainError::Parts(_))));
        for text in ["", " ", "*.example.org", "example.org:99999", "a b", ":80", "/path", "[::1"] {
            assert!(matches!(ServiceDomain::parse(text), Err(DomainError::Malformed(_))), "{text}");
        }
        let message = ServiceDomain::parse("a b").expect_err("refused").to_string();
        assert_eq!(message, "`a b` is not a domain; write host, host:port or host/path, such as `git.example.com`");
    }
}

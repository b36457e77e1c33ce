//! Where spans go: an address with or without credentials, which are sent and never shown.

use std::fmt;

use url::Url;

/// Where the traces of a collector are posted, below its base address.
const PATH: &str = "/v1/traces";

/// The address of a collector.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    url: Url,
    /// Name and password of the address, decoded.
    user: Option<(String, String)>,
}

impl Endpoint {
    /// From a base address, to which the path of OTLP is added, unless it ends in it; `whole`: as it stands.
    pub(super) fn parse(text: &str, whole: bool) -> Option<Self> {
        let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
        let decoded = |text: &str| super::options::percent_decoded(text);
        let user = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        // Neither fails for an address with a host.
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        if !whole && !path.ends_with(PATH) {
            url.set_path(&format!("{path}{PATH}"));
        }
        Some(Self { url, user })
    }

    /// The address without credentials of its own: what a request is for.
    pub(super) fn as_uri(&self) -> &str {
        self.url.as_str()
    }

    /// Whether the collector is spoken to by TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The header `authorization` that name and password make, where the address has them.
    pub(super) fn authorization(&self) -> Option<String> {
        let (name, password) = self.user.as_ref()?;
        Some(format!("Basic {}", base64(format!("{name}:{password}").as_bytes())))
    }
}

/// As it may be shown: name, password and query are masked.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.query().is_some() {
            shown.set_query(Some("***"));
        }
        let user = if self.user.is_some() { "***@" } else { "" };
        let (scheme, rest) = shown.as_str().split_once("://").unwrap_or(("", shown.as_str()));
        write!(f, "{scheme}://{user}{rest}")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// An address as it may be shown, also where it is no endpoint.
pub fn masked(text: &str) -> String {
    if !text.contains(['@', '?']) {
        return text.to_owned();
    }
    // Something before an `@` may be a password in an address that was mistyped.
    Endpoint::parse(text, true).map_or_else(|| "(hidden)".to_owned(), |endpoint| endpoint.to_string())
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_to_a_base_address_and_to_nothing_else() {
        for (text, whole, expected) in [
            ("http://127.0.0.1:4318", false, "http://127.0.0.1:4318/v1/traces"),
            ("https://c.example/otlp/", false, "https://c.example/otlp/v1/traces"),
            ("http://c.example/v1/traces", false, "http://c.example/v1/traces"),
            ("http://c.example/custom", true, "http://c.example/custom"),
        ] {
            let endpoint = Endpoint::parse(text, whole).expect("an address");
            assert_eq!((endpoint.as_uri(), endpoint.to_string().as_str()), (expected, expected));
        }
        assert_eq!(Endpoint::parse("ftp://c.example", false), None);
        assert_eq!(Endpoint::parse("c.example:4318", false), None);
    }

    #[test]
    fn credentials_are_sent_as_a_header_and_never_shown() {
        let text = "https://me:pa%3Ass@c.example/?api-key=hidden#x";
        let endpoint = Endpoint::parse(text, false).expect("an address");
        assert_eq!(endpoint.authorization().as_deref(), Some("Basic bWU6cGE6c3M="));
        assert_eq!(endpoint.as_uri(), "https://c.example/v1/traces?api-key=hidden");
        for shown in [endpoint.to_string(), format!("{endpoint:?}"), masked(text)] {
            assert!(shown.contains("***@c.example/"), "{shown}");
            assert!(
                !["me", "pa", "hidden"].iter().any(|secret| shown.replace("example", "").contains(secret)),
                "{shown}"
            );
        }
    }

    #[test]
    fn an_address_without_credentials_is_shown_as_it_was_written() {
        for text in ["http://127.0.0.1:4318", "x:1", ""] {
            assert_eq!(masked(text), text);
        }
        assert_eq!(masked("me:pass@host"), "(hidden)");
    }

    #[test]
    fn base64_pads_as_the_standard_says() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}

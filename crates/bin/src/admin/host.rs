//! Which names the endpoint answers to.
//!
//! A page of a stranger's in the operator's browser may have its own name resolve to an address of this machine once it is
//! loaded (DNS rebinding); then it counts as of one origin with this endpoint, and may read it. What it can't do is ask by
//! another name than its own: an address, `localhost` and the names of `admin.hosts` are nobody's but the operator's.
//!
//! So it is for connections that come by a loopback address, whatever the endpoint listens on. By another one, of a private
//! network perhaps, the endpoint may have names that nobody told it: there it is so only where names are listed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;

/// The names that are answered to.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// `None`: all.
    named: Option<Arc<[String]>>,
}

impl Hosts {
    /// Those for a connection: the usual and `named` ones where it comes by a loopback address or any is named, else all.
    pub(super) fn of(connection: &TcpStream, named: Arc<[String]>) -> Self {
        // An address that can't be had may be any.
        Self::at(connection.local_addr().ok(), named)
    }

    fn at(address: Option<SocketAddr>, named: Arc<[String]>) -> Self {
        let is_loopback = address.is_none_or(|address| address.ip().to_canonical().is_loopback());
        let is_guarded = is_loopback || !named.is_empty();
        Self { named: is_guarded.then_some(named) }
    }

    /// A request without a name (HTTP/1.0) isn't a browser's, and passes.
    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(named) = &self.named else { return true };
        let is_ours = |name: &str| {
            let name = name.strip_suffix('.').unwrap_or(name);
            is_local(name) || named.iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        let mut names = headers.get_all(HOST).iter().map(|value| value.to_str().ok().and_then(without_port));
        names.all(|name| name.is_some_and(is_ours)) && uri.host().is_none_or(is_ours)
    }
}

/// Lets a request through that asks by a name of ours.
pub(super) async fn guard(Extension(hosts): Extension<Hosts>, request: Request, next: Next) -> Response {
    if hosts.admit(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let text = "this endpoint answers to localhost, to IP addresses, and to the names that admin.hosts lists\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

fn is_local(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let unbracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name == "localhost"
        || (name.ends_with(".localhost") && is_name(&name))
        || name.parse::<Ipv4Addr>().is_ok()
        || unbracketed.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// The host of `host[:port]`, an IPv6 address with its brackets; `None` where it can't be one.
fn without_port(authority: &str) -> Option<&str> {
    let end = authority.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority.get(end..)?.find(':') {
        None => (authority, ""),
        Some(colon) => (authority.get(..end + colon)?, authority.get(end + colon + 1..)?),
    };
    (!host.is_empty() && (port.is_empty() || port.parse::<u16>().is_ok())).then_some(host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn admits(listen: &str, hosts: &[&str]) -> bool {
        admits_where(&["status.example.com"], listen, hosts)
    }

    fn admits_where(named: &[&str], listen: &str, hosts: &[&str]) -> bool {
        let named = named.iter().map(|&name| name.to_owned()).collect();
        let headers = hosts.iter().map(|host| (HOST, HeaderValue::from_str(host).expect("a header"))).collect();
        Hosts::at(listen.parse().ok(), named).admit(&Uri::from_static("/status"), &headers)
    }

    #[test]
    fn on_loopback_a_strangers_name_is_not_ours() {
        for host in [
            "localhost",
            "LocalHost:7448",
            "localhost.:7448",
            "grasp.localhost:7448",
            "127.0.0.1:7448",
            "192.0.2.7",
            "[::1]:7448",
            "[::1]",
            "status.example.com",
            "Status.Example.com:443",
            "status.example.com.",
        ] {
            assert!(admits("127.0.0.1:7448", &[host]) && admits("[::1]:7448", &[host]), "{host}");
        }
        for host in [
            "rebound.example",
            "rebound.example:7448",
            "127.0.0.1.rebound.example:7448",
            "localhost.rebound.example",
            "notlocalhost",
            "x.status.example.com",
            "[::1]rebound.example:7448",
            "[rebound.example]",
            "::1",
            "localhost:evil",
            "localhost:99999",
            "x@a.localhost",
            "rebound.example/.localhost",
            ":7448",
            "",
            "rebound.example@localhost",
        ] {
            assert!(!admits("127.0.0.1:7448", &[host]) && !admits("[::ffff:127.0.0.1]:7448", &[host]), "{host}");
        }
        assert!(!admits("127.0.0.1:7448", &["localhost", "rebound.example"]), "one of two names is a stranger's");
        assert!(admits("127.0.0.1:7448", &[]), "no browser sends none");
    }

    #[test]
    fn elsewhere_any_name_will_do_unless_some_are_listed() {
        for listen in ["0.0.0.0:7448", "192.0.2.7:7448", "[::]:7448"] {
            assert!(admits_where(&[], listen, &["a.b"]) && !admits(listen, &["a.b"]), "{listen}");
            assert!(admits(listen, &["status.example.com"]) && admits(listen, &["127.0.0.1:7448"]), "{listen}");
        }
    }

    #[test]
    fn a_name_in_the_request_line_counts_too() {
        let hosts = Hosts::at(None, Arc::from([]));
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        assert!(hosts.admit(&Uri::from_static("http://127.0.0.1:1/"), &headers));
        assert!(!hosts.admit(&Uri::from_static("http://rebound.example/"), &headers));
    }
}

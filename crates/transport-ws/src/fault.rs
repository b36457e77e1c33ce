//! From what libraries report to a [`Fault`]: the one place that decides what kind a failure is.

use std::fmt::{Display, Write};
use std::io;

use hyper::StatusCode;
use sync_core::model::RelayUrl;
use sync_core::transport::{Fault, FaultKind};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

/// Characters of a text: parts of it may be the peer's (reasons, certificates, headers).
const MAX_TEXT: usize = 400;

/// A fault by `what` went wrong, on one line and of bounded length. Whoever shows it says whose it is.
pub(crate) fn fault(kind: FaultKind, what: impl Display) -> Fault {
    let whole = what.to_string();
    let mut text = String::with_capacity(whole.len().min(MAX_TEXT));
    for (at, letter) in whole.chars().enumerate() {
        if at == MAX_TEXT {
            text.push('…');
            break;
        }
        text.push(if letter.is_control() { ' ' } else { letter });
    }
    Fault { kind, text }
}

/// Codes of a system that has no more sockets or files to give: ENFILE and EMFILE of the Unixes, WSAEMFILE.
const NO_SOCKETS: [i32; 3] = [23, 24, 10_024];

fn is_out_of_sockets(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_SOCKETS.contains(&code))
}

/// No socket could be opened for want of room in our own tables.
fn no_sockets(doing: &str, error: &io::Error) -> Fault {
    let what = format_args!("{doing}: {error}: raise the limit on open files (`ulimit -n`, LimitNOFILE=)");
    fault(FaultKind::NoSockets, what)
}

/// A failed system call on a socket.
pub(crate) fn of_io(doing: &str, error: &io::Error) -> Fault {
    match error.kind() {
        _ if is_out_of_sockets(error) => no_sockets(doing, error),
        io::ErrorKind::UnexpectedEof => fault(FaultKind::Closed, format_args!("{doing}: closed by the peer")),
        io::ErrorKind::TimedOut => fault(FaultKind::Timeout, format_args!("{doing}: {error}")),
        _ => fault(FaultKind::Network, format_args!("{doing}: {error}")),
    }
}

/// A name that could not be resolved. A resolver that can't answer at present says nothing about the name, so that
/// fault must not be a lasting one: without a network every relay would be set aside for hours.
pub(crate) fn of_resolution(relay: &RelayUrl, error: &io::Error) -> Fault {
    if is_out_of_sockets(error) {
        return no_sockets("resolving the name", error);
    }
    let text = error.to_string();
    // The wordings of EAI_AGAIN (glibc and the BSDs; musl); the standard library keeps no code of it.
    let passing = error.raw_os_error().is_some()
        || ["Temporary failure", "Try again"].iter().any(|wording| text.contains(wording));
    let kind = if passing { FaultKind::Network } else { FaultKind::Dns };
    fault(kind, format_args!("resolving {}: {text}", relay.host()))
}

/// A TLS handshake that failed: by TLS itself or by the socket beneath.
pub(crate) fn of_tls(relay: &RelayUrl, error: &io::Error) -> Fault {
    match error.get_ref().filter(|inner| inner.is::<tokio_rustls::rustls::Error>()) {
        Some(reason) => fault(FaultKind::Tls, format_args!("TLS with {}: {reason}", relay.host())),
        None => of_io("TLS handshake", error),
    }
}

/// An HTTP answer where a WebSocket was asked for. Overload and gateways without a backend pass; the rest says that
/// there is no relay.
fn of_status(status: StatusCode, location: Option<&[u8]>) -> Fault {
    let passing = match status.as_u16() {
        408 | 425 | 429 => true,
        501 | 505 => false,
        code => (500..600).contains(&code),
    };
    let mut what = format!("the WebSocket handshake was answered with HTTP {status}");
    if let Some(location) = location.filter(|_| status.is_redirection()) {
        let location = String::from_utf8_lossy(location);
        // Writing to a String can't fail.
        let _ = write!(what, " to {location}, and redirects are not followed");
    }
    fault(if passing { FaultKind::Network } else { FaultKind::Protocol }, what)
}

/// Whatever the WebSocket layer reports, while `doing` something.
pub(crate) fn of_ws(doing: &str, error: &WsError) -> Fault {
    let kind = match error {
        WsError::Http(answer) => {
            let location = answer.headers().get(hyper::header::LOCATION).map(|value| value.as_bytes());
            return of_status(answer.status(), location);
        }
        WsError::Io(error) => return of_io(doing, error),
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let what = format_args!("{doing}: a message of at least {size} bytes, {max_size} are allowed");
            return fault(FaultKind::TooLarge, what);
        }
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::HandshakeIncomplete,
        ) => FaultKind::Closed,
        // Only pongs that the peer doesn't take can fill the write buffer: frames are flushed one by one beyond it.
        WsError::WriteBufferFull(_) => FaultKind::Timeout,
        WsError::Tls(_) => FaultKind::Tls,
        _ => FaultKind::Protocol,
    };
    fault(kind, format_args!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> RelayUrl {
        RelayUrl::parse("wss://relay.example").expect("valid")
    }

    #[test]
    fn texts_are_one_line_of_bounded_length() {
        let fault = fault(FaultKind::Closed, format!("a\r\nb{}", "é".repeat(1000)));
        assert!(fault.text.starts_with("a  bé"), "{}", fault.text);
        assert_eq!(fault.text.chars().count(), MAX_TEXT + 1);
    }

    #[test]
    fn only_what_passes_by_itself_is_not_lasting() {
        let kind = |code| of_status(StatusCode::from_u16(code).expect("a status"), None).kind;
        for code in [408, 425, 429, 500, 502, 503, 504, 520] {
            assert_eq!(kind(code), FaultKind::Network, "{code}");
        }
        for code in [200, 301, 400, 401, 403, 404, 426, 501, 505] {
            assert_eq!(kind(code), FaultKind::Protocol, "{code}");
        }
    }

    #[test]
    fn a_resolver_that_fails_says_nothing_about_the_name() {
        let kind = |text: &str| of_resolution(&relay(), &io::Error::other(text.to_owned())).kind;
        assert_eq!(kind("failed to lookup address information: Name or service not known"), FaultKind::Dns);
        assert_eq!(
            kind("failed to lookup address information: Temporary failure in name resolution"),
            FaultKind::Network
        );
        assert_eq!(kind("failed to lookup address information: Try again"), FaultKind::Network);
        assert_eq!(of_resolution(&relay(), &io::Error::from_raw_os_error(5)).kind, FaultKind::Network);
    }

    #[test]
    fn a_table_of_ours_that_is_full_is_no_fault_of_the_relay() {
        for code in [23, 24] {
            let error = io::Error::from_raw_os_error(code);
            for fault in [
                of_resolution(&relay(), &error),
                of_io("connecting to 9.9.9.9:443", &error),
                of_tls(&relay(), &error),
                of_ws("WebSocket handshake", &WsError::Io(io::Error::from_raw_os_error(code))),
            ] {
                assert_eq!(fault.kind, FaultKind::NoSockets, "{fault}");
                assert!(fault.kind.is_ours() && fault.text.contains("ulimit -n"), "{fault}");
            }
        }
    }
}

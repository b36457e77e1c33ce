//! REQ by time windows, newest first: for relays that know no NIP-77, and whose order can't be relied on for paging.
//!
//! A window is asked for as a whole, and is as wide as the relay seems to answer whole. How many events a relay shows at most, it
//! may not tell; that it shows as many as it ever did is all that is sure. So an answer counts as whole only where it holds fewer
//! events than the largest one of the session, and fewer than were asked for. Any other is asked for again in pieces, down to one
//! second; where that can't be shown whole by the session's end, it is named as dense.
//!
//! That holds whatever a relay's cap is, and whichever events it leaves out, as long as the cap stays what it is. Where answers
//! come short of it, and leave out the oldest, this is found, too: every window begins where the answer before it ended, not
//! where that was asked to end, and an event in between takes the answer back.
//!
//! | module | decides |
//! |---|---|
//! | `reader` | which window is next, what is drained, what can't be shown |
//! | `session` | when to ask, when to give up |

mod reader;
mod session;
#[cfg(test)]
mod tests;

use strategy_abi::{ConfigError, Hints, Host, Request, Settings, Strategy};

use session::WindowSession;

/// A factory of sessions that read by windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowReq {
    /// Events that are asked for at once.
    page_size: u64,
    /// How long a relay may be silent within an answer, milliseconds.
    timeout_ms: u64,
    /// How wide the first window is, seconds.
    first_window_s: u64,
}

const DAY_MS: u64 = 86_400_000;

impl Strategy for WindowReq {
    const NAME: &'static str = "window-req";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Session = WindowSession;

    fn configure(settings: &Settings<'_>) -> Result<Self, ConfigError> {
        settings.only(&["page_size", "timeout", "first_window"])?;
        Ok(Self {
            page_size: settings.integer("page_size", 500, 1..=5_000)?,
            timeout_ms: settings.duration_ms("timeout", 30_000, 1..=3_600_000)?,
            first_window_s: settings.duration_ms("first_window", 7 * DAY_MS, 1_000..=36_500 * DAY_MS)? / 1_000,
        })
    }

    fn hints(&self) -> Hints {
        Hints { answer_timeout_ms: self.timeout_ms, ..Hints::default() }
    }

    fn open(&self, request: Request, _host: &Host<'_>) -> Result<WindowSession, String> {
        Ok(WindowSession::new(*self, request))
    }
}

strategy_abi::export_strategy!(WindowReq);

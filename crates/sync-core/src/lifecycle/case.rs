//! Which of the cases of `handle_connect_or_reconnect` a connection is (SPEC §6).

use crate::model::RelayState;

/// How a connection starts. The fourth case, the daily sync, begins on a connection that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectCase {
    /// Never connected before.
    FreshStart,
    /// Away for longer than the window, or the clock can't be trusted.
    StaleReconnect,
    /// Away briefly.
    QuickReconnect,
}

impl ConnectCase {
    /// The case at `now`; `window` in seconds, unix seconds. A time in the future counts as stale.
    pub fn of(state: &RelayState, now: u64, window: u64) -> Self {
        if state.last_connected == 0 {
            return Self::FreshStart;
        }
        let away_since = state.disconnected_at.unwrap_or(state.last_connected);
        match now.checked_sub(away_since.max(state.last_connected)) {
            Some(_) if now - away_since <= window => Self::QuickReconnect,
            _ => Self::StaleReconnect,
        }
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FreshStart => "fresh start",
            Self::StaleReconnect => "stale reconnect",
            Self::QuickReconnect => "quick reconnect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(last_connected: u64, disconnected_at: Option<u64>) -> ConnectCase {
        ConnectCase::of(&RelayState { last_connected, disconnected_at, ..RelayState::new(false) }, 10_000, 900)
    }

    #[test]
    fn the_time_away_decides() {
        assert_eq!(case(0, None), ConnectCase::FreshStart);
        assert_eq!(case(9_100, Some(9_100)), ConnectCase::QuickReconnect);
        assert_eq!(case(9_099, Some(9_099)), ConnectCase::StaleReconnect);
        assert_eq!(case(9_500, None), ConnectCase::QuickReconnect, "a crash: away since it was last seen");
    }

    #[test]
    fn a_time_in_the_future_is_stale() {
        assert_eq!(case(10_001, None), ConnectCase::StaleReconnect);
        assert_eq!(case(9_900, Some(10_001)), ConnectCase::StaleReconnect);
    }
}

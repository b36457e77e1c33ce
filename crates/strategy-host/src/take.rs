//! What comes back over the boundary: copied, bounded, and no wider than what the session was opened for.

use strategy_abi::ffi::{self, NONE, outcome, output, reason};
use sync_core::model::FailureReason;
use sync_core::nostr::event::{EventId, Kind};
use sync_core::nostr::filter::Filter;
use sync_core::nostr::key::PublicKey;
use sync_core::strategy::{Message, Output, SessionOutcome, SessionRequest, Window};

use crate::give::meaning_of;
use crate::limits::{MAX_BYTES, MAX_IDS, MAX_OUTPUTS};
use crate::table::{listed, text};

/// What a session may ask for at most.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    filter: Filter,
    window: Window,
}

/// An output, and what of the window it asks for where it is a question.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) output: Output,
    /// Of a question: what it asks for, whatever times the filter itself has.
    pub(crate) asked: Option<Window>,
}

/// The outputs of one hand-off.
#[derive(Debug, Default)]
pub(crate) struct Basket {
    pub(crate) taken: Vec<Taken>,
    ids: usize,
    bytes: usize,
}

impl Scope {
    pub(crate) fn new(request: &SessionRequest) -> Self {
        Self { filter: request.filter.clone(), window: request.window }
    }

    /// The session's filter, narrowed as an output says.
    ///
    /// # Errors
    /// It isn't narrower.
    #[allow(unsafe_code)]
    fn narrow(&self, raw: &ffi::Output, basket: &mut Basket) -> Result<(Filter, Window), String> {
        let asked = Window { since: raw.window.since, until: raw.window.until };
        let within = self.window.since <= asked.since && asked.since <= asked.until && asked.until <= self.window.until;
        if !within {
            return Err(format!(
                "asks for seconds {} to {} in a session of {} to {}",
                asked.since, asked.until, self.window.since, self.window.until
            ));
        }
        let mut filter = asked.narrow(&self.filter);
        basket.charge(raw.kinds_len.saturating_add(raw.authors_len).saturating_add(raw.ids_len), 0)?;
        // SAFETY: the plugin promised that they are there until it is called again; their number was just bounded.
        let (kinds, authors, ids) = unsafe {
            (listed(raw.kinds, raw.kinds_len)?, listed(raw.authors, raw.authors_len)?, listed(raw.ids, raw.ids_len)?)
        };
        if !raw.kinds.is_null() {
            let fewer = kinds.iter().copied().map(Kind::from_u16);
            filter.kinds = Some(fewer_of("kinds", filter.kinds.as_ref(), fewer)?);
        }
        if !raw.authors.is_null() {
            let fewer = authors.iter().copied().map(PublicKey::from_byte_array);
            filter.authors = Some(fewer_of("authors", filter.authors.as_ref(), fewer)?);
        }
        if !raw.ids.is_null() {
            let fewer = ids.iter().copied().map(EventId::from_byte_array);
            filter.ids = Some(fewer_of("ids", filter.ids.as_ref(), fewer)?);
        }
        Ok((filter, asked))
    }
}

/// Some of what a filter allows.
fn fewer_of<T: Ord>(
    what: &str,
    all: Option<&std::collections::BTreeSet<T>>,
    fewer: impl Iterator<Item = T>,
) -> Result<std::collections::BTreeSet<T>, String> {
    let fewer: std::collections::BTreeSet<T> = fewer.collect();
    if fewer.is_empty() {
        return Err(format!("asks for no {what} at all"));
    }
    match all {
        Some(all) if !fewer.is_subset(all) => Err(format!("asks for {what} that its session is not for")),
        _ => Ok(fewer),
    }
}

impl Basket {
    fn charge(&mut self, ids: usize, bytes: usize) -> Result<(), String> {
        self.ids = self.ids.saturating_add(ids);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.ids > MAX_IDS {
            return Err(format!("more than {MAX_IDS} ids at once"));
        }
        if self.bytes > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes at once"));
        }
        Ok(())
    }

    #[allow(unsafe_code)]
    fn ids(&mut self, raw: &ffi::Output) -> Result<Vec<EventId>, String> {
        self.charge(raw.ids_len, 0)?;
        // SAFETY: the plugin promised that they are there until it is called again; their number was just bounded.
        let ids = unsafe { listed(raw.ids, raw.ids_len) }?;
        Ok(ids.iter().copied().map(EventId::from_byte_array).collect())
    }

    #[allow(unsafe_code)]
    fn bytes(&mut self, raw: &ffi::Output) -> Result<Vec<u8>, String> {
        self.charge(0, raw.bytes.len)?;
        // SAFETY: as for ids.
        Ok(unsafe { listed(raw.bytes.ptr, raw.bytes.len) }?.to_vec())
    }

    /// Copies an output.
    ///
    /// # Errors
    /// It breaks a bound, is wider than the session, or of no kind that there is.
    pub(crate) fn take(&mut self, raw: &ffi::Output, scope: &Scope) -> Result<(), String> {
        if self.taken.len() >= MAX_OUTPUTS {
            return Err(format!("more than {MAX_OUTPUTS} outputs at once"));
        }
        let sub = raw.sub;
        let span = Window { since: raw.window.since, until: raw.window.until };
        let number = |number: u64| Some(number).filter(|number| *number != NONE);
        let mut asked = None;
        let output = match raw.kind {
            output::REQ => {
                let (mut filter, window) = scope.narrow(raw, self)?;
                asked = Some(window);
                filter.limit = usize::try_from(raw.limit).ok().filter(|limit| *limit > 0);
                Output::Send(Message::Req { sub, filter: Box::new(filter) })
            }
            output::CLOSE => Output::Send(Message::Close { sub }),
            output::NEG_OPEN => {
                let (filter, window) = scope.narrow(raw, self)?;
                asked = Some(window);
                Output::Send(Message::NegOpen { sub, filter: Box::new(filter), payload: self.bytes(raw)? })
            }
            output::NEG_MSG => Output::Send(Message::NegMsg { sub, payload: self.bytes(raw)? }),
            output::NEG_CLOSE => Output::Send(Message::NegClose { sub }),
            output::NEED => Output::Need { ids: self.ids(raw)?, within: span },
            output::HAVE => Output::Have(self.ids(raw)?),
            output::SHARED => Output::Shared { count: raw.count, oldest: number(raw.second) },
            output::DENSE => Output::Dense { second: raw.second, shown: raw.count, certain: raw.certain != 0 },
            output::DRAINED => Output::Drained(span),
            output::REMEMBER => Output::Remember(self.bytes(raw)?),
            output::PROGRESS => Output::Progress { items: raw.count },
            output::DONE => Output::Done(self.outcome(raw)?),
            other => return Err(format!("an output of kind {other}, which there is none of")),
        };
        self.taken.push(Taken { output, asked });
        Ok(())
    }

    #[allow(unsafe_code)]
    fn outcome(&mut self, raw: &ffi::Output) -> Result<SessionOutcome, String> {
        // SAFETY: the plugin promised that it is there until it is called again; its beginning alone is looked at.
        let text = unsafe { text(raw.bytes) };
        let cap = Some(raw.cap).filter(|cap| *cap != NONE);
        Ok(match raw.outcome {
            outcome::COMPLETE => SessionOutcome::Complete,
            outcome::INCOMPLETE => SessionOutcome::Incomplete { reason: self.reason(raw)?, text },
            outcome::TOO_BIG => SessionOutcome::TooBig { cap, text },
            outcome::UNSUPPORTED => SessionOutcome::Unsupported { text },
            outcome::FAILED => SessionOutcome::Failed { reason: self.reason(raw)?, text },
            other => return Err(format!("an end of kind {other}, which there is none of")),
        })
    }

    fn reason(&mut self, raw: &ffi::Output) -> Result<FailureReason, String> {
        Ok(match raw.reason {
            reason::TIMEOUT => FailureReason::Timeout,
            reason::CONNECTION_LOST => FailureReason::ConnectionLost,
            reason::PROTOCOL => FailureReason::Protocol,
            reason::LOCAL => FailureReason::Local,
            reason::REFUSED => FailureReason::Refused { prefix: meaning_of(raw.meaning).as_str().to_owned() },
            reason::NOT_SERVED => {
                let mut ids = self.ids(raw)?;
                ids.truncate(sync_core::model::Failure::MAX_IDS);
                FailureReason::NotServed { ids, count: raw.count }
            }
            reason::DENSE_SECOND => FailureReason::DenseSecond { second: raw.second, more_than: raw.count },
            reason::TOO_BIG => FailureReason::TooBig { cap: Some(raw.cap).filter(|cap| *cap != NONE) },
            reason::UNSUPPORTED => FailureReason::Unsupported,
            other => return Err(format!("a reason of kind {other}, which there is none of")),
        })
    }
}

//! One reconciliation: one filter, one window, one NEG-OPEN.
//!
//! What a relay may do at most: [`MAX_ROUNDS`] rounds, [`MAX_IDLE_ROUNDS`] in a row that name no id, [`MAX_IDS`] ids
//! in all, [`MAX_PAYLOAD`] bytes at once. Needed ids are told round by round and forgotten; of the local set a session
//! holds less than 41 bytes an id.

use std::collections::VecDeque;

use sync_core::model::FailureReason;
use sync_core::response::{Meaning, Said};
use sync_core::strategy::{
    Input, KeyRange, Message, Output, ProtocolError, SessionOutcome, SessionRequest, SetView, SubId, SyncSession,
    Window, duration_text,
};
use sync_core::{MonoMillis, Now};

use crate::config::{MIN_FRAME, Settings};
use crate::local::Local;
use crate::machine::Machine;
use crate::wire::VERSION;

/// The session's only subscription.
const SUB: SubId = 0;
/// Rounds of one reconciliation. A million ids missing take 540 at 60,000 bytes a frame, 8,300 at 4,096.
const MAX_ROUNDS: u32 = 10_000;
/// Rounds in a row that name no id. Fingerprints narrow ten million items down within 24, even by halves.
const MAX_IDLE_ROUNDS: u32 = 64;
/// Ids on either side of one reconciliation.
const MAX_IDS: u64 = 10_000_000;
/// Bytes of a payload. Servers send up to 1 MiB (WIRE.md).
const MAX_PAYLOAD: usize = 4 << 20;
/// Bytes of `["NEG-MSG","…","…"]` around the payload, for relays that say how long a message may be.
const ENVELOPE: u64 = 256;

pub(crate) struct NegentropySession {
    settings: Settings,
    request: SessionRequest,
    phase: Phase,
    out: VecDeque<Output>,
    /// Words of a NOTICE that couldn't be read as an answer: the best guess at why there was none.
    remark: Option<String>,
    ids: u64,
    rounds: u32,
    idle_rounds: u32,
}

enum Phase {
    New,
    Open(Open),
    Over,
}

struct Open {
    machine: Machine,
    deadline: MonoMillis,
    /// The last second that a finished reconciliation says something about.
    until: u64,
}

/// How a session ends, and whether the relay may still hold the reconciliation.
struct End {
    outcome: SessionOutcome,
    close: bool,
}

impl End {
    /// The relay has ended it, or never began.
    fn closed(outcome: SessionOutcome) -> Self {
        Self { outcome, close: false }
    }

    /// We end it.
    fn open(outcome: SessionOutcome) -> Self {
        Self { outcome, close: true }
    }

    fn protocol(text: String) -> Self {
        Self::open(SessionOutcome::Failed { reason: FailureReason::Protocol, text })
    }
}

impl NegentropySession {
    pub(crate) fn new(settings: Settings, request: SessionRequest) -> Self {
        Self {
            settings,
            request,
            phase: Phase::New,
            out: VecDeque::new(),
            remark: None,
            ids: 0,
            rounds: 0,
            idle_rounds: 0,
        }
    }

    /// Whether the relay has shown in this session that it knows NIP-77.
    fn answered(&self) -> bool {
        self.rounds > 0
    }

    fn start(&mut self, local: &dyn SetView, now: Now) -> Result<(), End> {
        let count = local.count(KeyRange::ALL);
        if count > MAX_IDS {
            let text = format!("{count} local ids match, and one reconciliation compares at most {MAX_IDS}");
            return Err(End::closed(SessionOutcome::TooBig { cap: Some(MAX_IDS), text }));
        }
        let machine = Machine::new(Local::copy(local, count as usize), self.frame_size_limit() as usize);
        let payload = machine.initiate();
        let window = self.request.window;
        let until = if window.until == u64::MAX { now.unix_s } else { window.until };
        self.phase = Phase::Open(Open { machine, deadline: self.deadline(now), until });
        let filter = Box::new(window.narrow(&self.request.filter));
        self.out.push_back(Output::Send(Message::NegOpen { sub: SUB, filter, payload }));
        Ok(())
    }

    /// What is configured, less where the relay takes shorter messages; two hex digits go for a byte.
    fn frame_size_limit(&self) -> u64 {
        let taken = self.request.profile.max_message_length.map_or(u64::MAX, |bytes| bytes as u64);
        (taken.saturating_sub(ENVELOPE) / 2).clamp(MIN_FRAME, self.settings.frame_size_limit)
    }

    fn deadline(&self, now: Now) -> MonoMillis {
        now.mono_ms.saturating_add(self.settings.timeout_ms)
    }

    fn round(&mut self, payload: &[u8], now: Now) -> Result<(), End> {
        let deadline = self.deadline(now);
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        let first = self.rounds == 0;
        if payload.len() > MAX_PAYLOAD {
            let text = format!("a reconciliation message of {} bytes is longer than {MAX_PAYLOAD}", payload.len());
            return Err(End::protocol(text));
        }
        if first
            && let [version] = payload
            && *version != VERSION
        {
            let text = format!("speaks version {version:#04x} of the protocol at most, not {VERSION:#04x}");
            return Err(End::open(SessionOutcome::Unsupported { text }));
        }
        let round = open.machine.reconcile(payload).map_err(|what| {
            let text = format!("a reconciliation message can't be read: {what}");
            if first && !self.request.proven {
                End::open(SessionOutcome::Unsupported { text })
            } else {
                End::protocol(text)
            }
        })?;
        open.deadline = deadline;
        let until = open.until;
        let shared = round.reply.is_none().then(|| open.machine.shared());

        self.rounds += 1;
        let items = (round.haves.len() + round.needs.iter().map(|(_, ids)| ids.len()).sum::<usize>()) as u64;
        self.ids += items;
        self.idle_rounds = if items == 0 { self.idle_rounds + 1 } else { 0 };
        if self.request.direction.down() {
            for (within, ids) in round.needs {
                let within = within_or(self.request.window, within);
                self.out.push_back(Output::Need { ids, within });
            }
        }
        if !round.haves.is_empty() {
            self.out.push_back(Output::Have(round.haves));
        }
        self.out.push_back(Output::Progress { items });

        let Some(payload) = round.reply else {
            let window = Window { until, ..self.request.window };
            if window.since <= window.until {
                self.out.push_back(Output::Drained(window));
            }
            let (count, oldest) = shared.unwrap_or_default();
            self.out.push_back(Output::Shared { count, oldest });
            return Err(End::open(SessionOutcome::Complete));
        };
        if self.ids > MAX_IDS {
            return Err(End::protocol(format!("the reconciliation has named more than {MAX_IDS} ids")));
        }
        if self.idle_rounds >= MAX_IDLE_ROUNDS {
            return Err(End::protocol(format!("{MAX_IDLE_ROUNDS} rounds in a row named no id")));
        }
        if self.rounds >= MAX_ROUNDS {
            return Err(End::protocol(format!("the reconciliation has not ended within {MAX_ROUNDS} rounds")));
        }
        self.out.push_back(Output::Send(Message::NegMsg { sub: SUB, payload }));
        Ok(())
    }

    /// What the relay's words come to, in place of an answer.
    fn refused(&self, said: &Said) -> SessionOutcome {
        let text = said.text.clone();
        let refused = |text| {
            let prefix = said.meaning.as_str().to_owned();
            SessionOutcome::Failed { reason: FailureReason::Refused { prefix }, text }
        };
        match said.meaning {
            Meaning::TooBig => SessionOutcome::TooBig { cap: said.cap, text },
            // Says nothing about support.
            Meaning::TooManyAtOnce
            | Meaning::RateLimited
            | Meaning::AuthRequired
            | Meaning::Restricted
            | Meaning::SessionGone => refused(text),
            Meaning::Unsupported | Meaning::Invalid | Meaning::Blocked if !self.answered() => {
                SessionOutcome::Unsupported { text }
            }
            // Anything else that ends the first question of a relay that never answered one.
            _ if !self.answered() && !self.request.proven => SessionOutcome::Unsupported { text: or_nothing(text) },
            _ => refused(or_nothing(text)),
        }
    }

    /// A NOTICE: an answer where its words can be read as one. A relay may greet us just then.
    fn noticed(&mut self, said: &Said) -> Result<(), End> {
        if said.meaning == Meaning::Unknown && !said.names_negentropy {
            self.remark = Some(said.text.clone());
            return Ok(());
        }
        Err(End::open(self.refused(said)))
    }

    fn timed_out(&self, now: Now) -> Result<(), End> {
        let Phase::Open(Open { deadline, .. }) = &self.phase else { return Ok(()) };
        if now.mono_ms < *deadline {
            return Ok(());
        }
        let asked = if self.answered() { "NEG-MSG" } else { "NEG-OPEN" };
        let mut text = format!("no answer to {asked} within {}", duration_text(self.settings.timeout_ms));
        if let Some(remark) = &self.remark {
            text.push_str(&format!("; it said: {remark}"));
        }
        Err(End::open(if self.answered() || self.request.proven {
            SessionOutcome::Failed { reason: FailureReason::Timeout, text }
        } else {
            SessionOutcome::Unsupported { text }
        }))
    }

    fn end(&mut self, End { outcome, close }: End) {
        if close {
            self.out.push_back(Output::Send(Message::NegClose { sub: SUB }));
        }
        self.out.push_back(Output::Done(outcome));
        self.phase = Phase::Over;
    }
}

impl SyncSession for NegentropySession {
    fn handle(&mut self, input: Input<'_>, local: &dyn SetView, now: Now) -> Result<(), ProtocolError> {
        let step = match (&self.phase, input) {
            (Phase::New, Input::Start) => self.start(local, now),
            (_, Input::Start) => return Err(ProtocolError("a session is started once".to_owned())),
            (Phase::New | Phase::Open(_), Input::ConnectionLost) => Err(End::closed(SessionOutcome::Failed {
                reason: FailureReason::ConnectionLost,
                text: "the connection was lost".to_owned(),
            })),
            (Phase::Open(_), Input::NegMsg { sub: SUB, payload }) => self.round(payload, now),
            (Phase::Open(_), Input::NegErr { sub: SUB, said } | Input::Closed { sub: SUB, said }) => {
                Err(End::closed(self.refused(said)))
            }
            (Phase::Open(_), Input::Notice { said }) => self.noticed(said),
            (Phase::Open(_), Input::Timeout) => self.timed_out(now),
            _ => Ok(()),
        };
        if let Err(end) = step {
            self.end(end);
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn next_timeout(&self) -> Option<(MonoMillis, &'static str)> {
        let Phase::Open(open) = &self.phase else { return None };
        Some((open.deadline, if self.answered() { "answer to NEG-MSG" } else { "answer to NEG-OPEN" }))
    }
}

fn or_nothing(text: String) -> String {
    if text.is_empty() { "ended without a reason".to_owned() } else { text }
}

/// The part of `window` that `listed` names; all of it where a relay lists what it was not asked for.
fn within_or(window: Window, listed: Window) -> Window {
    let part = Window { since: window.since.max(listed.since), until: window.until.min(listed.until) };
    if part.since <= part.until { part } else { window }
}

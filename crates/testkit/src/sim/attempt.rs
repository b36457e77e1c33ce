//! Attempts to connect, as `transport-ws` and `engine::driver` have them: how they end, and how one is taken back.

use sync_core::manager::ManagerInput;
use sync_core::model::RelayUrl;
use sync_core::transport::{Fault, FaultKind};

use super::queue::{Inner, Wire};
use super::shell::{Contact, Sim};

impl Sim {
    pub(super) fn connect(&mut self, relay: &RelayUrl) {
        let Some(place) = self.plan.place(relay) else {
            return self.broke(format!("{relay} is to be connected to, and doesn't exist"));
        };
        if let Err(text) = self.judge.backoff.attempt(place, self.ms) {
            self.broke(format!("{relay} {text}"));
        }
        let Some(process) = &mut self.process else { return };
        let wire = Wire { relay: place, number: self.next_wire };
        self.next_wire += 1;
        if process.contacts.insert(place, Contact::Connecting { wire, cancelled: false, hung: false }).is_some() {
            self.broke(format!("{relay} is to be connected to, and is already"));
        }
        let at = self.later(2 * self.plan.relays[place].latency.1);
        self.put(at, Inner::Attempted(wire));
    }

    pub(super) fn attempted(&mut self, wire: Wire) {
        let faults = self.plan.relays[wire.relay].core.faults();
        let relay = self.plan.relays[wire.relay].url.clone();
        let timeout = self.plan.manager.connect_timeout_ms;
        let Some(process) = &mut self.process else { return };
        let Some(Contact::Connecting { wire: mine, cancelled, hung }) = process.contacts.get_mut(&wire.relay) else {
            return;
        };
        if *mine != wire {
            return;
        }
        if *cancelled {
            process.contacts.remove(&wire.relay);
            self.judge.ended(wire.relay, None, self.ms);
            return self.take(ManagerInput::Disconnected { relay, fault: None });
        }
        let fault = |kind, text: &str| Some(Fault { kind, text: text.to_owned() });
        let fault = if let Some(kind) = self.cut_off.get(&wire.relay) {
            fault(*kind, "nobody can be reached")
        } else if faults.refuse_connections {
            fault(FaultKind::Network, "connection refused")
        } else if faults.hang_handshake || faults.half_open {
            if !std::mem::replace(hung, true) {
                return self.put(self.ms + timeout, Inner::Attempted(wire));
            }
            fault(FaultKind::Timeout, "no answer to the handshake")
        } else if let Some(status) = faults.refuse_handshake {
            let kind = if status >= 500 { FaultKind::Network } else { FaultKind::Protocol };
            fault(kind, "the handshake was refused")
        } else {
            None
        };
        match fault {
            Some(fault) => {
                process.contacts.remove(&wire.relay);
                self.judge.ended(wire.relay, Some(&fault), self.ms);
                self.take(ManagerInput::ConnectFailed { relay, fault });
            }
            None => {
                self.judge.backoff.connected(wire.relay, self.ms);
                self.open(wire);
            }
        }
    }

    /// Asks for the end of a connection or an attempt.
    pub(super) fn cancel(&mut self, place: usize) {
        let Some(process) = &mut self.process else { return };
        match process.contacts.get_mut(&place) {
            Some(Contact::Connecting { wire, cancelled, .. }) => {
                *cancelled = true;
                let wire = *wire;
                self.put(self.ms, Inner::Attempted(wire));
            }
            Some(Contact::Open(peer)) => {
                let wire = peer.wire;
                self.put(self.ms, Inner::Cut(wire, None));
            }
            None => {}
        }
    }

    pub(super) fn close_everything(&mut self) {
        for place in 0..self.plan.relays.len() {
            self.cancel(place);
        }
    }

    pub(super) fn wire_of(&self, place: usize) -> Option<Wire> {
        match self.process.as_ref()?.contacts.get(&place)? {
            Contact::Open(peer) => Some(peer.wire),
            Contact::Connecting { .. } => None,
        }
    }
}

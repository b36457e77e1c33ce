//! Judging by a policy, and judging again what waited (SPEC §3, §11).

use std::collections::{HashSet, VecDeque};

use nostr::event::{Event, EventId};
use nostr::key::PublicKey;

use super::refs::{self, DeletionTarget};
use super::step::{KeptOut, Step};
use crate::admission::{AdmissionPolicy, DeferReason, RejectReason};
use crate::model::{RelayUrl, RepoAddress, identifier_of, kinds};
use crate::store::{Dependency, StoreError};

/// The most announcements of one identifier that are looked at together. In a larger group those that qualify by
/// themselves are accepted all the same, the maintainers of those that weren't looked at may be missed, and nobody is
/// withdrawn.
pub const MAX_GROUP: usize = 1000;

/// How many waiting events are asked for at once.
const PAGE: usize = 1000;

enum Verdict {
    Accept,
    KeepOut(KeptOut),
}

impl Step<'_> {
    /// Judges an event that is new, head of its slot and passed the screen; stores it or keeps it out.
    pub(super) fn judge_arrival(
        &mut self,
        policy: &AdmissionPolicy,
        event: &Event,
        relay: Option<&RelayUrl>,
    ) -> Result<(), StoreError> {
        if refs::is_announcement(event) {
            if !self.settle(policy, identifier_of(event), Some(event))? {
                self.keep_out(event, not_named(policy, event), relay)?;
            }
            return Ok(());
        }
        match self.verdict(policy, event)? {
            Verdict::Accept => self.admit(event),
            Verdict::KeepOut(why) => self.keep_out(event, why, relay),
        }
    }

    /// Judges an event where it is: in the store, not accepted.
    pub(super) fn judge_in_place(&mut self, policy: &AdmissionPolicy, event: &Event) -> Result<(), StoreError> {
        match self.txn.row(&event.id)? {
            Some(row) if row.accepted.is_none() => {}
            _ => return Ok(()),
        }
        if refs::expiration_of(event).is_some_and(|at| at <= self.now) {
            return self.remove(&event.id, RejectReason::Expired);
        }
        if policy.is_denied(event) {
            return Ok(());
        }
        if refs::is_announcement(event) {
            let identifier = identifier_of(event);
            // It may have replaced an accepted one while no policy was at hand.
            self.shaken.insert(identifier.to_owned());
            return self.settle(policy, identifier, Some(event)).map(drop);
        }
        if event.kind.as_u16() == kinds::DELETION {
            self.shake_what_was_deleted(event)?;
        }
        match self.verdict(policy, event)? {
            Verdict::Accept => self.admit(event),
            Verdict::KeepOut(_) => Ok(()),
        }
    }

    /// Draws the consequences that are still open. Without a policy there are none: what was stored instead of an
    /// announcement, or to delete it, is judged later, and its group with it.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        let Some(policy) = self.policy else { return Ok(()) };
        loop {
            if let Some(id) = self.accepted.pop_front() {
                self.judge_again_after(policy, &id)?;
            } else if let Some(identifier) = self.shaken.first().cloned() {
                self.settle(policy, &identifier, None)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Without a policy, for groups that lost an announcement to nothing that will be judged: takes the acceptance from the
    /// rest, by storing each anew. What is stored without a policy waits to be judged.
    pub(super) fn leave_to_be_judged(&mut self) -> Result<(), StoreError> {
        for identifier in std::mem::take(&mut self.shaken) {
            for event in self.txn.announcements(&identifier, MAX_GROUP)? {
                if self.is_accepted(&event.id)? {
                    self.txn.retract(&event.id, kinds::ANNOUNCEMENT, RepoAddress::of_event(&event).as_ref())?;
                    self.txn.remove(&event.id)?;
                    self.txn.insert(&event, refs::expiration_of(&event))?;
                }
            }
        }
        Ok(())
    }

    /// What the rules say of anything but an announcement: those are for [`Self::settle`].
    fn verdict(&self, policy: &AdmissionPolicy, event: &Event) -> Result<Verdict, StoreError> {
        let keep_out = |why| Ok(Verdict::KeepOut(why));
        if policy.is_denied(event) {
            return keep_out(KeptOut::Rejected(RejectReason::Denied));
        }
        if policy.qualifies(event) {
            return Ok(Verdict::Accept);
        }
        match event.kind.as_u16() {
            kinds::GRASP_LIST => keep_out(KeptOut::Rejected(RejectReason::GraspListElsewhere)),
            kinds::STATE if self.is_maintainer(&event.pubkey, identifier_of(event))? => Ok(Verdict::Accept),
            kinds::STATE => keep_out(waits_for_maintainer(event)),
            _ if self.is_related(event)? => Ok(Verdict::Accept),
            _ => keep_out(KeptOut::Deferred(DeferReason::Orphan, refs::dependencies(event))),
        }
    }

    /// Whether an event that passed the screen would be accepted as things stand.
    pub(super) fn would_be_accepted(&self, policy: &AdmissionPolicy, event: &Event) -> Result<bool, StoreError> {
        if refs::is_announcement(event) {
            return Ok(policy.qualifies(event) || self.is_named_by_another(&event.pubkey, identifier_of(event))?);
        }
        Ok(matches!(self.verdict(policy, event)?, Verdict::Accept))
    }

    /// Whether `author` has an accepted announcement of `identifier`, or is named by one.
    fn is_maintainer(&self, author: &PublicKey, identifier: &str) -> Result<bool, StoreError> {
        Ok(self.is_repo_accepted(&RepoAddress::new(*author, identifier))?
            || self.is_named_by_another(author, identifier)?)
    }

    /// Whether somebody else's accepted announcement of `identifier` names `author` as a maintainer.
    fn is_named_by_another(&self, author: &PublicKey, identifier: &str) -> Result<bool, StoreError> {
        for announcement in self.txn.announcements(identifier, MAX_GROUP)? {
            if announcement.pubkey != *author
                && refs::maintainers(&announcement).any(|maintainer| maintainer == *author)
                && self.is_accepted(&announcement.id)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_related(&self, event: &Event) -> Result<bool, StoreError> {
        for reference in refs::references(event) {
            let related = match &reference {
                Dependency::Event(id) => self.is_accepted(id)?,
                Dependency::Repo(address) => self.is_repo_accepted(address)?,
                Dependency::Identifier(_) => false,
            };
            if related {
                return Ok(true);
            }
        }
        self.txn.is_named(&event.id)
    }

    fn is_accepted(&self, id: &EventId) -> Result<bool, StoreError> {
        Ok(self.txn.row(id)?.is_some_and(|row| row.accepted.is_some()))
    }

    fn is_repo_accepted(&self, address: &RepoAddress) -> Result<bool, StoreError> {
        let Some(slot) = refs::slot(kinds::ANNOUNCEMENT, address.pubkey, &address.identifier) else { return Ok(false) };
        match self.txn.slot(&slot)? {
            Some(head) if head.stored => self.is_accepted(&head.id),
            _ => Ok(false),
        }
    }

    /// Accepts an event, storing it first where it isn't; with an external own relay that hasn't it yet, holds it.
    fn admit(&mut self, event: &Event) -> Result<(), StoreError> {
        if self.is_to_be_held(&event.id) {
            return self.hold(event);
        }
        if self.txn.row(&event.id)?.is_none() {
            self.store(event)?;
        }
        self.txn.accept(&event.id)?;
        self.accepted.push_back(event.id);
        Ok(())
    }

    /// Brings the announcements of one identifier to where they belong: accepted are those that qualify, and those
    /// whose authors accepted ones name. `arriving`, the current version of its author, may be stored or not yet.
    /// Whether it is accepted.
    fn settle(
        &mut self,
        policy: &AdmissionPolicy,
        identifier: &str,
        arriving: Option<&Event>,
    ) -> Result<bool, StoreError> {
        let shaken = self.shaken.remove(identifier);
        let qualifying = arriving.filter(|event| policy.qualifies(event));
        // One that qualifies and replaces nothing only adds: what is reached without it stays reached.
        let stored =
            if qualifying.is_some() && !shaken { Vec::new() } else { self.txn.announcements(identifier, MAX_GROUP)? };
        let roots = stored.iter().filter(|event| policy.qualifies(event));
        let mut queue: VecDeque<Event> = qualifying.into_iter().chain(roots).cloned().collect();
        let mut reached: HashSet<PublicKey> = queue.iter().map(|event| event.pubkey).collect();
        let mut too_many = stored.len() >= MAX_GROUP;
        while let Some(event) = queue.pop_front() {
            if !self.is_accepted(&event.id)? {
                self.admit(&event)?;
                if self.is_to_be_held(&event.id) {
                    // Whom it names is accepted after it is.
                    continue;
                }
            }
            for maintainer in refs::maintainers(&event) {
                if reached.contains(&maintainer) {
                    continue;
                }
                if reached.len() >= MAX_GROUP {
                    too_many = true;
                    break;
                }
                let next = match arriving.filter(|event| event.pubkey == maintainer) {
                    Some(event) => Some(event.clone()),
                    None => self.current(kinds::ANNOUNCEMENT, maintainer, identifier)?,
                };
                if let Some(next) = next.filter(|event| !policy.is_denied(event)) {
                    reached.insert(maintainer);
                    queue.push_back(next);
                }
            }
        }
        if !too_many {
            for event in stored.iter().filter(|event| !reached.contains(&event.pubkey)) {
                if self.is_accepted(&event.id)? {
                    self.expel(&event.id, not_named(policy, event))?;
                }
            }
            // Those that went are out of this same settlement.
            self.shaken.remove(identifier);
        }
        Ok(arriving.is_some_and(|event| reached.contains(&event.pubkey)))
    }

    /// The newest version in a slot, where it is at hand: stored, or waiting with its body. Where only the body is
    /// gone, the row is released, so that the event is fetched again.
    fn current(&mut self, kind: u16, author: PublicKey, identifier: &str) -> Result<Option<Event>, StoreError> {
        let Some(slot) = refs::slot(kind, author, identifier) else { return Ok(None) };
        let Some(head) = self.txn.slot(&slot)? else { return Ok(None) };
        if head.stored {
            return self.txn.event(&head.id);
        }
        self.waiting_body(&head.id)
    }

    /// The body of an event that waits, if it may be stored. A row without a body is released.
    fn waiting_body(&mut self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let Some(row) = self.txn.rejected(id)? else { return Ok(None) };
        let may_be_stored = row.deferred.is_some() || row.rejected == Some(RejectReason::NotListed);
        if !may_be_stored || row.wanted.is_some() {
            return Ok(None);
        }
        let Some(event) = row.body else {
            if row.relays.is_empty() {
                self.txn.remove_rejected(id)?;
            } else {
                self.txn.release(&row)?;
            }
            return Ok(None);
        };
        if let Some(reason) = self.screen(&event)? {
            self.keep_out(&event, KeptOut::Rejected(reason), None)?;
            return Ok(None);
        }
        Ok(Some(*event))
    }

    /// Judges again what waited for an event that was accepted in this step.
    fn judge_again_after(&mut self, policy: &AdmissionPolicy, id: &EventId) -> Result<(), StoreError> {
        let Some(event) = self.txn.event(id)? else { return Ok(()) };
        self.judge_again_waiting_for(policy, &Dependency::Event(*id))?;
        for named in refs::names(&event) {
            self.judge_again(policy, &named)?;
        }
        if let Some(address) = RepoAddress::of_event(&event).filter(|_| refs::is_announcement(&event)) {
            for author in std::iter::once(event.pubkey).chain(refs::maintainers(&event)) {
                if let Some(state) = self.current(kinds::STATE, author, &address.identifier)?
                    && !policy.is_denied(&state)
                    && !self.is_accepted(&state.id)?
                {
                    self.admit(&state)?;
                }
            }
            self.judge_again_waiting_for(policy, &Dependency::Repo(address))?;
        }
        Ok(())
    }

    fn judge_again_waiting_for(&mut self, policy: &AdmissionPolicy, dependency: &Dependency) -> Result<(), StoreError> {
        // Whoever is judged leaves the lists of those that wait, these excepted.
        let mut still_waiting = HashSet::new();
        loop {
            let max = PAGE + still_waiting.len();
            let mut ids = self.txn.waiting_for(dependency, max)?;
            ids.extend(self.txn.stored_waiting_for(dependency, max)?);
            ids.retain(|id| !still_waiting.contains(id));
            if ids.is_empty() {
                return Ok(());
            }
            for id in ids {
                if !self.judge_again(policy, &id)? {
                    still_waiting.insert(id);
                }
            }
        }
    }

    /// Judges again an event that waits for a relation, in the store or out of it. Whether its waiting is over.
    fn judge_again(&mut self, policy: &AdmissionPolicy, id: &EventId) -> Result<bool, StoreError> {
        let row = self.txn.row(id)?;
        if row.is_some_and(|row| row.accepted.is_some()) {
            return Ok(true);
        }
        let kind = match row {
            Some(row) => Some(row.kind),
            None => self.txn.rejected(id)?.map(|row| row.kind),
        };
        if matches!(kind, Some(kinds::ANNOUNCEMENT | kinds::STATE | kinds::GRASP_LIST)) {
            return Ok(false);
        }
        let event = if row.is_some() { self.txn.event(id)? } else { self.waiting_body(id)? };
        let Some(event) = event else { return Ok(true) };
        match self.verdict(policy, &event)? {
            Verdict::Accept => self.admit(&event).map(|()| true),
            Verdict::KeepOut(_) => Ok(false),
        }
    }

    /// Marks the groups from which a deletion, applied while no policy was at hand, may have taken announcements.
    fn shake_what_was_deleted(&mut self, deletion: &Event) -> Result<(), StoreError> {
        for target in refs::deletion_targets(deletion) {
            match target {
                DeletionTarget::Slot(slot) if slot.kind == kinds::ANNOUNCEMENT => {
                    self.shaken.insert(slot.identifier);
                }
                DeletionTarget::Slot(_) => {}
                DeletionTarget::Event(id) => {
                    let row = self.txn.rejected(&id)?.filter(|row| row.kind == kinds::ANNOUNCEMENT);
                    if let Some((_, identifier)) =
                        row.and_then(|row| row.tags.into_iter().find(|(name, _)| *name == 'd'))
                    {
                        self.shaken.insert(identifier);
                    }
                }
            }
        }
        Ok(())
    }
}

/// An announcement that neither qualifies nor is named: it waits to be named, where any can be accepted at all.
fn not_named(policy: &AdmissionPolicy, event: &Event) -> KeptOut {
    if policy.can_accept_announcements() {
        waits_for_maintainer(event)
    } else {
        KeptOut::Rejected(RejectReason::NotListed)
    }
}

fn waits_for_maintainer(event: &Event) -> KeptOut {
    let waits_for = vec![Dependency::Identifier(identifier_of(event).to_owned())];
    KeptOut::Deferred(DeferReason::MaintainerNotYetValid, waits_for)
}

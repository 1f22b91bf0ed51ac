//! Another configuration: what it does not change goes on, and what it does change, until another gateway can take over.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{
    super::{
        RedundancyEvent, RedundancyOptions, Spec,
        member::{Member, Successor},
    },
    Manager,
};
use crate::{options::after, supervisor::STATE_CHANGES};

impl Manager {
    pub(super) fn update(&mut self, specs: Vec<Spec>, options: RedundancyOptions, now: Instant) {
        let probes: HashMap<Arc<str>, _> =
            (0..self.members.len()).filter_map(|index| Some((self.name_of(index)?, self.probe_of(index)))).collect();
        let options_changed = options.tunnel != self.options.tunnel;
        // What a tunnel sends without the mark of now may be led back into it by the routes of a device.
        let may_stay = options.tunnel.mark == self.options.tunnel.mark;
        self.options = options;
        let mut before: Vec<Member> = std::mem::take(&mut self.members);
        let has_others = may_stay && specs.len() > 1;
        for spec in specs {
            let known = before.iter().position(|member| member.spec.name == spec.name);
            // One that refused us does so again as long as nothing of its own has changed: an account must not be locked.
            let same =
                |member: &Member| member.spec.fingerprint == spec.fingerprint && (member.refused || !options_changed);
            let member = match known.map(|index| before.remove(index)) {
                None => Member::new(spec),
                Some(mut member) if same(&member) => {
                    member.spec = spec;
                    member.successor = None;
                    member
                }
                Some(member) if has_others && self.carries(&member) => {
                    self.outdated(member, Successor::Changed(spec), now)
                }
                Some(member) => self.parted(member).renewed(spec),
            };
            self.members.push(member);
        }
        for member in before {
            if may_stay && !self.members.is_empty() && self.carries(&member) {
                let member = self.outdated(member, Successor::Removed, now);
                self.members.push(member);
            } else {
                self.parted(member);
            }
        }
        for index in 0..self.members.len() {
            let (name, probe) = (self.name_of(index), self.probe_of(index));
            let is_new = name.and_then(|name| probes.get(&name)).is_some_and(|before| *before != probe);
            if let Some(member) = self.members.get_mut(index).filter(|_| is_new) {
                member.ask(now, probe, &self.sender);
            }
        }
    }

    /// Whether anybody would miss its tunnel.
    fn carries(&self, member: &Member) -> bool {
        member.is_up() && (self.active.as_ref() == Some(&member.spec.name) || member.connections() > 0)
    }

    /// It goes on as it is until another one can take over.
    fn outdated(&self, mut member: Member, successor: Successor, now: Instant) -> Member {
        member.successor = Some(successor);
        if self.active.as_ref() == Some(&member.spec.name) {
            tracing::info!("gateway {} goes on with its settings of before until another one is up", member.spec.name);
        } else {
            member.draining = Some(after(now, self.options.drain));
        }
        member
    }

    /// Its client says goodbye. Others are told where its tunnel was up.
    fn parted(&mut self, mut member: Member) -> Member {
        let was_up = member.is_up();
        if let Some(client) = member.end() {
            self.leave(client);
        }
        let name = &member.spec.name;
        if was_up {
            self.emit(RedundancyEvent::Parted { gateway: name.to_string() });
        }
        if self.active.as_ref() == Some(name) {
            tracing::warn!(target: STATE_CHANGES, "no gateway is up: the configuration of gateway {name} changed");
            self.last_active = self.active.take();
            self.emit(RedundancyEvent::Down);
        }
        member
    }

    /// Makes those anew whose tunnels nobody needs any more as they were. Whether there were any.
    pub(super) fn renew(&mut self) -> bool {
        let mut any = false;
        let mut index = 0;
        while index < self.members.len() {
            if !self.is_due(index) {
                index += 1;
                continue;
            }
            any = true;
            let mut member = self.members.remove(index);
            let successor = member.successor.take();
            let member = self.parted(member);
            if let Some(Successor::Changed(spec)) = successor {
                self.members.insert(index, member.renewed(spec));
            }
        }
        any
    }

    /// Whether the time of this tunnel of before is over.
    fn is_due(&self, index: usize) -> bool {
        let active = self.active_index();
        let Some(member) = self.members.get(index).filter(|member| member.successor.is_some()) else { return false };
        if !member.is_up() {
            // Its connections go on through another one, if there is one.
            return !member.orphaned || active.is_none();
        }
        if active != Some(index) {
            return member.draining.is_none();
        }
        // Whoever cannot be reached cannot take over. What all others refuse is most likely wrong, and would be refused here, too.
        !self.is_all_that_is_left(index) && self.others(index).all(Member::has_had_its_chance)
    }

    /// Whether all others have refused us as they are configured now.
    fn is_all_that_is_left(&self, index: usize) -> bool {
        self.others(index).count() > 0 && self.others(index).all(|other| other.refused)
    }

    fn others(&self, index: usize) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .enumerate()
            .filter(move |(other, _)| *other != index)
            .map(|(_, member)| member)
            .filter(|member| !member.is_removed())
    }

    /// Says so where a tunnel of before is all that is left.
    pub(super) fn keep_what_works(&self) {
        let Some(index) = self.active_index() else { return };
        let Some(member) = self.members.get(index).filter(|member| member.is_up() && member.successor.is_some()) else {
            return;
        };
        if self.is_all_that_is_left(index) {
            tracing::warn!(
                hint = "correct the configuration: once this tunnel is lost, there is none",
                "gateway {} goes on with its settings of before: every other one refuses those of now",
                member.spec.name
            );
        }
    }
}

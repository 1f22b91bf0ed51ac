//! The TUN device of a connection: there as long as somebody wants the connection; and what it blocks, until nobody does.
//!
//! ```text
//!   connect ─▶ opening ─▶ down ─▶ up ◀─▶ down, or blocked ─▶ (failed) blocked ─▶ connect again, or undone
//! ```
//!
//! Everything that takes its time is done by a thread of its own ([`Keeper`]); what became of it comes back as [`Told`].

use std::{future::pending, sync::Arc};

use super::{Manner, lock, task::Task};
use crate::{
    activity::{By, Entry, Kind},
    environment::{Ended, machine::Trigger},
    error::Error,
    status::{DeviceState, DeviceStatus, State, Timestamp},
    up::{self, Keeper, Shape, Told, TunOptions},
};

/// A device, from the wish for it until nothing is left of it.
pub(super) struct Held {
    keeper: Keeper,
    options: TunOptions,
    status: DeviceStatus,
    /// It is being removed.
    ending: bool,
    /// Another one is wanted after that.
    again: bool,
    /// Those that are put in its place, and are not there yet.
    replacing: usize,
}

impl Held {
    fn new(keeper: Keeper, options: TunOptions, status: DeviceStatus) -> Self {
        Self { keeper, options, status, ending: false, again: false, replacing: 0 }
    }

    pub(super) fn status(&self) -> DeviceStatus {
        self.status.clone()
    }

    fn is(&mut self, state: DeviceState) {
        if self.status.state != state {
            (self.status.state, self.status.since) = (state, Timestamp::now());
        }
    }
}

/// Whether the next device can take the place of the one before, and what that blocks stays blocked.
fn takes_over(before: &TunOptions, next: &TunOptions) -> bool {
    let of = |options: &TunOptions| (options.device.clone(), options.netns.clone(), options.state_dir.clone());
    before.fail_closed && next.fail_closed && of(before) == of(next)
}

/// What became of what was asked of the device.
pub(super) async fn told(device: &mut Option<Held>) -> Told {
    match device {
        Some(held) => held.keeper.next().await,
        None => pending().await,
    }
}

impl Task {
    /// What is asked for; `adit forward` makes none.
    pub(super) fn wanted_device(&self) -> Option<&TunOptions> {
        self.plan.tun.as_ref().filter(|_| self.context.manner == Manner::Patient)
    }

    /// Somebody wants the connection: the gateways are started once there is a device.
    pub(super) fn prepare_device(&mut self) {
        match &mut self.device {
            None => self.open_device(),
            Some(held) if held.ending => held.again = true,
            Some(held) if Some(&held.options) == self.plan.tun.as_ref() => {
                held.is(DeviceState::Opening);
                held.keeper.renew();
            }
            Some(_) => self.replace_device(),
        }
    }

    fn open_device(&mut self) {
        let Some(options) = self.wanted_device().cloned() else { return };
        let status = DeviceStatus {
            name: options.device.clone().unwrap_or_default(),
            state: DeviceState::Opening,
            since: Timestamp::now(),
            addresses: Vec::new(),
        };
        match self.start_keeper(options.clone()) {
            Ok(keeper) => self.device = Some(Held::new(keeper, options, status)),
            Err(error) => self.fail_device(&error),
        }
    }

    fn start_keeper(&self, options: TunOptions) -> Result<Keeper, Error> {
        let (open, name, names) = (Arc::clone(&self.context.devices), self.plan.name.clone(), self.names.clone());
        Keeper::start(move || open(&options, &name, &names))
    }

    /// The mark of the tunnels' datagrams. A tunnel that has one keeps it: without a device it does no harm.
    pub(super) fn mark(&mut self) -> Option<u32> {
        self.marked = self.wanted_device().and_then(up::mark).or(self.marked);
        self.marked
    }

    /// The configuration is another one now.
    pub(super) fn change_device(&mut self) {
        let lives = matches!(self.machine.state(), State::Connecting | State::Connected | State::Reconnecting);
        let wanted = self.wanted_device().cloned();
        match &mut self.device {
            None if lives => self.open_device(),
            None => {}
            Some(held) if held.ending => held.again = lives && wanted.is_some(),
            Some(held) if Some(&held.options) == wanted.as_ref() => held.keeper.know(&self.plan.gateways),
            Some(_) if lives => self.replace_device(),
            // What it blocks stays blocked until somebody connects.
            Some(held) if wanted.is_some_and(|wanted| takes_over(&held.options, &wanted)) => {}
            Some(_) => self.end_device(),
        }
    }

    /// One after the other; at once, if what the first blocks is to stay so: there is always somebody who can undo it.
    fn replace_device(&mut self) {
        let wanted = self.wanted_device().cloned();
        let redundant = self.running.as_ref().map(|running| running.redundant.clone());
        let Some(held) = &mut self.device else { return };
        if let Some(wanted) = wanted.as_ref().filter(|wanted| !held.ending && takes_over(&held.options, wanted)) {
            held.options = wanted.clone();
            held.replacing += 1;
            held.is(DeviceState::Opening);
            held.keeper.replace(redundant, wanted.clone());
            return;
        }
        self.end_device();
        if let Some(held) = &mut self.device {
            held.again = wanted.is_some();
        }
    }

    /// Removes the device, and undoes everything.
    pub(super) fn end_device(&mut self) {
        let Some(held) = &mut self.device else { return };
        held.again = false;
        if std::mem::replace(&mut held.ending, true) {
            return;
        }
        held.keeper.undo(self.running.as_ref().map(|running| running.redundant.clone()));
    }

    /// Nothing is tried any more by itself: what fails closed stays closed.
    pub(super) fn rest_device(&mut self) {
        let Some(held) = self.device.as_mut().filter(|held| !held.ending) else { return };
        held.keeper.rest(self.running.as_ref().map(|running| running.redundant.clone()));
    }

    /// Makes the machine fit what the gateways do.
    pub(super) fn follow_device(&mut self) {
        let (Some(held), Some(running)) = (&mut self.device, &self.running) else { return };
        let made = !matches!(held.status.state, DeviceState::Opening) && !held.ending;
        if made && self.machine.state() != State::Failed {
            held.keeper.follow(running.redundant.status());
        }
    }

    /// Somebody has taken it away.
    pub(super) fn lose_device(&mut self) {
        if let Some(held) = self.device.as_ref().filter(|held| !held.ending) {
            self.fail_device(&up::lost(&held.status.name));
        }
    }

    pub(super) fn on_told(&mut self, told: Told) {
        match told {
            Told::Opened(name) => self.on_opened(name),
            Told::Fits(None) => {}
            Told::Fits(Some(shape)) => self.on_shape(&shape),
            // It is wanted again already.
            Told::Rested { .. } if self.machine.state() == State::Connecting => {}
            Told::Rested { blocks: true } => {
                self.set_device(DeviceState::Blocked);
                tracing::warn!(
                    "what belongs in the tunnel stays blocked: `adit disconnect {}` ends that, and so does the end of the process",
                    self.plan.name
                );
            }
            Told::Rested { blocks: false } => self.end_device(),
            Told::Replaced(done) => {
                if let Some(held) = &mut self.device {
                    held.replacing = held.replacing.saturating_sub(1);
                }
                match done {
                    Ok(name) => self.on_opened(name),
                    Err(error) => self.on_device_failed(&error),
                }
            }
            Told::Failed(error) => self.on_device_failed(&error),
            Told::Gone => self.on_gone(),
            Told::Lost(error) => {
                let (ending, replacing) =
                    self.device.as_ref().map_or((false, false), |held| (held.ending, held.replacing > 0));
                if ending {
                    tracing::warn!("not everything is undone: {error}");
                    self.on_gone();
                } else {
                    self.device = None;
                    if replacing { self.open_device() } else { self.fail_device(&error) }
                }
            }
        }
    }

    /// The one that takes its place may be had all the same.
    fn on_device_failed(&mut self, error: &Error) {
        match &self.device {
            Some(held) if held.replacing > 0 => {
                tracing::warn!(hint = error.hint_text(), "the device: {}", error.message());
            }
            _ => self.fail_device(error),
        }
    }

    fn on_opened(&mut self, name: String) {
        if let Some(held) = &mut self.device {
            held.status.name = name;
            held.is(DeviceState::Down);
        }
        if self.running.is_none() && self.machine.state() == State::Connecting {
            self.start_gateways();
        }
        if let (Some(held), Some(running)) = (&mut self.device, &self.running) {
            held.keeper.attach(&running.redundant, &self.plan.gateways);
        }
        self.follow_device();
    }

    fn on_shape(&mut self, shape: &Shape) {
        let Some(held) = &mut self.device else { return };
        let addresses: Vec<String> = shape.network.addresses.iter().map(ToString::to_string).collect();
        let state = match (shape.up, held.options.fail_closed) {
            (true, _) => DeviceState::Up,
            (false, true) => DeviceState::Blocked,
            (false, false) => DeviceState::Down,
        };
        let (news, name) = (shape.first || held.status.addresses != addresses, held.status.name.clone());
        held.is(state);
        held.status.addresses.clone_from(&addresses);
        if news {
            let text = format!("{name} {}", addresses.join(" "));
            tracing::info!("up {text}");
            self.note(Entry::new(Kind::Device, By::Program).reason(text));
        }
    }

    fn set_device(&mut self, state: DeviceState) {
        if let Some(held) = &mut self.device {
            held.is(state);
            held.status.addresses.clear();
        }
    }

    fn on_gone(&mut self) {
        let Some(held) = self.device.take() else { return };
        if !held.status.name.is_empty() {
            let text = format!("{} removed", held.status.name);
            tracing::info!("{text}");
            self.note(Entry::new(Kind::Device, By::Program).reason(text));
        }
        // Connected again meanwhile, whatever has been read since.
        let waits = self.running.is_none() && self.machine.state() == State::Connecting;
        if (held.again || waits) && self.wanted_device().is_some() {
            return self.open_device();
        }
        if waits {
            // It is wanted without a device by now.
            return self.start_gateways();
        }
        self.after_device();
    }

    /// A connection that is to have a device has nothing without one.
    fn fail_device(&mut self, error: &Error) {
        if self.machine.on(Trigger::GaveUp).is_none() {
            return tracing::warn!(hint = error.hint_text(), "the device: {}", error.message());
        }
        self.lacked_device = true;
        lock(&self.view).on_device_failed(error);
        self.note(Entry::new(Kind::Failed, By::Program).reason(format!("{error}; gave up")));
        let hint = error.hint_text();
        tracing::error!(
            hint,
            "no device, and so no connection: {}; `adit connect {}` tries again",
            error.message(),
            self.plan.name
        );
        self.rest_device();
        self.running = None;
        self.end(Ended::Failed(Arc::new(error.clone())));
    }
}

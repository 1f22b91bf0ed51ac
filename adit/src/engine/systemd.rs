//! What systemd is told, where it has started us: sd_notify(3). Elsewhere nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Everything is started.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read; [`ready`] follows in any case. With the time, as `Type=notify-reload` wants it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("no monotonic clock: {error}"),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("live connections may end, then goodbye to the gateways")]);
}

pub(super) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// How often the watchdog wants to hear of us, if there is one: at half of its time.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

/// The main loop turns.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

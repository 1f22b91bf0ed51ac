//! Where there is no systemd, nobody is told.

use std::time::Duration;

pub(super) fn ready(_: &str) {}

pub(super) fn reloading() {}

pub(super) fn stopping() {}

pub(super) fn status(_: &str) {}

pub(super) fn watchdog() -> Option<Duration> {
    None
}

pub(super) fn alive() {}

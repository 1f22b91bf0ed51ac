//! The terminal's settings: what is typed is hidden while a secret is asked for, and whatever happens, it shows again
//! afterwards.

#[cfg(unix)]
use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

#[cfg(unix)]
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};

/// As they were at the start; `None` where there is no terminal.
#[cfg(unix)]
static SAVED: OnceLock<Option<Termios>> = OnceLock::new();
/// They may be different now. Only then are they put back: a process in the background that touches them is stopped.
#[cfg(unix)]
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Puts the settings of the terminal back when dropped: a question for a password may be open then, and would leave the
/// terminal without echo.
pub(crate) struct Terminal(());

impl Terminal {
    pub(crate) fn save() -> Self {
        #[cfg(unix)]
        SAVED.get_or_init(|| tcgetattr(io::stdin()).ok());
        Self(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Before a question: forgets what was typed before it, for that was no answer to it, and hides what is typed from now on,
/// unless it may be seen.
#[cfg(unix)]
pub(crate) fn prepare(echo: bool) {
    let Some(saved) = SAVED.get().and_then(Option::as_ref) else { return };
    CHANGED.store(true, Relaxed);
    let mut wanted = saved.clone();
    if !echo {
        wanted.local_modes.remove(LocalModes::ECHO);
        wanted.local_modes.insert(LocalModes::ECHONL);
    }
    let set = tcflush(io::stdin(), QueueSelector::IFlush)
        .and_then(|()| tcsetattr(io::stdin(), OptionalActions::Now, &wanted));
    if let Err(error) = set {
        tracing::warn!("the terminal shows what is typed: {error}");
    }
}

#[cfg(not(unix))]
pub(crate) fn prepare(_: bool) {}

/// Puts the settings back, where they were changed.
#[cfg(unix)]
pub(crate) fn restore() {
    if CHANGED.swap(false, Relaxed)
        && let Some(saved) = SAVED.get().and_then(Option::as_ref)
        && let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, saved)
    {
        tracing::debug!("the terminal keeps its settings: {error}");
    }
}

#[cfg(not(unix))]
pub(crate) fn restore() {}

/// Somebody else changes the settings, and puts them back unless the process ends first.
pub(crate) struct Changed(());

impl Changed {
    pub(crate) fn note() -> Self {
        #[cfg(unix)]
        CHANGED.store(true, Relaxed);
        Self(())
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        #[cfg(unix)]
        CHANGED.store(false, Relaxed);
    }
}

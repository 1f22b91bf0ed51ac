//! The terminal's settings: whatever happens, it echoes again afterwards.

/// Puts the settings of the terminal back when dropped: a question for a password may be open then, and would leave the
/// terminal without echo.
pub(crate) struct Terminal {
    #[cfg(unix)]
    saved: Option<rustix::termios::Termios>,
}

impl Terminal {
    #[cfg(unix)]
    pub(crate) fn save() -> Self {
        Self { saved: rustix::termios::tcgetattr(std::io::stdin()).ok() }
    }

    #[cfg(not(unix))]
    pub(crate) fn save() -> Self {
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Terminal {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(saved) = &self.saved
            && let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, saved)
        {
            tracing::debug!("the terminal keeps its settings: {error}");
        }
    }
}

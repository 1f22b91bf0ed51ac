//! What ends the program from outside.

use crate::error::{Error, Exit};

/// Ctrl-C and, where they exist, SIGTERM and SIGHUP, which the end of a terminal brings.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// None where whoever started us has us outlive the terminal.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

/// What a signal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    End(Exit),
    /// To read the configuration again.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there is no signal for it"))]
    Reload,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn new() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| Error::new(Exit::Other, format!("signals: {error}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup()).map_err(failed)?) };
        Ok(Self { interrupt, terminate, hangup })
    }

    /// The next signal that ends the program: each of them does.
    pub(crate) async fn next(&mut self) -> Exit {
        match self.next_told().await {
            Told::End(exit) => exit,
            Told::Reload => Exit::Ok,
        }
    }

    /// The next signal that ends the program, where SIGHUP does not; that one is passed over.
    pub(crate) async fn next_end(&mut self) -> Exit {
        loop {
            if let Told::End(exit) = self.next_told().await {
                return exit;
            }
        }
    }

    /// The next signal, where SIGHUP does not end the program.
    #[cfg(unix)]
    pub(crate) async fn next_told(&mut self) -> Told {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Told::End(Exit::Interrupted),
            Some(()) = self.terminate.recv() => Told::End(Exit::Ok),
            Some(()) = async { self.hangup.as_mut()?.recv().await } => Told::Reload,
            else => std::future::pending().await,
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(crate) async fn next_told(&mut self) -> Told {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Told::End(Exit::Interrupted),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Whether we were started with SIGHUP ignored, as by `nohup`: listening to it would undo that. Known on Linux alone, from the
/// mask in proc_pid_status(5), where bit 0 is signal 1.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

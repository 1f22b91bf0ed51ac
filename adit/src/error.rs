//! Errors of one line, and the exit codes that go with them.

use std::fmt;

use adit_driver::{Failure, FailureKind, Stage};

/// How the program ended: its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It did what it was asked, until SIGTERM or SIGHUP.
    Ok,
    /// Something else.
    Other,
    /// The command line, the configuration or a secret cannot be used.
    Usage,
    /// A gateway's name has no address, no gateway answered, or it broke off before the tunnel was up.
    Unreachable,
    /// The gateway could not prove who it is.
    PeerNotAuthenticated,
    /// The gateway did not accept our proof, or its question was not answered.
    AuthFailed,
    /// No algorithm, method or network in common.
    NoAgreement,
    /// A local address or port cannot be used.
    LocalSocket,
    /// The tunnel was up and has ended for good, or was lost and did not come back.
    Lost,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    #[cfg(unix)]
    const FAILURES: [Self; 9] = [
        Self::Other,
        Self::Usage,
        Self::Unreachable,
        Self::PeerNotAuthenticated,
        Self::AuthFailed,
        Self::NoAgreement,
        Self::LocalSocket,
        Self::Lost,
        Self::Interrupted,
    ];

    /// The failure that has this code.
    #[cfg(unix)]
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        Self::FAILURES.into_iter().find(|exit| exit.code() == code)
    }

    /// The exit code of the process.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Ok => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::PeerNotAuthenticated => 4,
            Self::AuthFailed => 5,
            Self::NoAgreement => 6,
            Self::LocalSocket => 7,
            Self::Lost => 8,
            Self::Interrupted => 130,
        }
    }
}

/// Why the program ended; shown as one line with what can be done about it.
#[derive(Debug, Clone)]
pub struct Error {
    exit: Exit,
    /// Where what is wrong stands, such as a file and a line of it.
    place: Option<String>,
    message: String,
    hint: Option<String>,
}

impl Error {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, place: None, message: one_line(&message.to_string()), hint: None }
    }

    /// Something in the configuration cannot be used, and this is where it stands.
    pub(crate) fn at(place: &str, problem: impl fmt::Display) -> Self {
        Self { place: Some(one_line(place)), ..Self::new(Exit::Usage, problem) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where what is wrong stands.
    pub(crate) fn within(mut self, place: &str) -> Self {
        if let Some(inner) = self.place.replace(one_line(place)) {
            self.message = format!("{inner}: {}", self.message);
        }
        self
    }

    /// The exit code that goes with it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened, after its place.
    pub(crate) fn message(&self) -> String {
        match &self.place {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        }
    }

    pub(crate) fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What happened, without its place.
    pub(crate) fn problem(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let exit = match failure.kind() {
            FailureKind::Configuration => Exit::Usage,
            FailureKind::PeerNotAuthenticated => Exit::PeerNotAuthenticated,
            FailureKind::AuthFailed => Exit::AuthFailed,
            FailureKind::Closed => Exit::Ok,
            _ if failure.was_up() => Exit::Lost,
            FailureKind::Resolve
            | FailureKind::Unreachable
            | FailureKind::Disconnected
            | FailureKind::PeerClosed
            | FailureKind::PeerMisbehaved => Exit::Unreachable,
            FailureKind::NoAgreement => Exit::NoAgreement,
            FailureKind::LocalSocket => Exit::LocalSocket,
            FailureKind::Internal => Exit::Other,
        };
        let error = Self::new(exit, described(&failure));
        match failure.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What happened, without what can be done about it; a line.
pub(crate) fn described(failure: &Failure) -> String {
    let reason = failure.reason();
    let to = failure.remote().map_or(String::new(), |remote| format!(" to {remote}"));
    one_line(&match (failure.kind(), failure.stage()) {
        (FailureKind::Configuration, _) => format!("this configuration cannot work: {reason}"),
        (FailureKind::Closed, _) => format!("the tunnel{to} was closed"),
        (_, Stage::Up) => format!("the tunnel{to} ended: {reason}"),
        (_, Stage::Reconnecting) => format!("the tunnel was lost and did not come back: {failure}"),
        (FailureKind::Resolve, Stage::Connecting) => format!("cannot resolve {failure}"),
        (_, Stage::Connecting) => format!("no tunnel{to}: {reason}"),
    })
}

/// A kind of failure in one word, for machines.
pub(crate) const fn code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Configuration => "configuration",
        FailureKind::Resolve => "resolve",
        FailureKind::Unreachable => "unreachable",
        FailureKind::PeerNotAuthenticated => "peer_not_authenticated",
        FailureKind::AuthFailed => "auth_failed",
        FailureKind::NoAgreement => "no_agreement",
        FailureKind::LocalSocket => "local_socket",
        FailureKind::PeerClosed => "peer_closed",
        FailureKind::Disconnected => "disconnected",
        FailureKind::PeerMisbehaved => "peer_misbehaved",
        FailureKind::Closed => "closed",
        FailureKind::Internal => "internal",
    }
}

/// Whatever a message quotes, it stays on its line.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_hint() {
        let error = Error::new(Exit::Usage, "bad\n  thing\r\n").hint("do something else");
        assert_eq!(error.to_string(), "bad; thing; hint: do something else");
        assert_eq!(error.exit().code(), 2);
    }
}

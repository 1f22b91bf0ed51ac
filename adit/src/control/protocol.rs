//! What is said over the control socket.

use serde::{Deserialize, Serialize};

use crate::{
    activity::Entry,
    error::{Error, Exit},
    status::{ProcessStatus, Readiness},
};

/// What is asked of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub(crate) enum Request {
    /// The state of everything, once.
    Status,
    /// The same, and again at every change.
    Watch,
    Connect {
        connection: String,
    },
    Disconnect {
        connection: String,
    },
    /// Ends an attempt to connect.
    Cancel {
        connection: String,
    },
    /// Reads the configuration again.
    Reload,
    /// The activity log.
    Log {
        #[serde(default)]
        connection: Option<String>,
        /// Latest entries to begin with.
        #[serde(default = "lines")]
        lines: usize,
        /// And those that come from now on.
        #[serde(default)]
        follow: bool,
    },
    /// Whether everything, one connection or one forward can be used.
    Ready {
        #[serde(default)]
        connection: Option<String>,
        #[serde(default)]
        forward: Option<String>,
    },
    Version,
}

fn lines() -> usize {
    20
}

/// What the process answers: one for each request, but for `watch` and a `log` that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// What `adit` ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<ProcessStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entries: Option<Vec<Entry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) readiness: Option<Readiness>,
}

impl Answer {
    const OK: Self = Self {
        ok: true,
        error: None,
        hint: None,
        exit_code: None,
        message: None,
        version: None,
        status: None,
        entries: None,
        readiness: None,
    };

    pub(crate) fn done(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::OK }
    }

    pub(crate) fn version() -> Self {
        Self { version: Some(env!("CARGO_PKG_VERSION").to_owned()), ..Self::OK }
    }

    pub(crate) fn status(status: ProcessStatus) -> Self {
        Self { status: Some(status), ..Self::OK }
    }

    pub(crate) fn entries(entries: Vec<Entry>) -> Self {
        Self { entries: Some(entries), ..Self::OK }
    }

    pub(crate) fn readiness(readiness: Readiness) -> Self {
        Self { readiness: Some(readiness), ..Self::OK }
    }

    pub(crate) fn failed(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { ok: false, error: Some(error.message()), hint, exit_code: Some(error.exit().code()), ..Self::OK }
    }

    /// What was answered, or why it was not done.
    pub(crate) fn into_result(self) -> Result<Self, Error> {
        if self.ok {
            return Ok(self);
        }
        let exit = self.exit_code.and_then(Exit::of_code).unwrap_or(Exit::Other);
        let error = Error::new(exit, self.error.as_deref().unwrap_or("refused without a reason"));
        Err(match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }
}

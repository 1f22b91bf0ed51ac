//! One line of the activity log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::status::Timestamp;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A connection is there, and was not before.
    Created,
    /// Its configuration is another one.
    Edited,
    Connecting,
    Connected,
    /// An attempt failed.
    Failed,
    /// Another gateway takes over.
    Switched,
    /// A tunnel is up again.
    Restored,
    Disconnected,
    /// Somebody had enough of an attempt.
    Cancelled,
    /// Its device has other addresses, or is gone.
    Device,
    /// A connection is no longer there.
    Deleted,
    /// The configuration was read again.
    Reloaded,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Edited => "edited",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Failed => "failed",
            Self::Switched => "switched",
            Self::Restored => "restored",
            Self::Disconnected => "disconnected",
            Self::Cancelled => "cancelled",
            Self::Device => "device",
            Self::Deleted => "deleted",
            Self::Reloaded => "reloaded",
        }
    }
}

/// By whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody at the control socket: user id, and name where it is known.
    User(u32, Option<String>),
    Signal,
    /// Nobody told it to: autostart, a reconnect, a changed file.
    Program,
    Gateway,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(_, Some(name)) => write!(f, "user {name}"),
            Self::User(id, None) => write!(f, "uid {id}"),
            Self::Signal => f.write_str("signal"),
            Self::Program => f.write_str("program"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
    /// `None`: it is about the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<String>,
    pub(crate) by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl Entry {
    pub(crate) fn new(kind: Kind, by: By) -> Self {
        let by = by.to_string();
        Self { at: Timestamp::now(), kind, connection: None, gateway: None, by, reason: None }
    }

    pub(crate) fn connection(mut self, name: &str) -> Self {
        self.connection = Some(name.to_owned());
        self
    }

    pub(crate) fn gateway(mut self, name: impl Into<Option<String>>) -> Self {
        self.gateway = name.into();
        self
    }

    pub(crate) fn reason(mut self, reason: impl fmt::Display) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    /// Whether it is about this connection; every one is about all.
    pub(crate) fn is_about(&self, connection: Option<&str>) -> bool {
        connection.is_none_or(|name| self.connection.as_deref() == Some(name))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection.as_deref().unwrap_or("-");
        write!(f, "{}  {connection}  {}", self.at, self.kind.name())?;
        if let Some(gateway) = &self.gateway {
            write!(f, "  gateway {}", gateway.escape_debug())?;
        }
        write!(f, "  by {}", self.by.escape_debug())?;
        if let Some(reason) = &self.reason {
            // It may quote what a gateway said.
            write!(f, "  {}", reason.escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_however_it_is_shown() {
        let entry = Entry::new(Kind::Failed, By::Gateway).connection("a").reason("no\nand\x1b[31m no");
        assert_eq!(entry.to_string().lines().count(), 1);
        assert!(!entry.to_string().contains('\x1b'));
        assert_eq!(serde_json::to_string(&entry).unwrap().lines().count(), 1);
    }

    #[test]
    fn who_did_it_is_named_if_possible() {
        let by = |by| Entry::new(Kind::Disconnected, by).by;
        assert_eq!(by(By::User(1000, Some("alice".to_owned()))), "user alice");
        assert_eq!(by(By::User(1000, None)), "uid 1000");
        assert_eq!(by(By::Signal), "signal");
    }
}

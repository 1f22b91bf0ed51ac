//! What becomes of a pushed option that was not used.

use std::{borrow::Cow, fmt};

/// A pushed option that was not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionNote {
    /// The option, fit to be shown: short, without control characters, without secrets.
    pub(crate) option: String,
    /// Why it was not used.
    pub(crate) reason: NoteReason,
}

/// Why a pushed option was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoteReason {
    /// A `pull-filter ignore` matched.
    #[error("left out by `pull-filter`")]
    Filtered,
    /// It is a route or about DNS.
    #[error("left out by `route-nopull`")]
    RouteNopull,
    /// A server has no say in it.
    #[error("a server may not push it")]
    NotPushable,
    /// Nobody knows it.
    #[error("unknown")]
    Unknown,
    /// Its values make no sense.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// We do not do that.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// There are enough of them.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are used.
        limit: usize,
    },
}

/// Why pushed options end the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    /// A `pull-filter reject` matched.
    #[error("the server pushed `{option}`, which `pull-filter reject` forbids")]
    Rejected {
        /// The option.
        option: String,
    },
    /// An option that cannot be left out makes no sense.
    #[error("the option `{option}` cannot be used: {reason}")]
    Malformed {
        /// The option.
        option: String,
        /// What is wrong.
        reason: Cow<'static, str>,
    },
    /// More options than any server needs.
    #[error("the server pushed more than {limit} options")]
    TooManyOptions {
        /// How many are accepted.
        limit: usize,
    },
}

impl OptionNote {
    pub(super) fn new(line: &str, reason: NoteReason) -> Self {
        Self { option: printable(line), reason }
    }
}

impl fmt::Display for OptionNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pushed option `{}` is not used: {}", self.option, self.reason)
    }
}

/// The option, fit to be shown.
pub(super) fn printable(line: &str) -> String {
    let line = line.trim();
    let name = line.split_ascii_whitespace().next().unwrap_or_default();
    // Tokens are passwords. The name may be quoted, so whatever begins like one is hidden.
    let shown = if line.contains("auth-token") { name } else { line };
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let mut text: String = shown.chars().map(clean).take(MAX_SHOWN).collect();
    if shown.chars().nth(MAX_SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// Characters of an option that are shown; our own judgement.
const MAX_SHOWN: usize = 100;

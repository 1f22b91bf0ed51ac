//! What becomes of each line of a profile.

use std::{borrow::Cow, fmt};

/// What becomes of one directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does what it does in OpenVPN.
    Applied,
    /// It is about something that does not exist here, and nobody will miss it.
    Harmless,
    /// It is ignored, and something is lost by that: this.
    Lossy(Cow<'static, str>),
    /// The profile cannot be used as long as it stands there: why, and what to do.
    Refused(Cow<'static, str>),
}

/// What became of one line, or of one inline block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectiveOutcome {
    /// The line, counted from 1; of a block, where it begins.
    pub line: usize,
    /// The name of the directive. Its values are left out, for some are secrets.
    pub directive: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// One reason why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The line, counted from 1; `None` when something is missing as a whole.
    pub line: Option<usize>,
    /// The name of the directive, empty when something is missing as a whole.
    pub directive: String,
    /// Why, and what to do.
    pub reason: Cow<'static, str>,
}

impl Refusal {
    /// Whether the cure it names is to remove the directive, be it that nothing needs it, or that only a tunnel without is possible.
    #[must_use]
    pub fn is_cured_by_removal(&self) -> bool {
        self.line.is_some() && !self.directive.is_empty() && self.reason.to_lowercase().contains("remove it")
    }
}

/// Why a profile cannot be used: one reason or more, in the order of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileError {
    refusals: Vec<Refusal>,
}

impl ProfileError {
    pub(super) fn new(refusals: Vec<Refusal>) -> Self {
        Self { refusals }
    }

    /// Every reason.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) if self.directive.is_empty() => write!(f, "line {line}: {}", self.reason),
            Some(line) => write!(f, "line {line}: `{}`: {}", self.directive, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// One line; further reasons are only counted.
impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.refusals.split_first() else { return f.write_str("the profile cannot be used") };
        write!(f, "{first}")?;
        match rest.len() {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl std::error::Error for ProfileError {}

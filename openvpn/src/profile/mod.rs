//! `.ovpn` profiles.
//!
//! Every directive that OpenVPN 2.6 knows has an [`Outcome`]; all of them stand in one table. What changes the wire format
//! or security is never ignored: it is applied, or the profile is refused with the line and what to do.

mod apply;
mod draft;
pub(crate) mod lexer;
mod outcome;
mod secrets;
mod source;
mod table;

use std::borrow::Cow;

use self::{
    apply::Context,
    draft::{Connection, Draft, Trouble},
    source::Content,
};
pub use self::{
    outcome::{DirectiveOutcome, Outcome, ProfileError, Refusal},
    secrets::{CredentialsWanted, IntoConfigError, Secrets},
};
use crate::config::Remote;

/// A profile that can be used once the secrets that are not in it are known.
#[derive(Debug, Clone)]
pub struct Profile {
    draft: Draft,
    remotes: Vec<Remote>,
    outcomes: Vec<DirectiveOutcome>,
}

/// Gives the content of a file that a profile names, by its path as written there.
pub type Load<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>;

impl Profile {
    /// Reads a profile. Files it names come from `load`, whose error is shown behind "cannot be read".
    ///
    /// # Errors
    /// [`ProfileError`] with every line that is refused, and what to do about it.
    pub fn parse(text: impl AsRef<[u8]>, load: Load<'_>) -> Result<Self, ProfileError> {
        let text = text.as_ref();
        if text.len() > MAX_PROFILE_BYTES {
            let reason = format!("the profile is larger than {MAX_PROFILE_BYTES} bytes; it is something else");
            let refusal = Refusal { line: None, directive: String::new(), reason: reason.into() };
            return Err(ProfileError::new(vec![refusal]));
        }
        let items = source::items(text);
        let push_peer_info = items.iter().any(|item| match &item.content {
            Content::Words(words) => words.first().is_some_and(|word| word == "push-peer-info"),
            Content::Block { .. } | Content::Unreadable(_) | Content::NotText(_) | Content::Unsplit { .. } => false,
        });
        let mut reader = Reader {
            draft: Draft::new(),
            global: Connection::new(),
            outcomes: Vec::new(),
            load,
            push_peer_info,
            files: 0,
            refusals: 0,
            not_text: None,
        };
        for item in items {
            reader.item(item.line, item.content, None);
        }
        reader.finish()
    }

    /// What became of each line, in their order.
    #[must_use]
    pub fn outcomes(&self) -> &[DirectiveOutcome] {
        &self.outcomes
    }

    /// The gateways.
    #[must_use]
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// What is lost, a sentence each, for a person to read. [`crate::Config::warnings`] has more.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let lossy = |outcome: &DirectiveOutcome| match &outcome.outcome {
            Outcome::Lossy(loss) => Some(format!("line {}: `{}` is ignored: {loss}", outcome.line, outcome.directive)),
            Outcome::Applied | Outcome::Harmless | Outcome::Refused(_) => None,
        };
        self.outcomes.iter().filter_map(lossy).collect()
    }
}

/// Reads items one after the other.
struct Reader<'a> {
    draft: Draft,
    global: Connection,
    outcomes: Vec<DirectiveOutcome>,
    load: Load<'a>,
    push_peer_info: bool,
    /// Files loaded so far.
    files: usize,
    /// Lines refused so far.
    refusals: usize,
    /// A line that is no text, and what it is.
    not_text: Option<(usize, &'static str)>,
}

impl Reader<'_> {
    /// Reads one item; `block` is the `<connection>` block it stands in.
    fn item(&mut self, line: usize, content: Content<'_>, block: Option<&mut Connection>) {
        if self.refusals > MAX_REFUSALS || self.not_text.is_some() {
            return;
        }
        if self.refusals == MAX_REFUSALS {
            let reason = format!("nothing is read from here on, for {MAX_REFUSALS} lines were refused");
            self.record(line, String::new(), refused(reason));
            return;
        }
        match content {
            Content::Words(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let Some((name, arguments)) = words.split_first() else { return };
                let outcome = self.directive(name, arguments, None, block);
                self.record(line, shown_name(name), outcome);
            }
            Content::Block { name, content } if name == "connection" => match block {
                None => self.connection(line, content),
                Some(_) => self.record(line, name, refused("it cannot stand in another `<connection>` block")),
            },
            Content::Block { name, content } => {
                let outcome = self.directive(&name, &[], Some(content), block);
                self.record(line, shown_name(&name), outcome);
            }
            Content::Unreadable(reason) => self.record(line, String::new(), refused(reason)),
            Content::NotText(what) => self.not_text = Some((line, what)),
            Content::Unsplit { name, error } => self.record(line, shown_name(&name), refused(error.to_string())),
        }
    }

    fn connection(&mut self, line: usize, content: &[u8]) {
        let mut block = self.global.for_block();
        let before = self.outcomes.len();
        for item in source::items(content) {
            self.item(line + item.line, item.content, Some(&mut block));
        }
        let outcome = if block.remotes.is_empty() {
            refused("it has no `remote`; add one, or remove the block")
        } else if self.draft.blocks.len() == MAX_REMOTES {
            refused(format!("there are more than {MAX_REMOTES} gateways"))
        } else {
            self.draft.blocks.push(block);
            Outcome::Applied
        };
        self.refusals += usize::from(matches!(outcome, Outcome::Refused(_)));
        self.outcomes.insert(before, DirectiveOutcome { line, directive: "connection".to_owned(), outcome });
    }

    fn directive(
        &mut self,
        name: &str,
        arguments: &[&str],
        inline: Option<&[u8]>,
        block: Option<&mut Connection>,
    ) -> Outcome {
        if (name, arguments.first()) == ("setenv", Some(&"opt")) {
            return match arguments.get(1..).and_then(<[_]>::split_first) {
                None => Outcome::Harmless,
                Some((name, _)) if table::find(name).is_none() => {
                    Outcome::Lossy("the directive behind `setenv opt` is unknown".into())
                }
                Some((name, arguments)) => self.directive(name, arguments, None, block),
            };
        }
        let Some(directive) = table::find(name) else { return self.unknown(name) };
        if block.is_some() && !directive.in_connection {
            return refused("it cannot stand in a `<connection>` block; move it out");
        }
        if inline.is_some() && !directive.inline {
            return refused("it cannot be an inline block; write it on one line");
        }
        let in_block = block.is_some();
        let mut cx = Context {
            name,
            draft: &mut self.draft,
            connection: block.unwrap_or(&mut self.global),
            in_block,
            inline,
            load: &mut *self.load,
            files: &mut self.files,
            push_peer_info: self.push_peer_info,
        };
        directive.rule.outcome(&mut cx, arguments)
    }

    fn unknown(&self, name: &str) -> Outcome {
        if self.draft.forward_compatible || self.draft.ignorable.contains(name) {
            return Outcome::Lossy("it is unknown".into());
        }
        if name.starts_with('<') {
            return refused("this line opens or closes an inline block, but there is none; remove it");
        }
        match table::nearest(name) {
            Some(nearest) => refused(format!("unknown; is `{nearest}` meant? Else remove it")),
            None => refused("unknown; remove it, or write `ignore-unknown-option` with its name before it"),
        }
    }

    fn record(&mut self, line: usize, directive: String, outcome: Outcome) {
        self.refusals += usize::from(matches!(outcome, Outcome::Refused(_)));
        self.outcomes.push(DirectiveOutcome { line, directive, outcome });
    }

    fn finish(mut self) -> Result<Profile, ProfileError> {
        // What was refused before it was hardly meant as a directive.
        if let Some((line, what)) = self.not_text {
            let refusal = Refusal { line: Some(line), directive: String::new(), reason: what.into() };
            return Err(ProfileError::new(vec![refusal]));
        }
        let refusal = |outcome: &DirectiveOutcome| match &outcome.outcome {
            Outcome::Refused(reason) => {
                Some(Refusal { line: Some(outcome.line), directive: outcome.directive.clone(), reason: reason.clone() })
            }
            Outcome::Applied | Outcome::Harmless | Outcome::Lossy(_) => None,
        };
        let mut refusals: Vec<Refusal> = self.outcomes.iter().filter_map(refusal).collect();
        let (remotes, missing) = self.draft.finish(&self.global);
        // What was refused may be what is missing, and a line without a name may be anything.
        let may_be = |refusal: &Refusal, directives: &[&str]| {
            let name = refusal.directive.as_str();
            let meant = table::find(name).map(|found| found.name).or_else(|| table::nearest(name));
            refusal.line.is_some() && meant.map_or(name.is_empty(), |meant| directives.contains(&meant))
        };
        let cut_short = self.refusals > MAX_REFUSALS;
        let certain = |(_, directives): &(Refusal, &[&str])| {
            !cut_short && !refusals.iter().any(|refusal| may_be(refusal, directives))
        };
        let missing: Vec<Refusal> = missing.into_iter().filter(certain).map(|(refusal, _)| refusal).collect();
        refusals.extend(missing);
        if refusals.is_empty() {
            Ok(Profile { draft: self.draft, remotes, outcomes: self.outcomes })
        } else {
            Err(ProfileError::new(refusals))
        }
    }
}

/// Whether OpenVPN 2.6 knows a directive of this name.
pub(crate) fn is_directive(name: &str) -> bool {
    table::find(name).is_some()
}

/// The table of directives as rows of name, outcome and explanation, for documents.
#[doc(hidden)]
pub fn directives() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    table::TABLE.iter().map(|directive| {
        let (outcome, text) = directive.rule.summary();
        (directive.name, outcome, text)
    })
}

fn refused(reason: impl Into<Trouble>) -> Outcome {
    Outcome::Refused(reason.into())
}

/// A name fit to be shown; nothing, if it cannot be a name: it may be a line of a key whose block is not marked.
fn shown_name(name: &str) -> String {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '<' | '>' | '/');
    if name.len() <= 40 && name.chars().all(fine) { name.to_owned() } else { String::new() }
}

impl From<Trouble> for Outcome {
    fn from(reason: Cow<'static, str>) -> Self {
        Self::Refused(reason)
    }
}

/// Largest profile in bytes. The largest of 7310 profiles of providers has 11 kB; OpenVPN 3 allows 256 KiB. Our judgement.
const MAX_PROFILE_BYTES: usize = 1024 * 1024;

/// Lines after so many refused ones are not read: who has to mend more starts elsewhere; our judgement.
const MAX_REFUSALS: usize = 10;

/// Most gateways. The most that were seen in a profile are 63; our judgement.
const MAX_REMOTES: usize = 512;

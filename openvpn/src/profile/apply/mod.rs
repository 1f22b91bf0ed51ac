//! What single directives do.

use std::{borrow::Cow, time::Duration};

use adit_tunnel::Secret;

use super::{
    draft::{Connection, Draft, Trouble},
    outcome::Outcome,
};
use crate::options::parse::{number, one};

pub(super) mod connection;
pub(super) mod identity;
pub(super) mod network;
pub(super) mod session;
pub(super) mod tls;

/// What a directive can read and change.
pub(super) struct Context<'a> {
    pub(super) name: &'a str,
    pub(super) draft: &'a mut Draft,
    /// The `<connection>` block the line stands in, or what applies to all.
    pub(super) connection: &'a mut Connection,
    pub(super) in_block: bool,
    /// The content, when the directive is an inline block.
    pub(super) inline: Option<&'a [u8]>,
    pub(super) load: &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    /// Files loaded so far.
    pub(super) files: &'a mut usize,
    /// `push-peer-info` stands somewhere in the profile.
    pub(super) push_peer_info: bool,
}

pub(super) type Applied = Result<Outcome, Trouble>;

const APPLIED: Applied = Ok(Outcome::Applied);
const HARMLESS: Applied = Ok(Outcome::Harmless);

impl Context<'_> {
    /// The content of the inline block, or of the file that is the first argument. `None` for `[inline]`, which announces
    /// a block.
    fn content(&mut self, arguments: &[&str]) -> Result<Option<Secret>, Trouble> {
        match (self.inline, arguments.first()) {
            (Some(inline), _) => Ok(Some(Secret::new(inline))),
            (None, Some(&"[inline]")) => Ok(None),
            (None, Some(path)) => self.file(path).map(Some),
            (None, None) => Err("the name of a file is missing".into()),
        }
    }

    fn file(&mut self, path: &str) -> Result<Secret, Trouble> {
        *self.files += 1;
        if *self.files > MAX_FILES {
            return Err(format!("the profile names more than {MAX_FILES} files").into());
        }
        let content = (self.load)(path).map(Secret::new);
        let content = content.map_err(|error| format!("`{}` cannot be read: {}", clean(path), clean(&error)))?;
        if content.expose().len() > MAX_FILE_BYTES {
            return Err(format!("`{}` is larger than {MAX_FILE_BYTES} bytes; it is something else", clean(path)).into());
        }
        Ok(content)
    }
}

/// Text from outside, fit for one line of a message.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

fn text(content: &Secret) -> Result<&str, Trouble> {
    str::from_utf8(content.expose()).map_err(|_| "its content is not text".into())
}

/// Seconds; zero is zero.
fn seconds(arguments: &[&str]) -> Result<Duration, Trouble> {
    Ok(Duration::from_secs(number(one(arguments)?, 0..=i32::MAX as u32)?.into()))
}

fn port(word: &str) -> Result<u16, Trouble> {
    match word.parse() {
        Ok(0) | Err(_) => Err("a port is a number from 1 to 65535".into()),
        Ok(port) => Ok(port),
    }
}

fn no_arguments(arguments: &[&str]) -> Result<(), Trouble> {
    if arguments.is_empty() { Ok(()) } else { Err("it takes no values; remove them".into()) }
}

fn lossy(loss: impl Into<Cow<'static, str>>) -> Applied {
    Ok(Outcome::Lossy(loss.into()))
}

fn wrong_count() -> Trouble {
    "it has the wrong number of values".into()
}

/// Most files of a profile; our judgement.
const MAX_FILES: usize = 64;

/// Largest file a profile may name, in bytes: revocation lists of large companies fit; our judgement.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

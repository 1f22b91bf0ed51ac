//! Control messages: text inside the TLS stream, once the keys are exchanged (OpenVPN 2.6 `forward.c`, `push.c`;
//! `doc/management-notes.txt`; the wire protocol draft, "Control channel messages").
//!
//! Everything here comes from a server that has proved who it is, and may be hostile all the same.

use std::{fmt, ops::Deref, time::Duration};

use adit_tunnel::Secret;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use zeroize::Zeroizing;

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Options for the tunnel, or a part of them: give it to a [`PushAssembler`].
    PushReply(Push),
    /// Changed options.
    PushUpdate(Push),
    /// The server refuses us.
    AuthFailed(AuthFailure),
    /// The server waits for something outside, such as a second factor; for so long, if it says how long.
    AuthPending { timeout: Option<Duration> },
    /// What to do meanwhile, sent before the tunnel is up.
    InfoPre(Info),
    /// The same, sent later.
    Info(Info),
    /// Start over.
    Restart(Restart),
    /// End for good.
    Halt { message: String },
    /// The server leaves.
    Exit,
    /// What clients ask for options with; a server does not send it.
    PushRequest,
    /// Something else; its first word, for the log.
    Unknown(String),
}

/// Pushed options and whether more are to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    pub(crate) options: PushOptions,
    /// `push-continuation 2`.
    pub(crate) more: bool,
}

/// Options as the server wrote them, without `push-continuation`. May hold an auth-token: wiped on drop, and Debug
/// shows the first words only.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct PushOptions(Zeroizing<Vec<String>>);

/// Why and how the server refuses us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthFailure {
    /// For good, with a reason for people; may be empty.
    Plain(String),
    /// Our auth-token is not valid any more.
    Session(String),
    /// For now.
    Temporary { backoff: Option<Duration>, advance: Advance, message: String },
    /// The password was right so far; one more question.
    Challenge(DynamicChallenge),
}

/// Where to go after a temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Advance {
    /// To the same address again. What 2.6 does unless told otherwise (tried with 2.6.14).
    #[default]
    No,
    /// To the next address of the same gateway.
    Address,
    /// To the next gateway.
    Remote,
}

/// `CRV1`: asked after the password, answered in the next session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DynamicChallenge {
    /// Show what is typed.
    pub(crate) echo: bool,
    /// An answer is wanted; else the text only needs to be shown.
    pub(crate) response: bool,
    /// To be returned with the answer.
    pub(crate) state_id: Secret,
    /// To be used instead of our own user name.
    pub(crate) username: String,
    pub(crate) text: String,
}

/// What the user is asked to do while the server waits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Info {
    OpenUrl(String),
    /// Flags such as `hidden`, `external`, `proxy=…`.
    WebAuth {
        flags: Vec<String>,
        url: String,
    },
    /// Answered with [`cr_response`].
    CrText {
        text: String,
        echo: bool,
        response: bool,
    },
    Text(String),
}

/// How to start over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Restart {
    /// Do not ask for the password again.
    pub(crate) keep_credentials: bool,
    /// Go to the next gateway.
    pub(crate) next_server: bool,
    pub(crate) message: String,
}

/// Why a message, or a series of pushed options, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    /// Such a message could hide something in a log or a terminal (CVE-2024-5594).
    #[error("a control message holds a character that cannot be printed, at byte {at}")]
    NotPrintable { at: usize },
    #[error("one TLS record holds more than {MAX_MESSAGES} control messages")]
    TooManyMessages,
    #[error("the server pushes more than {MAX_PUSH_OPTIONS} options or {MAX_PUSH_BYTES} bytes of them")]
    PushTooLarge,
}

/// The messages of one TLS record: each ends with NUL, the last one may lack it.
pub(crate) fn messages(record: &[u8]) -> impl Iterator<Item = Result<Message, MessageError>> {
    let texts = record.split(|byte| *byte == 0).filter(|text| !text.is_empty()).enumerate();
    texts.take(MAX_MESSAGES + 1).map(|(at, text)| match at {
        MAX_MESSAGES => Err(MessageError::TooManyMessages),
        _ => Message::decode(text),
    })
}

impl Message {
    /// Reads one message without its NUL.
    pub(crate) fn decode(text: &[u8]) -> Result<Self, MessageError> {
        let text = printable(text)?;
        let (verb, rest) = text.split_once(',').unwrap_or((&text, ""));
        Ok(match verb {
            "PUSH_REPLY" => Self::PushReply(Push::decode(rest)),
            "PUSH_UPDATE" => Self::PushUpdate(Push::decode(rest)),
            "AUTH_FAILED" => Self::AuthFailed(AuthFailure::decode(rest)),
            "AUTH_PENDING" => Self::AuthPending { timeout: auth_pending_timeout(rest) },
            "INFO_PRE" => Self::InfoPre(Info::decode(rest)),
            "INFO" => Self::Info(Info::decode(rest)),
            "RESTART" => Self::Restart(Restart::decode(rest)),
            "HALT" => Self::Halt { message: Restart::decode(rest).message },
            "EXIT" => Self::Exit,
            "PUSH_REQUEST" => Self::PushRequest,
            // openvpn3 writes a colon before the message.
            _ if verb.starts_with("RESTART:") => Self::Restart(Restart::with_message(&text, "RESTART:")),
            _ if verb.starts_with("HALT:") => Self::Halt { message: Restart::with_message(&text, "HALT:").message },
            _ => Self::Unknown(verb.chars().take(MAX_VERB_CHARS).collect()),
        })
    }
}

impl Push {
    fn decode(text: &str) -> Self {
        let mut push = Self { options: PushOptions::default(), more: false };
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.strip_prefix("push-continuation ") {
                Some(value) => push.more = value.trim() == "2",
                None => push.options.0.push(option.to_owned()),
            }
        }
        push
    }
}

impl PushOptions {
    fn bytes(&self) -> usize {
        self.iter().map(String::len).sum()
    }
}

impl Deref for PushOptions {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for PushOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first_words = self.iter().map(|option| option.split(' ').next().unwrap_or_default());
        f.debug_list().entries(first_words).finish()
    }
}

/// Joins a PUSH_REPLY (or PUSH_UPDATE) that comes in several messages.
#[derive(Debug, Default)]
pub(crate) struct PushAssembler {
    options: PushOptions,
    bytes: usize,
}

impl PushAssembler {
    /// Takes the next part; returns all options once the last part is there, and starts over.
    ///
    /// # Errors
    /// [`MessageError::PushTooLarge`]: the parts so far are forgotten.
    pub(crate) fn add(&mut self, mut push: Push) -> Result<Option<PushOptions>, MessageError> {
        self.bytes += push.options.bytes();
        self.options.0.append(&mut push.options.0);
        if self.bytes > MAX_PUSH_BYTES || self.options.len() > MAX_PUSH_OPTIONS {
            *self = Self::default();
            return Err(MessageError::PushTooLarge);
        }
        if push.more {
            return Ok(None);
        }
        self.bytes = 0;
        Ok(Some(std::mem::take(&mut self.options)))
    }
}

impl AuthFailure {
    fn decode(reason: &str) -> Self {
        if let Some(reason) = reason.strip_prefix("SESSION:") {
            return Self::Session(reason.trim().to_owned());
        }
        if let Some(challenge) = reason.strip_prefix("CRV1:") {
            // The text must not reach the user as a reason: it holds the state.
            let unreadable = || Self::Plain("the server's challenge cannot be read".to_owned());
            return DynamicChallenge::decode(challenge).map_or_else(unreadable, Self::Challenge);
        }
        match reason.strip_prefix("TEMP") {
            Some(rest) if rest.is_empty() || rest.starts_with([':', '[']) => Self::decode_temporary(rest),
            Some(_) | None => Self::Plain(reason.trim().to_owned()),
        }
    }

    /// `[backoff 42,advance no]:message`; unknown keywords are ignored.
    fn decode_temporary(text: &str) -> Self {
        let (flags, message) = text.strip_prefix('[').and_then(|text| text.split_once(']')).unwrap_or(("", text));
        let (mut backoff, mut advance) = (None, Advance::default());
        for (keyword, value) in flags.split(',').filter_map(|flag| flag.trim().split_once(' ')) {
            match (keyword, value.trim()) {
                ("backoff", seconds) => backoff = seconds.parse().ok().map(Duration::from_secs).map(bounded),
                ("advance", "no") => advance = Advance::No,
                ("advance", "addr") => advance = Advance::Address,
                ("advance", "remote") => advance = Advance::Remote,
                _ => {}
            }
        }
        let message = message.strip_prefix(':').unwrap_or(message).trim().to_owned();
        Self::Temporary { backoff, advance, message }
    }
}

impl DynamicChallenge {
    /// `flags:state:username in base64:text`; the text may hold colons.
    fn decode(text: &str) -> Option<Self> {
        let mut fields = text.splitn(4, ':');
        let (flags, state_id) = (fields.next()?, fields.next()?);
        let username = String::from_utf8(BASE64.decode(fields.next()?).ok()?).ok()?;
        let text = fields.next()?.to_owned();
        let (echo, response) = challenge_flags(flags);
        Some(Self { echo, response, state_id: state_id.into(), username, text })
    }

    /// The password that answers it.
    pub(crate) fn password(&self, answer: &Secret) -> Secret {
        joined(&[b"CRV1::", self.state_id.expose(), b"::", answer.expose()])
    }
}

impl fmt::Debug for DynamicChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { echo, response, state_id: _, username: _, text } = self;
        f.debug_struct("DynamicChallenge")
            .field("echo", echo)
            .field("response", response)
            .field("text", text)
            .finish_non_exhaustive()
    }
}

impl Info {
    fn decode(text: &str) -> Self {
        let unknown = || Self::Text(text.to_owned());
        match text.split_once(':') {
            Some(("OPEN_URL", url)) => Self::OpenUrl(url.to_owned()),
            Some(("WEB_AUTH", rest)) => rest.split_once(':').map_or_else(unknown, |(flags, url)| Self::WebAuth {
                flags: flags.split(',').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
                url: url.to_owned(),
            }),
            Some(("CR_TEXT", rest)) => rest.split_once(':').map_or_else(unknown, |(flags, text)| {
                let (echo, response) = challenge_flags(flags);
                Self::CrText { text: text.to_owned(), echo, response }
            }),
            Some(_) | None => unknown(),
        }
    }
}

impl fmt::Debug for Info {
    /// The addresses hold one-time secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenUrl(_) => f.write_str("OpenUrl(..)"),
            Self::WebAuth { flags, .. } => write!(f, "WebAuth {{ flags: {flags:?}, .. }}"),
            Self::CrText { text, echo, response } => {
                write!(f, "CrText {{ text: {text:?}, echo: {echo}, response: {response} }}")
            }
            Self::Text(text) => write!(f, "Text({text:?})"),
        }
    }
}

impl Restart {
    /// `[PN]message`: P keeps the credentials, N goes to the next gateway. (The draft has N reversed.)
    fn decode(text: &str) -> Self {
        let (flags, message) = text.strip_prefix('[').and_then(|text| text.split_once(']')).unwrap_or(("", text));
        Self {
            keep_credentials: flags.contains('P'),
            next_server: flags.contains('N'),
            message: message.trim().to_owned(),
        }
    }

    fn with_message(text: &str, verb: &str) -> Self {
        Self { message: text.strip_prefix(verb).unwrap_or_default().trim().to_owned(), ..Self::default() }
    }
}

/// Asks for the options.
pub(crate) const PUSH_REQUEST: &[u8] = b"PUSH_REQUEST\0";

/// Says that we leave (IV_PROTO bit 7).
pub(crate) const EXIT: &[u8] = b"EXIT\0";

/// Answers [`Info::CrText`].
pub(crate) fn cr_response(answer: &Secret) -> Secret {
    let answer = Zeroizing::new(BASE64.encode(answer.expose()));
    joined(&[b"CR_RESPONSE,", answer.as_bytes(), b"\0"])
}

/// The password field with the answer to a `static-challenge`.
pub(crate) fn static_challenge_password(password: &Secret, answer: &Secret) -> Secret {
    let password = Zeroizing::new(BASE64.encode(password.expose()));
    let answer = Zeroizing::new(BASE64.encode(answer.expose()));
    joined(&[b"SCRV1:", password.as_bytes(), b":", answer.as_bytes()])
}

/// The text, if a terminal can show it as it is. CR and LF at the end are chopped: 2.4 servers send them.
fn printable(text: &[u8]) -> Result<Zeroizing<String>, MessageError> {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    // Reasons in old character sets are worth showing; what is not UTF-8 becomes U+FFFD.
    let text = String::from_utf8_lossy(text.get(..end).unwrap_or_default());
    match text.char_indices().find(|(_, char)| char.is_control()) {
        Some((at, _)) => Err(MessageError::NotPrintable { at }),
        None => Ok(Zeroizing::new(text.into_owned())),
    }
}

/// `timeout 60`; unknown keywords are ignored.
fn auth_pending_timeout(text: &str) -> Option<Duration> {
    let seconds = text.split(',').find_map(|keyword| keyword.trim().strip_prefix("timeout "))?;
    seconds.trim().parse().ok().map(Duration::from_secs).map(bounded)
}

/// (echo, response)
fn challenge_flags(flags: &str) -> (bool, bool) {
    let has = |wanted| flags.split(',').any(|flag| flag.trim() == wanted);
    (has("E"), has("R"))
}

fn bounded(time: Duration) -> Duration {
    time.min(MAX_TIME)
}

/// Joins without leaving copies behind.
fn joined(parts: &[&[u8]]) -> Secret {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| all.extend_from_slice(part));
    Secret::new(all)
}

/// 2.x sends one message a record, and bundles of a few in 2.7. Our own judgement.
const MAX_MESSAGES: usize = 64;
/// Longer first words than any we know are cut in the log.
const MAX_VERB_CHARS: usize = 32;
/// As many options as fit into [`MAX_PUSH_BYTES`] at the size of a route. Our own judgement.
const MAX_PUSH_OPTIONS: usize = 8192;
/// 2.x has no bound, openvpn3 768 KiB; thousands of routes fit into this. Our own judgement.
const MAX_PUSH_BYTES: usize = 256 * 1024;
/// No wait a server asks for is longer. Our own judgement.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests;

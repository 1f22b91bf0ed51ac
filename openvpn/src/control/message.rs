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
    /// To the same address again.
    No,
    /// To the next address of the same gateway.
    #[default]
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Message {
        Message::decode(text.as_bytes()).unwrap()
    }

    fn options(push: &[String]) -> Vec<&str> {
        push.iter().map(String::as_str).collect()
    }

    fn push(text: &str) -> Push {
        let (Message::PushReply(push) | Message::PushUpdate(push)) = one(text) else { panic!("{text}") };
        push
    }

    fn failure(text: &str) -> AuthFailure {
        let Message::AuthFailed(failure) = one(text) else { panic!("{text}") };
        failure
    }

    #[test]
    fn a_record_is_split_at_nul_with_or_without_the_last_one() {
        let all: Vec<_> = messages(b"EXIT\0\0INFO,hello\0HALT").map(Result::unwrap).collect();
        let halt = Message::Halt { message: String::new() };
        assert_eq!(all, [Message::Exit, Message::Info(Info::Text("hello".to_owned())), halt]);
        assert_eq!(messages(b"").count(), 0);
    }

    #[test]
    fn a_record_of_very_many_messages_ends_with_an_error() {
        let record = b"EXIT\0".repeat(1000);
        let all: Vec<_> = messages(&record).collect();
        assert_eq!(all.len(), MAX_MESSAGES + 1);
        assert_eq!(all.last(), Some(&Err(MessageError::TooManyMessages)));
    }

    #[test]
    fn line_ends_are_chopped_and_other_unprintable_characters_refused() {
        assert_eq!(one("AUTH_FAILED,no\r\n\n"), Message::AuthFailed(AuthFailure::Plain("no".to_owned())));
        for (text, at) in
            [("AUTH_FAILED,a\nb", 13), ("INFO,\x1b[2J", 5), ("\tEXIT", 0), ("EXIT\x7f", 4), ("INFO,\u{9b}m", 5)]
        {
            assert_eq!(Message::decode(text.as_bytes()), Err(MessageError::NotPrintable { at }), "{text:?}");
        }
        assert_eq!(failure("AUTH_FAILED,Größe 漢"), AuthFailure::Plain("Größe 漢".to_owned()));
        let latin1 = Message::decode(b"AUTH_FAILED,Gr\xf6\xdfe").unwrap();
        assert_eq!(latin1, Message::AuthFailed(AuthFailure::Plain("Gr\u{fffd}\u{fffd}e".to_owned())));
    }

    #[test]
    fn one_refused_message_does_not_take_the_others_along() {
        let all: Vec<_> = messages(b"INFO,\x1b\0EXIT\0").collect();
        assert_eq!(all, [Err(MessageError::NotPrintable { at: 5 }), Ok(Message::Exit)]);
    }

    #[test]
    fn a_push_reply_is_a_list_of_options() {
        let reply = push("PUSH_REPLY,route 10.0.0.0 255.0.0.0,,ping 10,peer-id 0");
        assert_eq!(options(&reply.options), ["route 10.0.0.0 255.0.0.0", "ping 10", "peer-id 0"]);
        assert!(!reply.more);
        assert!(push("PUSH_REPLY").options.is_empty());
    }

    #[test]
    fn continued_replies_are_joined_without_the_marks() {
        let mut assembler = PushAssembler::default();
        for (first, last) in [("a", "b"), ("c", "d")] {
            assert_eq!(assembler.add(push(&format!("PUSH_REPLY,{first},push-continuation 2"))), Ok(None));
            assert_eq!(assembler.add(push("PUSH_REPLY,m,push-continuation 2")), Ok(None));
            let all = assembler.add(push(&format!("PUSH_REPLY,{last},push-continuation 1"))).unwrap().unwrap();
            assert_eq!(options(&all), [first, "m", last]);
        }
        let alone = assembler.add(push("PUSH_UPDATE,-route")).unwrap().unwrap();
        assert_eq!(options(&alone), ["-route"]);
    }

    #[test]
    fn an_endless_push_is_given_up() {
        let mut assembler = PushAssembler::default();
        let part = || push(&format!("PUSH_REPLY,{},push-continuation 2", "x".repeat(1000)));
        let refused = (1..1000).find(|_| assembler.add(part()).is_err());
        assert_eq!(refused, Some(MAX_PUSH_BYTES / 1000 + 1));
        assert_eq!(assembler.bytes, 0, "nothing is kept");

        let many = || push(&format!("PUSH_REPLY{},push-continuation 2", ",x".repeat(1000)));
        let refused = (1..1000).find(|_| assembler.add(many()).is_err());
        assert_eq!(refused, Some(MAX_PUSH_OPTIONS / 1000 + 1));
    }

    #[test]
    fn refusals_come_with_or_without_a_reason() {
        assert_eq!(failure("AUTH_FAILED"), AuthFailure::Plain(String::new()));
        assert_eq!(failure("AUTH_FAILED,"), AuthFailure::Plain(String::new()));
        assert_eq!(failure("AUTH_FAILED,locked, ask IT"), AuthFailure::Plain("locked, ask IT".to_owned()));
        assert_eq!(failure("AUTH_FAILED,SESSION: expired"), AuthFailure::Session("expired".to_owned()));
        assert_eq!(failure("AUTH_FAILED,TEMPORARILY no"), AuthFailure::Plain("TEMPORARILY no".to_owned()));
    }

    #[test]
    fn temporary_refusals_say_when_and_where_to_try_again() {
        let temporary = |seconds: Option<u64>, advance, message: &str| AuthFailure::Temporary {
            backoff: seconds.map(Duration::from_secs),
            advance,
            message: message.to_owned(),
        };
        for (text, expected) in [
            ("TEMP", temporary(None, Advance::Address, "")),
            ("TEMP:later", temporary(None, Advance::Address, "later")),
            (
                "TEMP[backoff 42,advance no]: No free IP addresses",
                temporary(Some(42), Advance::No, "No free IP addresses"),
            ),
            ("TEMP[advance remote]", temporary(None, Advance::Remote, "")),
            ("TEMP[advance addr,new 1, backoff 1]:a:b", temporary(Some(1), Advance::Address, "a:b")),
            ("TEMP[backoff -1,advance up]:x", temporary(None, Advance::Address, "x")),
            ("TEMP[backoff 99999999999]:x", temporary(Some(86400), Advance::Address, "x")),
            ("TEMP[backoff 1", temporary(None, Advance::Address, "[backoff 1")),
        ] {
            assert_eq!(failure(&format!("AUTH_FAILED,{text}")), expected, "{text}");
        }
    }

    /// The example of OpenVPN's `management-notes.txt`.
    #[test]
    fn a_dynamic_challenge_is_answered_with_its_state() {
        let text = "AUTH_FAILED,CRV1:R,E:Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l:Y3Ix:Please enter: token PIN";
        let AuthFailure::Challenge(challenge) = failure(text) else { panic!("no challenge") };
        assert!(challenge.echo && challenge.response);
        assert_eq!(challenge.username, "cr1");
        assert_eq!(challenge.text, "Please enter: token PIN");
        let password = challenge.password(&"8675309".into());
        assert_eq!(password.expose(), b"CRV1::Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l::8675309");
    }

    #[test]
    fn an_unreadable_challenge_is_a_refusal_that_does_not_show_its_state() {
        for text in ["CRV1:", "CRV1:R:state", "CRV1:R:state:!:text", "CRV1:R:state:Y3Ix"] {
            let AuthFailure::Plain(reason) = failure(&format!("AUTH_FAILED,{text}")) else { panic!("{text}") };
            assert!(!reason.contains("state"), "{text}");
        }
    }

    #[test]
    fn pending_authentication_may_say_how_long() {
        let timeout = |text| {
            let Message::AuthPending { timeout } = one(text) else { panic!("{text}") };
            timeout.map(|time| time.as_secs())
        };
        assert_eq!(timeout("AUTH_PENDING"), None);
        assert_eq!(timeout("AUTH_PENDING,timeout 60"), Some(60));
        assert_eq!(timeout("AUTH_PENDING,new 1,timeout 5"), Some(5));
        assert_eq!(timeout("AUTH_PENDING,timeout x"), None);
        assert_eq!(timeout("AUTH_PENDING,timeout 18446744073709551615"), Some(86400));
    }

    #[test]
    fn infos_are_typed() {
        let info = |text: &str| match (one(&format!("INFO_PRE,{text}")), one(&format!("INFO,{text}"))) {
            (Message::InfoPre(before), Message::Info(after)) if before == after => before,
            other => panic!("{other:?}"),
        };
        assert_eq!(info("OPEN_URL:https://a/b?c=1,2"), Info::OpenUrl("https://a/b?c=1,2".to_owned()));
        let flags = vec!["hidden".to_owned(), "external".to_owned()];
        let url = "https://a:1/".to_owned();
        assert_eq!(info("WEB_AUTH:hidden,external:https://a:1/"), Info::WebAuth { flags, url });
        let text = "Code: now".to_owned();
        assert_eq!(info("CR_TEXT:R,E:Code: now"), Info::CrText { text, echo: true, response: true });
        let text = "Look".to_owned();
        assert_eq!(info("CR_TEXT::Look"), Info::CrText { text, echo: false, response: false });
        assert_eq!(info("CR_TEXT:x"), Info::Text("CR_TEXT:x".to_owned()));
        assert_eq!(info("PROFILE:x"), Info::Text("PROFILE:x".to_owned()));
    }

    #[test]
    fn restarts_carry_flags() {
        let restart = |keep_credentials, next_server, message: &str| {
            Message::Restart(Restart { keep_credentials, next_server, message: message.to_owned() })
        };
        assert_eq!(one("RESTART"), restart(false, false, ""));
        assert_eq!(one("RESTART,maintenance"), restart(false, false, "maintenance"));
        assert_eq!(one("RESTART,[P]"), restart(true, false, ""));
        assert_eq!(one("RESTART,[PN]bye"), restart(true, true, "bye"));
        assert_eq!(one("RESTART,[N]bye"), restart(false, true, "bye"));
        assert_eq!(one("RESTART:bye, all"), restart(false, false, "bye, all"));
        assert_eq!(one("HALT,[P]done"), Message::Halt { message: "done".to_owned() });
        assert_eq!(one("HALT:done"), Message::Halt { message: "done".to_owned() });
    }

    #[test]
    fn unknown_messages_keep_their_first_word_only() {
        assert_eq!(one("ACC,ctrl,x"), Message::Unknown("ACC".to_owned()));
        assert_eq!(one(&"x".repeat(100)), Message::Unknown("x".repeat(32)));
        assert_eq!(one("EXITED"), Message::Unknown("EXITED".to_owned()));
    }

    #[test]
    fn debug_shows_no_token_and_no_state() {
        for text in [
            "PUSH_REPLY,auth-token SECRET,ping 10",
            "AUTH_FAILED,CRV1:R:SECRET:U0VDUkVU:PIN?",
            "INFO_PRE,OPEN_URL:https://a/SECRET",
            "INFO_PRE,WEB_AUTH::https://a/SECRET",
        ] {
            assert!(!format!("{:?}", one(text)).contains("SECRET"), "{text}");
        }
        assert!(format!("{:?}", one("PUSH_REPLY,auth-token SECRET,ping 10")).contains("auth-token"));
    }

    #[test]
    fn answers_are_written_as_the_server_reads_them() {
        assert_eq!(cr_response(&"Hallo Welt!".into()).expose(), b"CR_RESPONSE,SGFsbG8gV2VsdCE=\0");
        let both = static_challenge_password(&"pass".into(), &"123".into());
        assert_eq!(both.expose(), b"SCRV1:cGFzcw==:MTIz");
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(record in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(messages(&record).count() <= MAX_MESSAGES + 1);
        }

        #[test]
        fn no_text_after_a_known_word_makes_decoding_panic(
            verb in prop::sample::select(vec![
                "PUSH_REPLY,", "AUTH_FAILED,", "AUTH_FAILED,TEMP", "AUTH_FAILED,CRV1:", "AUTH_PENDING,", "INFO,",
                "INFO_PRE,WEB_AUTH:", "INFO_PRE,CR_TEXT:", "RESTART,", "RESTART:", "HALT,",
            ]),
            text in "[ -~äß]{0,60}",
        ) {
            let message = format!("{verb}{text}");
            prop_assert!(Message::decode(message.as_bytes()).is_ok());
        }

        #[test]
        fn options_survive_however_they_are_cut_into_messages(
            sent in prop::collection::vec("[a-z0-9][a-z0-9 .]{0,20}", 1..30),
            cut in 1usize..10,
        ) {
            let mut assembler = PushAssembler::default();
            let parts: Vec<_> = sent.chunks(cut).collect();
            let mut result = None;
            for (at, part) in parts.iter().enumerate() {
                let mark = if at + 1 == parts.len() { 1 } else { 2 };
                prop_assert!(result.is_none());
                result = assembler.add(push(&format!("PUSH_REPLY,{},push-continuation {mark}", part.join(",")))).unwrap();
            }
            prop_assert_eq!(result.unwrap().to_vec(), sent);
        }
    }
}

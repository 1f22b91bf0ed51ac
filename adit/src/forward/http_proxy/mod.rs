//! `--http-proxy`: CONNECT to any host behind the gateway, and requests of `http://` addresses.

mod head;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use adit_driver::Target;
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::timeout,
};
use zeroize::Zeroizing;

use self::head::{Head, Plain, Wrong};
use super::{
    counters::Counted,
    outside::Outside,
    through::{Inside, Through},
};
use crate::plan::Login;

/// How long a client may take to say what it wants.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How often a client is looked after that has said all and waits for its answer, as [`adit_driver::carry`] does: a reset makes nothing
/// readable then.
const LOOK_AFTER: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(15) };
/// Bytes of an answer at once.
const ANSWER_BYTES: usize = 8 * 1024;
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The proxy of a forward.
#[derive(Debug, Clone)]
pub(super) struct HttpProxy {
    pub(super) through: Through,
    pub(super) login: Option<Login>,
}

/// What a client wants.
enum Request {
    Connect(Target),
    Plain(Plain),
}

/// Why it does not get it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    /// A header line, with its end.
    header: &'static str,
    text: String,
}

impl Refusal {
    fn new(status: &'static str, text: impl Into<String>) -> Self {
        Self { status, header: "", text: text.into() }
    }

    /// For what became of an attempt to connect.
    fn of(target: &Target, error: &io::Error) -> Self {
        let known = [
            (io::ErrorKind::TimedOut, "504 Gateway Timeout"),
            // Without a tunnel.
            (io::ErrorKind::NotConnected, "503 Service Unavailable"),
        ];
        let status =
            known.iter().find(|(kind, _)| *kind == error.kind()).map_or("502 Bad Gateway", |(_, status)| status);
        Self::new(status, format!("cannot connect to {target}: {error}"))
    }

    fn encode(&self) -> Vec<u8> {
        let Self { status, header, text } = self;
        let length = text.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{header}\
             Connection: close\r\n\r\n{text}\n"
        )
        .into_bytes()
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Malformed(what) => Self::new("400 Bad Request", format!("the request is malformed: {what}")),
            Wrong::NotHttp => Self::new(
                "400 Bad Request",
                "this is an HTTP proxy, without TLS: it takes CONNECT host:port, and http:// addresses",
            ),
            Wrong::LineFeed => {
                Self::new("400 Bad Request", "lines of a request end with a carriage return and a line feed")
            }
            Wrong::LengthRequired => Self::new(
                "411 Length Required",
                "this proxy passes on bodies of a known length only: use CONNECT, or send Content-Length",
            ),
            Wrong::NotForProxy => Self::new(
                "400 Bad Request",
                "this is a proxy, not a web server: it takes CONNECT host:port, and http:// addresses",
            ),
            Wrong::Scheme => Self {
                header: "Allow: CONNECT\r\n",
                ..Self::new("405 Method Not Allowed", "this proxy takes http:// addresses only: use CONNECT for others")
            },
        }
    }
}

impl HttpProxy {
    pub(super) async fn session(self, mut outside: Outside) {
        let peer = outside.peer();
        // What follows the head stays in the buffer.
        let mut buffer = Zeroizing::new(Vec::new());
        let read = timeout(HANDSHAKE, read_head(&mut outside, &mut buffer)).await;
        let length = match read {
            Ok(Ok(Some(length))) => Ok(length),
            // Came and went, as a check of the port does.
            Ok(Ok(None)) if buffer.is_empty() => {
                tracing::debug!(%peer, "left before it said what it wants");
                return;
            }
            Ok(Ok(None)) if buffer.len() >= head::MOST_BYTES => {
                Err(Refusal::new("431 Request Header Fields Too Large", "the head of the request is too large"))
            }
            Ok(Ok(None)) => Err(head::already_wrong(&buffer).unwrap_or(Wrong::Malformed("its head has no end")).into()),
            Ok(Err(error)) => {
                tracing::debug!(%peer, "ended by {error}");
                return;
            }
            Err(_) => Err(Refusal::new("408 Request Timeout", "the request did not come in time")),
        };
        let request = length.and_then(|length| Ok((length, self.request(&buffer[..length])?)));
        match request {
            Ok((length, Request::Connect(target))) => self.connect(outside, &target, &buffer[length..]).await,
            Ok((length, Request::Plain(plain))) => self.plain(outside, plain, &buffer[length..]).await,
            Err(refusal) => {
                tracing::warn!(%peer, "HTTP client refused: {}", refusal.text);
                self.through.counters.on_failed(&refusal.text);
                say(outside, &refusal).await;
            }
        }
    }

    fn request(&self, bytes: &[u8]) -> Result<Request, Refusal> {
        let head = head::parse(bytes)?;
        if self.login.as_ref().is_some_and(|login| !is_admitted(&head, login)) {
            return Err(Refusal {
                header: "Proxy-Authenticate: Basic realm=\"adit\", charset=\"UTF-8\"\r\n",
                ..Refusal::new("407 Proxy Authentication Required", "this proxy wants a user name and a password")
            });
        }
        Ok(if head.method == "CONNECT" { Request::Connect(head.authority()?) } else { Request::Plain(head.plain()?) })
    }

    /// `early` is what the client sent before it had its answer.
    async fn connect(&self, mut outside: Outside, target: &Target, early: &[u8]) {
        let peer = outside.peer();
        let inside = match self.through.dial_for(&outside, target).await {
            Ok(inside) => inside,
            Err(error) => return say(outside, &Refusal::of(target, &error)).await,
        };
        let begun = async {
            outside.write_all(CONNECTED).await?;
            inside.write(early).await
        };
        if let Err(error) = begun.await {
            tracing::debug!(%peer, "ended by {error}");
            return;
        }
        self.through.counters.on_sent(early.len());
        if self.through.carry(peer, &mut outside, inside).await.is_ok() {
            outside.keep_the_last_bytes();
        }
    }

    async fn plain(&self, mut outside: Outside, plain: Plain, early: &[u8]) {
        let peer = outside.peer();
        // Who has said all may have ended its own direction, and waits for the answer.
        let inside = match self.through.dial(peer, &plain.to).await {
            Ok(inside) => inside,
            Err(error) => return say(outside, &Refusal::of(&plain.to, &error)).await,
        };
        match self.exchange(&mut outside, &inside, &plain, early).await {
            Ok(()) => {
                inside.finish();
                outside.farewell().await;
            }
            Err(error) => tracing::debug!(%peer, target = %plain.to, "ended by {error}"),
        }
    }

    /// One request and its answer, which ends with the server's side of the connection.
    async fn exchange(&self, outside: &mut Outside, inside: &Inside, plain: &Plain, early: &[u8]) -> io::Result<()> {
        let counters = &self.through.counters;
        let connection = inside.connection()?;
        inside.write(&plain.head).await?;
        counters.on_sent(plain.head.len());
        let (reader, mut writer) = tokio::io::split(Counted { stream: outside, counters });
        let body = Body { early, rest: reader };
        let all_said = AtomicBool::new(false);
        let up = async {
            let (mut body, mut to) = (body, connection);
            let sent = tokio::io::copy(&mut (&mut body).take(plain.length), &mut to).await?;
            counters.on_sent(early.len().saturating_sub(body.early.len()));
            if sent < plain.length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // What comes now is not meant for this server. A client that leaves has no use for the answer.
            loop {
                if body.read(&mut [0; 512]).await? == 0 {
                    to.shutdown().await?;
                    all_said.store(true, Relaxed);
                    return std::future::pending::<io::Result<()>>().await;
                }
            }
        };
        let down = async {
            let (mut from, mut buffer) = (connection, vec![0; ANSWER_BYTES]);
            loop {
                match timeout(LOOK_AFTER, from.read(&mut buffer)).await {
                    Ok(read) => match read? {
                        0 => return writer.flush().await,
                        length => writer.write_all(&buffer[..length]).await?,
                    },
                    // No bytes are written, which says whether the client is there. Who has left has still said what he had to say.
                    Err(_) if all_said.load(Relaxed) && connection.is_delivered() => drop(writer.write(&[]).await?),
                    Err(_) => {}
                }
            }
        };
        tokio::select! {
            ended = up => ended,
            answered = down => answered,
        }
    }
}

/// Reads until there is a whole head, and returns its length; `None` if the client ends before, goes on for too long, or says what
/// cannot become one.
async fn read_head(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut seen: usize = 0;
    while buffer.len() < head::MOST_BYTES {
        if from.take(READ_BYTES).read_buf(buffer).await? == 0 {
            return Ok(None);
        }
        // The end of a head may be in two pieces.
        let from = seen.saturating_sub(3);
        if let Some(length) = head::length(&buffer[from..]) {
            return Ok(Some(from + length));
        }
        if head::already_wrong(buffer).is_some() {
            return Ok(None);
        }
        seen = buffer.len();
    }
    Ok(None)
}

/// Bytes that are read at once, of a head.
const READ_BYTES: u64 = 4096;

/// RFC 7617.
fn is_admitted(head: &Head<'_>, login: &Login) -> bool {
    head.values("proxy-authorization").any(|value| {
        let Some((scheme, encoded)) = value.split_at_checked(b"Basic ".len()) else { return false };
        let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).map(Zeroizing::new);
        let Some(decoded) = decoded.ok().filter(|_| scheme.eq_ignore_ascii_case(b"Basic ")) else { return false };
        let colon = decoded.iter().position(|byte| *byte == b':');
        colon.is_some_and(|colon| login.admits(&decoded[..colon], &decoded[colon + 1..]))
    })
}

/// The last thing the client hears.
async fn say(mut outside: Outside, refusal: &Refusal) {
    if outside.write_all(&refusal.encode()).await.is_ok() {
        outside.farewell().await;
    }
}

/// What came with the head, and what follows.
struct Body<'a, R> {
    early: &'a [u8],
    rest: R,
}

impl<R: AsyncRead + Unpin> AsyncRead for Body<'_, R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.rest).poll_read(cx, buf);
        }
        let (now, later) = self.early.split_at(self.early.len().min(buf.remaining()));
        buf.put_slice(now);
        self.early = later;
        Poll::Ready(Ok(()))
    }
}

//! `-D`: a SOCKS5 proxy (RFC 1928) whose network is the one behind the gateway.
//!
//! CONNECT and UDP ASSOCIATE; names are resolved by the DNS servers behind the gateway. BIND is not there: nobody uses it, and
//! `-R` does more.

mod udp;
mod wire;

#[cfg(test)]
mod tests;

use std::{io, time::Duration};

use adit_driver::Target;
use tokio::{io::AsyncWriteExt, time::timeout};

use self::wire::{Reply, Request, Trouble};
use super::{outside::Outside, through::Through};
use crate::plan::Login;

/// How long a client may take to say what it wants.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// The proxy of a forward.
#[derive(Debug, Clone)]
pub(super) struct Socks {
    pub(super) through: Through,
    pub(super) login: Option<Login>,
    /// Whether UDP is allowed.
    pub(super) udp: bool,
}

impl Socks {
    pub(super) async fn session(self, mut outside: Outside) {
        let peer = outside.peer();
        let asked = timeout(HANDSHAKE, wire::handshake(&mut outside, self.login.as_ref())).await;
        let request = match asked.unwrap_or_else(|_| Err(Trouble::Io(io::ErrorKind::TimedOut.into()))) {
            Ok(request) => request,
            // Came and went, as a check of the port does.
            Err(Trouble::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::debug!(%peer, "left before it said what it wants");
                return;
            }
            Err(trouble) => {
                tracing::warn!(%peer, "SOCKS client refused: {trouble}");
                self.through.counters.on_failed(&trouble);
                say(outside, &trouble.answer()).await;
                return;
            }
        };
        let Request { command, target } = request;
        match command {
            wire::CONNECT => self.connect(outside, &target).await,
            wire::UDP_ASSOCIATE if self.udp && peer.address().is_some() => self.associate(outside, &target).await,
            command => {
                let what = match command {
                    wire::BIND => "BIND (use -R)".to_owned(),
                    wire::UDP_ASSOCIATE => "UDP, which is not allowed here".to_owned(),
                    other => format!("command {other}"),
                };
                tracing::warn!(%peer, "SOCKS client refused: it wants {what}");
                self.through.counters.on_failed(&format_args!("a SOCKS client wanted {what}"));
                say(outside, &Reply::CommandNotSupported.encode(None)).await;
            }
        }
    }

    async fn connect(&self, mut outside: Outside, target: &Target) {
        let peer = outside.peer();
        let inside = match self.through.dial_for(&outside, target).await {
            Ok(inside) => inside,
            Err(error) => return say(outside, &Reply::of(&error).encode(None)).await,
        };
        if let Err(error) = outside.write_all(&Reply::Succeeded.encode(None)).await {
            tracing::debug!(%peer, "ended by {error}");
            return;
        }
        if self.through.carry(peer, &mut outside, inside).await.is_ok() {
            outside.keep_the_last_bytes();
        }
    }

    /// `target` is where the client says it will send from.
    async fn associate(&self, mut outside: Outside, target: &Target) {
        let peer = outside.peer();
        let association = match udp::Association::open(&self.through, &outside, target).await {
            Ok(association) => association,
            Err(error) => {
                tracing::warn!(%peer, "no UDP for a SOCKS client: {error}");
                self.through.counters.on_failed(&error);
                return say(outside, &Reply::of(&error).encode(None)).await;
            }
        };
        let reply = Reply::Succeeded.encode(association.address());
        if let Err(error) = outside.write_all(&reply).await {
            tracing::debug!(%peer, "ended by {error}");
            return;
        }
        tracing::debug!(%peer, "new UDP association");
        association.run(&mut outside).await;
        outside.keep_the_last_bytes();
    }
}

/// The last thing the client hears.
async fn say(mut outside: Outside, answer: &[u8]) {
    if outside.write_all(answer).await.is_ok() {
        outside.farewell().await;
    }
}

//! The way from a connection of this machine into the tunnel.

use std::{fmt, io, sync::Arc, time::Duration};

use adit_driver::{Connection, Target, Way};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    counters::{Counted, ForwardCounters},
    outside::Outside,
};

/// So long a client that has ended its own direction may still wait for what the host says first: longer than a host behind a
/// tunnel that is up takes to answer.
const LISTENER: Duration = Duration::from_secs(2);

/// How long the other end may take to say that it has the last bytes.
const LAST_BYTES: Duration = Duration::from_secs(10);

/// What all connections of a forward share.
#[derive(Debug, Clone)]
pub(super) struct Through {
    pub(super) way: Way,
    pub(super) counters: Arc<ForwardCounters>,
}

impl Through {
    /// Connects to the target. A failure is counted and said.
    pub(super) async fn dial(&self, peer: impl fmt::Display, target: &Target) -> io::Result<Inside> {
        let reached = self.reach(&peer, target).await;
        reached.inspect_err(|error| tracing::warn!(%peer, "cannot connect to {target}: {error}"))
    }

    /// The same, for those who say a failure themselves: it is counted.
    pub(super) async fn reach(&self, peer: impl fmt::Display, target: &Target) -> io::Result<Inside> {
        match self.way.dial(target.clone()).await {
            Ok(inside) => {
                tracing::debug!(%peer, %target, "connected");
                Ok(Inside::new(inside))
            }
            Err(error) => {
                self.counters.on_failed(&format_args!("cannot connect to {target}: {error}"));
                Err(error)
            }
        }
    }

    /// The same, as long as the client waits for it: one that has left takes no descriptor of an outage.
    pub(super) async fn dial_for(&self, outside: &Outside, target: &Target) -> io::Result<Inside> {
        let peer = outside.peer();
        let left = async {
            tokio::time::sleep(LISTENER).await;
            outside.left().await;
        };
        tokio::select! {
            biased;
            dialled = self.dial(peer, target) => dialled,
            () = left => {
                tracing::debug!(%peer, "left before {target} was reached");
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    /// Carries both directions to their ends, and waits until the other end has the last bytes: the tunnel may be closed next.
    ///
    /// # Errors
    /// What ended them early. Both sides are to be reset then: the inner one is.
    pub(super) async fn carry<S>(&self, peer: impl fmt::Display, outside: S, inside: Inside) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.copy(peer, outside, &inside).await?;
        if tokio::time::timeout(LAST_BYTES, inside.connection()?.ended()).await.is_err() {
            tracing::debug!("no word that the last bytes have arrived");
        }
        inside.finish();
        Ok(())
    }

    async fn copy<S>(&self, peer: impl fmt::Display, outside: S, inside: &Inside) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connection = inside.connection()?;
        let target = connection.remote();
        let outside = Counted { stream: outside, counters: &self.counters };
        match adit_driver::carry(outside, connection).await {
            Ok((up, down)) => {
                tracing::debug!(%peer, %target, up, down, "finished");
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%peer, %target, "ended by {error}");
                Err(error)
            }
        }
    }
}

/// A connection inside the tunnel. Dropped, it is reset, unless it was finished.
#[derive(Debug)]
pub(super) struct Inside(Option<Connection>);

impl Inside {
    /// What is reset unless it is finished.
    pub(super) fn new(connection: Connection) -> Self {
        Self(Some(connection))
    }

    /// It can be read and written by reference.
    pub(super) fn connection(&self) -> io::Result<&Connection> {
        self.0.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends this before anything else.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut connection = self.connection()?;
        connection.write_all(bytes).await
    }

    /// Both directions have ended: what was written is still to be delivered.
    pub(super) fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.abort();
        }
    }
}

//! TCP: each local connection has one inside the tunnel.

use std::{io, net::SocketAddr};

use adit_driver::{Client, Connection, Target};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{OUT_OF_RESOURCES_WAIT, is_out_of_resources};

/// Bytes read at once in one direction: as many as a segmented send of the tunnel holds.
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) async fn serve(listener: TcpListener, target: Target, client: Client) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(carry(stream, peer, target.clone(), client.clone()));
                }
                Err(error) => {
                    tracing::warn!("cannot accept: {error}");
                    if is_out_of_resources(&error) {
                        tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                    }
                }
            },
            // Reaps those that are done.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut outside: TcpStream, peer: SocketAddr, target: Target, client: Client) {
    // Whatever ends this early, also the end of the program, must not look like an orderly end of the data.
    if let Err(error) = outside.set_zero_linger() {
        tracing::debug!(%peer, "no reset in case of failure: {error}");
    }
    let inside = match client.dial(target.clone()).await {
        Ok(inside) => inside,
        Err(error) => {
            tracing::warn!(%peer, "cannot connect to {target}: {error}");
            return;
        }
    };
    tracing::debug!(%peer, %target, "connected");
    match copy_both(&mut outside, &inside).await {
        Ok((up, down)) => {
            tracing::debug!(%peer, %target, up, down, "finished");
            if let Err(error) = SockRef::from(&outside).set_linger(None) {
                tracing::warn!(%peer, "the last bytes may be lost: {error}");
            }
        }
        Err(error) => {
            tracing::debug!(%peer, %target, "ended by {error}");
            inside.abort();
        }
    }
}

/// Both directions until both have ended. The end of one is passed on and leaves the other open; an error ends both.
async fn copy_both(outside: &mut TcpStream, inside: &Connection) -> io::Result<(u64, u64)> {
    outside.set_nodelay(true)?;
    let (reader, writer) = outside.split();
    tokio::try_join!(copy(reader, inside), copy(inside, writer))
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(total);
        }
        to.write_all(&buffer[..count]).await?;
        total += count as u64;
    }
}

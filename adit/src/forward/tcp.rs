//! TCP: each local connection has one inside the tunnel.

use std::net::SocketAddr;

use adit_driver::{Client, Target};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::{OUT_OF_RESOURCES_WAIT, is_out_of_resources, trouble::Trouble};

pub(super) async fn serve(listener: TcpListener, target: Target, client: Client) {
    let mut connections = tokio::task::JoinSet::new();
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(carry(stream, peer, target.clone(), client.clone()));
                }
                Err(error) if is_out_of_resources(&error) => {
                    trouble.on_failure("cannot accept", &error);
                    tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                }
                Err(error) => tracing::debug!("a connection ended before it was accepted: {error}"),
            },
            // Reaps those that are done.
            Some(_) = connections.join_next() => {}
            () = trouble.over() => tracing::warn!("connections are accepted again"),
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
    let carried = match outside.set_nodelay(true) {
        Ok(()) => adit_driver::carry(&mut outside, &inside).await,
        Err(error) => Err(error),
    };
    match carried {
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

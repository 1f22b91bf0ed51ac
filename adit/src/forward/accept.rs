//! Accepts connections, as many as may be at the same time, until it is told to stop.

use std::{future::Future, io, sync::Arc};

use tokio::task::JoinSet;
use tracing::Instrument;

use super::{
    OUT_OF_RESOURCES_WAIT,
    counters::{ForwardCounters, Open},
    is_out_of_resources,
    stop::Stop,
    terms::{InForce, Terms},
    trouble::Trouble,
};

/// What helps a forward that has as many connections as it may.
const FULL: &str = "allow more with `max_connections` of this forward, or see why those that are open do not end";

/// Where connections come from.
pub(super) trait Source: Send {
    /// One of them.
    type Accepted;

    /// The next one. May be dropped and called again.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;
}

/// Runs `session` for each connection. Ends when it was told to stop, and the last connection has ended or was cut.
pub(super) async fn serve<A, F, S>(
    mut source: A,
    terms: InForce,
    counters: &Arc<ForwardCounters>,
    mut stop: Stop,
    session: F,
) where
    A: Source,
    F: Fn(A::Accepted, &Terms) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let (mut trouble, mut full) = (Trouble::default(), Trouble::default());
    loop {
        tokio::select! {
            () = stop.draining() => break,
            accepted = source.accept() => match accepted {
                Ok(accepted) => {
                    // Those of before a reload count, too.
                    let open = counters.open();
                    let most = terms.borrow().most;
                    if open >= most as u64 {
                        let why = format!("connection refused: open now: {open}, and `max_connections` is {most}");
                        counters.on_refused(&why);
                        full.on_failure(&why, Some(FULL));
                        continue;
                    }
                    let (open, session) = (Open::new(counters), session(accepted, &terms.borrow()));
                    let serving = async move {
                        session.await;
                        drop(open);
                    };
                    // It speaks of the same connection.
                    connections.spawn(serving.in_current_span());
                }
                Err(error) if is_out_of_resources(&error) => {
                    trouble.on_failure(&format_args!("cannot accept: {error}; trying again"), None);
                    tokio::time::sleep(OUT_OF_RESOURCES_WAIT).await;
                }
                Err(error) => tracing::debug!("a connection ended before it was accepted: {error}"),
            },
            // Reaps those that are done.
            Some(_) = connections.join_next() => {}
            () = trouble.over() => tracing::warn!("connections are accepted again"),
            () = full.over() => tracing::info!("no connection was refused for a while"),
        }
    }
    drop(source);
    stop.release();
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        // Dropped, each resets both of its sides.
        () = stop.aborted() => {}
    }
}

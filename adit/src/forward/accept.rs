//! Accepts connections, as many as may be at the same time, until it is told to stop.

use std::{future::Future, sync::Arc};

use tokio::task::JoinSet;

use super::{
    OUT_OF_RESOURCES_WAIT,
    counters::{ForwardCounters, Open},
    is_out_of_resources,
    outside::{Acceptor, Outside},
    stop::Stop,
    trouble::Trouble,
};

/// Runs `session` for each connection. Ends when it was told to stop, and the last connection has ended or was cut.
pub(super) async fn serve<F, S>(
    acceptor: Acceptor,
    most: Option<usize>,
    counters: Arc<ForwardCounters>,
    mut stop: Stop,
    session: F,
) where
    F: Fn(Outside) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let (mut trouble, mut full) = (Trouble::default(), Trouble::default());
    loop {
        tokio::select! {
            () = stop.draining() => break,
            accepted = acceptor.accept() => match accepted {
                Ok(outside) => {
                    // Those that ended meanwhile make room.
                    while connections.try_join_next().is_some() {}
                    if most.is_some_and(|most| connections.len() >= most) {
                        counters.on_refused();
                        full.on_failure("connection refused", &format_args!("there are {} already", connections.len()));
                        continue;
                    }
                    let (open, session) = (Open::new(&counters), session(outside));
                    connections.spawn(async move {
                        session.await;
                        drop(open);
                    });
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
            () = full.over() => tracing::info!("no connection was refused for a while"),
        }
    }
    drop(acceptor);
    stop.release();
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        // Dropped, each resets both of its sides.
        () = stop.aborted() => {}
    }
}

//! From one tunnel to the next, over all gateways, until the client is closed or trying again is no use.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use adit_tunnel::Retry;

use crate::{
    active::{Env, now},
    client::ClientEvent,
    error::{Failure, FailureKind, Stage},
    protocol::Protocol,
    race::{Ended, Gateway, closed_by_us, mind_silence, race},
    random::OsRandom,
    resolve::{Names, resolve},
    retry::Itinerary,
    shared::{Shared, State},
};

/// A tunnel that was up for less is no success: a gateway that throws us out at once is not asked in a tight circle.
const STEADY: Duration = Duration::from_secs(10);
/// Target of the log lines that tell of a change of state: however often one comes, it is never a mere repetition, as what it tells of has
/// been otherwise in between.
pub const STATE_CHANGES: &str = "adit_driver::state";
/// How often connections are looked at while there is no tunnel.
const IDLE_TICK: Duration = Duration::from_millis(500);

/// The task of a client.
pub(crate) async fn run<P: Protocol>(mut protocol: P, env: Env) {
    let _end = EndGuard(Arc::clone(&env.shared));
    let failure = supervise(&mut protocol, &env).await;
    if failure.kind() == FailureKind::Closed {
        match failure.stage() {
            Stage::Up => tracing::info!("tunnel closed"),
            Stage::Connecting | Stage::Reconnecting => tracing::info!("no longer connecting"),
        }
    }
    env.shared.end(failure);
}

async fn supervise<P: Protocol>(protocol: &mut P, env: &Env) -> Failure {
    let remotes = protocol.remotes();
    let options = &env.shared.options;
    // A client alone has its own.
    let known = options.names.clone().unwrap_or_default();
    let mut itinerary = Itinerary::new(remotes.len(), protocol.retry_policy(), options.first_rounds, &mut OsRandom);
    let mut strangers = 0;
    loop {
        let (index, redirect) = itinerary.current();
        let Some(mut remote) = remotes.get(index).cloned() else {
            return Failure::new(FailureKind::Configuration, "no gateway to connect to");
        };
        if let Some(host) = redirect {
            host.clone_into(&mut remote.host);
        }
        let gateway = Gateway { index, remote };
        env.shared.publish(ClientEvent::Connecting { remote: gateway.label(None) });
        tracing::info!("connecting to {} over {}", gateway.label(None), gateway.remote.transport);
        let mut up_for = None;
        let mut ended = attempt(protocol, &gateway, env, &known, &mut up_for).await;
        env.handshakes.release();
        env.shared.state.send_replace(State::Down);
        env.shared.note_down();
        let stage = match up_for {
            Some(_) => Stage::Up,
            None if itinerary.was_up() => Stage::Reconnecting,
            None => Stage::Connecting,
        };
        let failure = ended.failure.in_stage(stage);
        let hint = protocol.hint(&failure);
        ended.failure = failure.with_hint(hint);
        if let Some(duration) = up_for {
            itinerary.on_up(duration >= STEADY);
        }
        let is_stranger = ended.failure.kind() == FailureKind::PeerNotAuthenticated;
        let before = if up_for.is_some() { 0 } else { strangers };
        strangers = if is_stranger { before + 1 } else { 0 };
        if env.shuns_strangers && strangers >= remotes.len() {
            return ended.failure;
        }
        let wait = itinerary.on_failure(&ended.retry, &mut OsRandom);
        let Some(wait) = wait.filter(|_| ended.failure.kind() != FailureKind::Closed) else {
            let may_try = !matches!(ended.retry, Retry::Never | Retry::FreshCredentials);
            return if may_try { ended.failure.for_now() } else { ended.failure };
        };
        let (retry_in_ms, hint, failure) = (wait.as_millis() as u64, ended.failure.hint(), &ended.failure);
        if up_for.is_some() {
            tracing::warn!(target: STATE_CHANGES, retry_in_ms, hint, "tunnel lost: {failure}");
        } else {
            tracing::warn!(retry_in_ms, hint, "no tunnel: {failure}");
        }
        env.shared.publish(ClientEvent::Down { cause: ended.failure, retry_in: wait });
        if unless_closed(env, tokio::time::sleep(wait)).await.is_none() {
            return closed_by_us().failure;
        }
    }
}

/// One gateway: all its addresses, until one carried a tunnel to its end or none is left.
async fn attempt<P: Protocol>(
    protocol: &mut P,
    gateway: &Gateway,
    env: &Env,
    known: &Names,
    up_for: &mut Option<Duration>,
) -> Ended {
    let remote = &gateway.remote;
    let resolving = resolve(&remote.host, remote.port, remote.family, remote.timeout);
    let found = unless_closed(env, resolving).await;
    let addresses = match found.map(|found| known.settle(&remote.host, remote.port, found)) {
        None => return closed_by_us(),
        Some(Err(failure)) => return Ended { failure, retry: Retry::NextRemote },
        Some(Ok(addresses)) => of_local_family(addresses, protocol.socket_options().address),
    };
    if addresses.is_empty() {
        let failure = Failure::new(FailureKind::Resolve, "no address in the family of the local address to bind to");
        return Ended { failure: failure.at(&remote.host), retry: Retry::NextRemote };
    }
    attempt_addresses(protocol, gateway, &addresses, env, up_for).await
}

/// As [`attempt`], once the addresses are known.
pub(crate) async fn attempt_addresses<P: Protocol>(
    protocol: &mut P,
    gateway: &Gateway,
    addresses: &[SocketAddr],
    env: &Env,
    up_for: &mut Option<Duration>,
) -> Ended {
    let mut failed = HashSet::new();
    loop {
        let left: Vec<SocketAddr> = addresses.iter().copied().filter(|a| !failed.contains(a)).collect();
        if unless_closed(env, env.handshakes.acquire()).await.is_none() {
            return closed_by_us();
        }
        let mut silence = pin!(mind_silence(gateway, env));
        let racing = beside(silence.as_mut(), race(protocol, gateway, &left, env));
        let mut active = match unless_closed(env, racing).await {
            None => return closed_by_us(),
            Some(Err(ended)) => return ended,
            Some(Ok(active)) => active,
        };
        let address = active.address();
        let closed = match beside(silence.as_mut(), active.answered(env)).await {
            Some(closed) => closed,
            // The answer may have been all there was to say: then it is up, and needs no turn.
            None if active.up_since().is_none() && unless_closed(env, env.handshakes.resume()).await.is_none() => {
                return closed_by_us();
            }
            None => active.run(env).await,
        };
        *up_for = active.up_since().map(|since| now().saturating_duration_since(since));
        protocol.finished(active.into_tunnel());
        let retry = closed.retry.clone();
        let ended = Ended { failure: Failure::from_closed(closed).at(&gateway.label(Some(address))), retry };
        failed.insert(address);
        let another = ended.retry == Retry::NextAddress && up_for.is_none() && failed.len() < addresses.len();
        if !another {
            return ended;
        }
        tracing::debug!("{}; trying the next address", ended.failure);
    }
}

/// A local address to bind to leaves only one family.
pub(crate) fn of_local_family(mut addresses: Vec<SocketAddr>, local: Option<std::net::IpAddr>) -> Vec<SocketAddr> {
    if let Some(local) = local {
        addresses.retain(|address| address.is_ipv4() == local.is_ipv4());
    }
    addresses
}

/// The future's result, while another one runs that has none.
async fn beside<F: Future>(mut other: Pin<&mut impl Future<Output = Infallible>>, future: F) -> F::Output {
    tokio::select! {
        biased;
        output = future => output,
        never = &mut other => match never {},
    }
}

/// The future's result, or `None` once the client is to be closed. Meanwhile connections that wait for too long expire.
async fn unless_closed<F: Future>(env: &Env, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut close = pin!(env.shared.close_requested());
    let mut tick = tokio::time::interval(IDLE_TICK);
    loop {
        tokio::select! {
            biased;
            () = &mut close => return None,
            output = &mut future => return Some(output),
            _ = tick.tick() => env.shared.tick(now()),
        }
    }
}

/// Whoever waits is told, also when the runtime drops the task or it panics.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end(Failure::new(FailureKind::Internal, "the task of the tunnel ended"));
    }
}

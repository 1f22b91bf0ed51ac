//! All addresses of one gateway, a stagger apart (RFC 8305): the first that answers is used, the others are dropped before
//! they could authenticate, or ask a person anything.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use adit_tunnel::{CloseKind, Path, Retry, Transport, Tunnel};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    active::{Active, Env, now},
    error::{Failure, FailureKind},
    options::after,
    outer::{self, Receiver, Sender},
    protocol::{Protocol, Remote, SocketOptions},
    random::{OsRandom, clocks},
};

/// An attempt is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) failure: Failure,
    pub(crate) retry: Retry,
}

/// One gateway, with its index in [`Protocol::remotes`].
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) index: usize,
    pub(crate) remote: Remote,
}

impl Gateway {
    /// `host:port`, with the address where it is not the host itself.
    pub(crate) fn label(&self, address: Option<SocketAddr>) -> String {
        let Remote { host, port, .. } = &self.remote;
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        match address {
            Some(address) if address.to_string() != name => format!("{name} ({})", address.ip()),
            _ => name,
        }
    }
}

fn from_now(wait: Duration) -> Instant {
    after(now(), wait).into()
}

/// After so long, whoever waits is told that nothing has come yet.
const SILENCE: Duration = Duration::from_secs(3);

/// Tries the addresses until one answers.
pub(crate) async fn race<P: Protocol>(
    protocol: &mut P,
    gateway: &Gateway,
    addresses: &[SocketAddr],
    env: &Env,
) -> Result<Active<P::Tunnel>, Ended> {
    let mut racing = pin!(race_silently(protocol, gateway, addresses, env));
    tokio::select! {
        biased;
        ended = &mut racing => return ended,
        () = sleep_until(from_now(SILENCE)) => tracing::info!("no answer yet from {}", gateway.label(None)),
    }
    racing.await
}

async fn race_silently<P: Protocol>(
    protocol: &mut P,
    gateway: &Gateway,
    addresses: &[SocketAddr],
    env: &Env,
) -> Result<Active<P::Tunnel>, Ended> {
    match gateway.remote.transport {
        Transport::Udp => race_udp(protocol, gateway, addresses, env).await,
        Transport::Tcp => {
            let options = SocketOptions { mark: env.shared.options.mark, ..protocol.socket_options() };
            let stagger = env.shared.options.stagger;
            let (address, receiver, sender) = race_tcp(gateway, addresses, options, stagger).await?;
            start(protocol, gateway, address, receiver, sender, env)
        }
    }
}

/// A tunnel in the race.
struct Runner<T: Tunnel> {
    active: Active<T>,
    /// An ICMP error came.
    refused: bool,
}

/// What became of a runner.
enum Progress {
    /// It has won.
    Answered,
    /// An ICMP error came, for the first time. It runs on.
    Refused,
    /// It is out of the race.
    Failed(Ended),
}

/// Each address has a socket and a tunnel of its own.
async fn race_udp<P: Protocol>(
    protocol: &mut P,
    gateway: &Gateway,
    addresses: &[SocketAddr],
    env: &Env,
) -> Result<Active<P::Tunnel>, Ended> {
    let options = SocketOptions { mark: env.shared.options.mark, ..protocol.socket_options() };
    let mut waiting = VecDeque::from_iter(addresses.iter().copied());
    let mut running: Vec<Runner<P::Tunnel>> = Vec::new();
    let mut last = None;
    let mut next_start = Instant::now();
    let mut give_up = None;
    loop {
        if running.is_empty() || Instant::now() >= next_start {
            match waiting.pop_front() {
                None if running.is_empty() => return Err(last.unwrap_or_else(nothing_to_try)),
                None => {}
                Some(address) => {
                    next_start = from_now(env.shared.options.stagger);
                    tracing::debug!("trying {} over UDP", gateway.label(Some(address)));
                    match outer::open_udp(address, &options) {
                        Ok((receiver, sender)) => {
                            let active = start(protocol, gateway, address, receiver, sender, env)?;
                            running.push(Runner { active, refused: false });
                        }
                        Err(error) => last = Some(socket_failed(gateway, address, error)),
                    }
                    continue;
                }
            }
        }
        if waiting.is_empty() && running.iter().all(|runner| runner.refused) {
            give_up.get_or_insert_with(|| from_now(env.shared.options.refused_patience));
        }
        let first = poll_fn(|cx| poll_first(cx, &mut running, gateway, env));
        tokio::select! {
            biased;
            (index, progress) = first => match progress {
                Progress::Answered => return Ok(running.swap_remove(index).active),
                Progress::Refused => next_start = Instant::now(),
                Progress::Failed(ended) => {
                    running.swap_remove(index);
                    if ended.failure.kind() == FailureKind::Closed {
                        return Err(ended);
                    }
                    tracing::debug!("{}", ended.failure);
                    last = Some(ended);
                    next_start = Instant::now();
                }
            },
            () = sleep_until(next_start), if !waiting.is_empty() => {}
            () = sleep_until(give_up.unwrap_or(next_start)), if give_up.is_some() => {
                let refused = running.first().and_then(|runner| refused(gateway, &runner.active));
                return Err(refused.or(last).unwrap_or_else(nothing_to_try));
            }
        }
    }
}

/// The first tunnel that came forward, or fell back.
fn poll_first<T: Tunnel>(
    cx: &mut Context<'_>,
    running: &mut [Runner<T>],
    gateway: &Gateway,
    env: &Env,
) -> Poll<(usize, Progress)> {
    for (index, runner) in running.iter_mut().enumerate() {
        let label = gateway.label(Some(runner.active.address()));
        match runner.active.poll_answered(cx, env) {
            Poll::Ready(None) => return Poll::Ready((index, Progress::Answered)),
            Poll::Ready(Some(closed)) => {
                // Nobody answered: what an ICMP error said tells more.
                let refused = refused(gateway, &runner.active).filter(|_| closed.kind == CloseKind::TimedOut);
                let retry = closed.retry.clone();
                let ended = Ended { failure: Failure::from_closed(closed).at(&label), retry };
                return Poll::Ready((index, Progress::Failed(refused.unwrap_or(ended))));
            }
            Poll::Pending => {}
        }
        if let Some(trouble) = runner.active.trouble() {
            let text = io::Error::new(trouble.kind(), trouble.to_string());
            let failure = Failure::io(FailureKind::Unreachable, text).at(&label);
            return Poll::Ready((index, Progress::Failed(Ended { failure, retry: Retry::NextAddress })));
        }
        if !runner.refused && runner.active.icmp_error().is_some() {
            runner.refused = true;
            return Poll::Ready((index, Progress::Refused));
        }
    }
    Poll::Pending
}

/// The failure an ICMP error tells of.
fn refused<T: Tunnel>(gateway: &Gateway, active: &Active<T>) -> Option<Ended> {
    let kind = active.icmp_error()?.kind();
    let failure = Failure::io(FailureKind::Unreachable, io::Error::new(kind, format!("{kind} (ICMP)")));
    Some(Ended { failure: failure.at(&gateway.label(Some(active.address()))), retry: Retry::NextAddress })
}

/// Only the connects race; the tunnel is started on the stream that was there first.
async fn race_tcp(
    gateway: &Gateway,
    addresses: &[SocketAddr],
    options: SocketOptions,
    stagger: Duration,
) -> Result<(SocketAddr, Receiver, Sender), Ended> {
    let timeout = gateway.remote.timeout;
    let mut waiting = VecDeque::from_iter(addresses.iter().copied());
    // Dropped with this function: the losers are closed.
    let mut running = JoinSet::new();
    let mut last = None;
    let mut next_start = Instant::now();
    loop {
        if running.is_empty() || Instant::now() >= next_start {
            match waiting.pop_front() {
                None if running.is_empty() => return Err(last.unwrap_or_else(nothing_to_try)),
                None => {}
                Some(address) => {
                    tracing::debug!("trying {} over TCP", gateway.label(Some(address)));
                    running.spawn(async move { (address, outer::open_tcp(address, &options, timeout).await) });
                    next_start = from_now(stagger);
                    continue;
                }
            }
        }
        tokio::select! {
            biased;
            Some(done) = running.join_next() => match done {
                Ok((address, Ok((receiver, sender)))) => return Ok((address, receiver, sender)),
                Ok((address, Err(error))) => {
                    let ended = socket_failed(gateway, address, error);
                    tracing::debug!("{}", ended.failure);
                    last = Some(ended);
                    next_start = Instant::now();
                }
                Err(error) => last = Some(Ended { failure: Failure::new(FailureKind::Internal, error), retry: Retry::Never }),
            },
            () = sleep_until(next_start), if !waiting.is_empty() => {}
        }
    }
}

fn start<P: Protocol>(
    protocol: &mut P,
    gateway: &Gateway,
    address: SocketAddr,
    receiver: Receiver,
    sender: Sender,
    env: &Env,
) -> Result<Active<P::Tunnel>, Ended> {
    let path = Path {
        transport: receiver.transport(),
        local: receiver.local_address(address, env.shared.options.mark),
        remote: address,
    };
    let (epoch, now) = clocks();
    match protocol.start(gateway.index, path, Box::new(OsRandom), epoch, now) {
        Ok(tunnel) => {
            // A stream, and a socket bound to one address, stay where they are.
            let roams = path.transport == Transport::Udp && protocol.socket_options().address.is_none();
            let roaming = if roams { env.roaming(&path, now) } else { None };
            Ok(Active::new(tunnel, path, receiver, sender, roaming))
        }
        Err(error) => Err(Ended { failure: Failure::new(FailureKind::Configuration, error), retry: Retry::Never }),
    }
}

/// A socket could not be opened: our own fault, or the gateway's.
pub(crate) fn socket_failed(gateway: &Gateway, address: SocketAddr, error: io::Error) -> Ended {
    let local = matches!(
        error.kind(),
        io::ErrorKind::AddrInUse
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
    );
    let kind = if local { FailureKind::LocalSocket } else { FailureKind::Unreachable };
    Ended { failure: Failure::io(kind, error).at(&gateway.label(Some(address))), retry: Retry::NextAddress }
}

fn nothing_to_try() -> Ended {
    Ended { failure: Failure::new(FailureKind::Resolve, "no address to try"), retry: Retry::NextRemote }
}

/// The end that closing the client brings while nothing needs a farewell.
pub(crate) fn closed_by_us() -> Ended {
    let closed = adit_tunnel::Closed { kind: CloseKind::Local, source: "closed".into(), retry: Retry::Never };
    Ended { failure: Failure::from_closed(closed), retry: Retry::Never }
}

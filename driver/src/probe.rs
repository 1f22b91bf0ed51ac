//! Negotiates with a gateway to see what it says: every address, without a tunnel.
//!
//! The handshake is that of a tunnel, run by the same loop; the protocols keep the report ([`::ikev2::ProbeReport`],
//! [`::openvpn::ProbeReport`]).

use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_tunnel::{CloseKind, Epoch, Path, Random, Transport, Tunnel};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    active::{Active, Env, now},
    any::Any,
    error::{Failure, FailureKind},
    options::{Options, Prompter},
    outer::{self, Receiver, Sender},
    protocol::{Protocol, SocketOptions},
    race::{Gateway, socket_failed},
    random::{OsRandom, clocks},
    resolve::resolve,
    shared::Shared,
    supervisor::of_local_family,
};

/// How to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Tries our credentials, too: at one address, the first that judges them.
    pub login: bool,
    /// The longest an address may take to answer at all.
    pub patience: Duration,
}

/// What is known of one `remote` of a configuration.
#[derive(Debug)]
pub struct RemoteProbe {
    /// `host:port`.
    pub remote: String,
    /// UDP or TCP.
    pub transport: Transport,
    /// Every address of the host; a failure when it has none.
    pub addresses: Result<Vec<AddressProbe>, Failure>,
}

/// What is known of one address of a gateway.
#[derive(Debug)]
pub struct AddressProbe {
    /// Address and port.
    pub address: SocketAddr,
    /// The time that the TCP handshake took, over TCP.
    pub connected: Option<Duration>,
    /// What the gateway said; `None` if nothing could even be asked.
    pub report: Option<ProbeReport>,
    /// Whether the credentials were to be tried here.
    pub login: bool,
    /// All went well, or why not.
    pub result: Result<(), Failure>,
}

/// What a gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeReport {
    /// In IKEv2.
    Ikev2(Box<::ikev2::ProbeReport>),
    /// In OpenVPN.
    OpenVpn(Box<::openvpn::ProbeReport>),
}

impl ProbeReport {
    /// Whether anything came back.
    fn has_answer(&self) -> bool {
        match self {
            Self::Ikev2(report) => report.first_answer.is_some(),
            Self::OpenVpn(report) => report.first_answer.is_some(),
        }
    }

    /// Whether our credentials were accepted or refused.
    fn has_judged(&self) -> bool {
        match self {
            Self::Ikev2(report) => report.accepted_us.is_some(),
            Self::OpenVpn(report) => report.accepted_us.is_some(),
        }
    }
}

/// Probes every address of every gateway of a configuration: beside each other, or one after another with a login, which is
/// tried until one of them has judged it. Nothing of it comes up: see [`::ikev2::Probe`] and [`::openvpn::Probe`].
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn probe(config: impl Into<Any>, options: ProbeOptions, prompter: Arc<dyn Prompter>) -> Vec<RemoteProbe> {
    let prober = Prober { config: Arc::new(config.into()), options, prompter };
    let gateways = prober.config.remotes().into_iter().enumerate().map(|(index, remote)| Gateway { index, remote });
    if options.login {
        let (mut probes, mut login) = (Vec::new(), true);
        for gateway in gateways {
            probes.push(prober.remote_with_login(gateway, &mut login).await);
        }
        return probes;
    }
    let mut running = JoinSet::new();
    for gateway in gateways {
        let prober = prober.clone();
        running.spawn(async move { (gateway.index, prober.remote(gateway).await) });
    }
    let mut probes = running.join_all().await;
    probes.sort_by_key(|(index, _)| *index);
    probes.into_iter().map(|(_, probe)| probe).collect()
}

#[derive(Clone)]
struct Prober {
    config: Arc<Any>,
    options: ProbeOptions,
    prompter: Arc<dyn Prompter>,
}

impl Prober {
    async fn remote(&self, gateway: Gateway) -> RemoteProbe {
        let addresses = match self.addresses(&gateway).await {
            Err(failure) => Err(failure),
            Ok(addresses) => {
                let mut running = JoinSet::new();
                for (index, address) in addresses.into_iter().enumerate() {
                    let (prober, gateway) = (self.clone(), gateway.clone());
                    running.spawn(async move { (index, prober.address(&gateway, address, false).await) });
                }
                let mut probes = running.join_all().await;
                probes.sort_by_key(|(index, _)| *index);
                Ok(probes.into_iter().map(|(_, probe)| probe).collect())
            }
        };
        RemoteProbe { remote: gateway.label(None), transport: gateway.remote.transport, addresses }
    }

    /// One address after another: credentials that are refused at one are not tried at the next.
    async fn remote_with_login(&self, gateway: Gateway, login: &mut bool) -> RemoteProbe {
        let addresses = match self.addresses(&gateway).await {
            Err(failure) => Err(failure),
            Ok(addresses) => {
                let mut probes = Vec::new();
                for address in addresses {
                    let probe = self.address(&gateway, address, *login).await;
                    *login &= !probe.report.as_ref().is_some_and(ProbeReport::has_judged);
                    probes.push(probe);
                }
                Ok(probes)
            }
        };
        RemoteProbe { remote: gateway.label(None), transport: gateway.remote.transport, addresses }
    }

    async fn addresses(&self, gateway: &Gateway) -> Result<Vec<SocketAddr>, Failure> {
        let remote = &gateway.remote;
        let patience = remote.timeout.min(self.options.patience);
        let found = resolve(&remote.host, remote.port, remote.family, patience).await;
        let found = found.map(|found| of_local_family(found, self.config.socket_options().address)).and_then(|found| {
            let none = "no address in the family of the local address to bind to";
            if found.is_empty() { Err(Failure::new(FailureKind::Resolve, none)) } else { Ok(found) }
        });
        found.map_err(|failure| self.explained(failure))
    }

    async fn address(&self, gateway: &Gateway, address: SocketAddr, login: bool) -> AddressProbe {
        let mut probe = AddressProbe { address, connected: None, report: None, login, result: Ok(()) };
        let result = self.negotiate(gateway, &mut probe).await;
        probe.result = result.map_err(|failure| self.explained(failure.at(&gateway.label(Some(address)))));
        probe
    }

    async fn negotiate(&self, gateway: &Gateway, probe: &mut AddressProbe) -> Result<(), Failure> {
        let options = self.config.socket_options();
        let began = now();
        let sockets = match gateway.remote.transport {
            Transport::Udp => outer::open_udp(probe.address, &options),
            Transport::Tcp => {
                let patience = gateway.remote.timeout.min(self.options.patience);
                let sockets = outer::open_tcp(probe.address, &options, patience).await;
                probe.connected = sockets.is_ok().then(|| now().saturating_duration_since(began));
                sockets
            }
        };
        let sockets = sockets.map_err(|error| socket_failed(gateway, probe.address, error).failure)?;
        match &*self.config {
            Any::Ikev2(protocol) => {
                self.run(sockets, &options, probe, |path, random, epoch, login| {
                    let config = Arc::clone(protocol.config());
                    let probe = ::ikev2::Probe { login };
                    Ok(::ikev2::Session::probe(config, gateway.index, path, random, epoch, now(), probe)?)
                })
                .await
            }
            Any::OpenVpn(protocol) => {
                self.run(sockets, &options, probe, |path, random, epoch, login| {
                    let config = Arc::clone(protocol.config());
                    let probe = ::openvpn::Probe { login };
                    Ok(::openvpn::Session::probe(config, gateway.index, path, random, epoch, now(), probe)?)
                })
                .await
            }
        }
    }

    async fn run<T: Probed>(
        &self,
        (receiver, sender): (Receiver, Sender),
        options: &SocketOptions,
        probe: &mut AddressProbe,
        start: impl FnOnce(Path, Box<dyn Random>, Epoch, bool) -> Result<T, Box<dyn Error + Send + Sync>>,
    ) -> Result<(), Failure> {
        let local = receiver.local_address(probe.address, None);
        let path = Path { transport: receiver.transport(), local, remote: probe.address };
        let tunnel = start(path, Box::new(OsRandom), clocks().0, probe.login);
        let tunnel = tunnel.map_err(|error| Failure::new(FailureKind::Configuration, error))?;
        let shared = Arc::new(Shared::new(Options::default(), OsRandom.next_u64()));
        let env = Env::new(shared, Arc::clone(&self.prompter));
        let roams = path.transport == Transport::Udp && options.address.is_none();
        let roaming = if roams { env.roaming(&path, now()) } else { None };
        let mut active = Active::new(tunnel, path, receiver, sender, roaming);
        let answered = |active: &Active<T>| active.tunnel().report().is_some_and(|report| report.has_answer());
        let (began, mut refusals, mut unroutable) = (now(), Refusals::default(), Refusals::default());
        let closed = loop {
            if answered(&active) {
                // Who has answered is waited for as long as the protocol does.
                break Some(active.run(&env).await);
            }
            if let Ok(closed) = timeout(LOOK, active.run(&env)).await {
                break Some(closed);
            }
            let refused = refusals.are_believed(now(), active.refusals());
            let is_vain = unroutable.are_believed(now(), active.unroutable()) || now() >= began + self.options.patience;
            if !answered(&active) && (refused || is_vain) {
                break None;
            }
        };
        let is_unroutable = active.unroutable() >= REFUSALS;
        let icmp = active
            .icmp_error()
            .or_else(|| active.trouble())
            .map(|error| io::Error::new(error.kind(), error.to_string()));
        probe.report = active.into_tunnel().report();
        match closed {
            Some(closed) if closed.kind == CloseKind::Local => Ok(()),
            Some(closed) if closed.kind != CloseKind::TimedOut || icmp.is_none() => Err(Failure::from_closed(closed)),
            // It was waited for in vain, whatever was refused meanwhile.
            Some(_) | None => Err(match icmp {
                Some(icmp) if icmp.kind() == io::ErrorKind::ConnectionRefused => refused(probe.address),
                Some(icmp) if is_unroutable => unroutable_at(probe.address, &icmp),
                icmp => silent(now().saturating_duration_since(began), icmp),
            }),
        }
    }

    fn explained(&self, failure: Failure) -> Failure {
        let hint = self.config.hint(&failure);
        failure.with_hint(hint)
    }
}

/// How often is looked whether ICMP errors have come.
const LOOK: Duration = Duration::from_millis(50);
/// So many have to say that nothing listens, or not to leave this machine: the first datagram, and one that was sent again.
const REFUSALS: u32 = 2;
/// How long somebody is listened to afterwards who may answer all the same: anybody can send such errors.
const AFTER_REFUSALS: Duration = Duration::from_secs(1);

/// Errors about an address that has not answered: ICMP errors that say that nothing listens, or datagrams in a row that this machine
/// has no way for.
#[derive(Debug, Default)]
struct Refusals {
    /// When there were enough of them.
    since: Option<Instant>,
}

impl Refusals {
    /// Whether there were so many, so long ago, that nobody is waited for any more.
    fn are_believed(&mut self, now: Instant, count: u32) -> bool {
        if count >= REFUSALS {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
        }
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= AFTER_REFUSALS)
    }
}

/// Nothing listens there, or a firewall says so.
fn refused(address: SocketAddr) -> Failure {
    let text = format!("nothing listens at {address}/udp (ICMP port unreachable)");
    Failure::io(FailureKind::Unreachable, io::Error::new(io::ErrorKind::ConnectionRefused, text))
}

/// Nothing could be sent, for as long as it was tried.
fn unroutable_at(address: SocketAddr, error: &io::Error) -> Failure {
    let text = format!("nothing can be sent to {address}/udp from this machine: {}", error.kind());
    Failure::io(FailureKind::Unreachable, io::Error::new(error.kind(), text))
}

/// Nothing came back.
fn silent(waited: Duration, icmp: Option<io::Error>) -> Failure {
    let seconds = waited.as_secs_f64().round();
    let text = match icmp {
        Some(error) => format!("no answer within {seconds} s: {}", error.kind()),
        None => format!("no answer within {seconds} s"),
    };
    Failure::io(FailureKind::Unreachable, io::Error::new(io::ErrorKind::TimedOut, text))
}

/// A tunnel that keeps a report.
trait Probed: Tunnel + Send + 'static {
    fn report(&self) -> Option<ProbeReport>;
}

impl Probed for ::ikev2::Session {
    fn report(&self) -> Option<ProbeReport> {
        self.probe_report().map(|report| ProbeReport::Ikev2(Box::new(report.clone())))
    }
}

impl Probed for ::openvpn::Session {
    fn report(&self) -> Option<ProbeReport> {
        self.probe_report().map(|report| ProbeReport::OpenVpn(Box::new(report)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_is_not_believed_and_several_only_after_a_while() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut refusals = Refusals::default();
        for milliseconds in [0, 500, 9000] {
            assert!(!refusals.are_believed(at(milliseconds), 1), "anybody can send one");
        }
        assert!(!refusals.are_believed(at(10_000), 2), "the true gateway may still answer");
        assert!(!refusals.are_believed(at(10_999), 3));
        assert!(refusals.are_believed(at(11_000), 3));
        assert!(!refusals.are_believed(at(11_050), 0), "one could be sent meanwhile");
        assert!(!refusals.are_believed(at(11_100), 2), "it begins anew");
        assert!(refusals.are_believed(at(12_100), 3));
    }
}

//! What `adit serve` does, from its start to its exit code.

use std::{io, io::Write, sync::Arc};

use adit_driver::gateway::{
    AdmitProved, Authenticator, Event, Gateway, HostSockets, Limits, Options, Passwords, Peer, TunOptions, WayOut,
};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::{
    arguments::{LogFormat, Serve},
    config::{
        Problems,
        serve::{self as config, Protocol},
    },
    error::{Error, Exit},
    signals::Signals,
};

/// Said at every start, as a gateway is easily taken for more than it is.
const WHAT_IT_IS: &str = "this gateway is for labs, tests and small sites: one process with the users of its file; no RADIUS, no \
                          fetching of revocation lists; `adit serve --help` says more";

pub(crate) async fn run(arguments: &Serve, format: LogFormat) -> Result<Exit, Error> {
    let mut signals = Signals::new()?;
    let configs = config::load(&arguments.config).map_err(Problems::last)?;
    tracing::info!("{WHAT_IT_IS}");
    if let Some(problem) = config::shared_pools(&configs) {
        if arguments.tun {
            return Err(Error::new(Exit::Usage, problem).hint("give each gateway a `pool` of its own"));
        }
        tracing::warn!("{problem}; two peers may have the same address");
    }
    let mut gateways = Vec::new();
    for config in configs {
        gateways.push(start(config, arguments.tun)?);
    }
    announce(&gateways)?;
    let mut followers = JoinSet::new();
    for (name, gateway) in &gateways {
        followers.spawn(follow(gateway.clone(), format).instrument(tracing::info_span!("serve", gateway = name)));
    }
    let exit = tokio::select! {
        biased;
        exit = signals.next() => Ok(exit),
        // A gateway ends when it is told to, and nobody has told it.
        Some(_) = followers.join_next() => Err(ended(&gateways)),
    };
    let patience = Limits::default().close_timeout.as_secs();
    tracing::info!("saying goodbye to all peers, and waiting up to {patience} s for their answers");
    let mut closing: JoinSet<()> =
        gateways.into_iter().map(|(_, gateway)| async move { gateway.close().await }).collect();
    let closed = async {
        while closing.join_next().await.is_some() {}
        // What the last peers come to is still to be said.
        while followers.join_next().await.is_some() {}
    };
    Ok(tokio::select! {
        () = closed => exit?,
        again = signals.next() => again,
    })
}

/// Which gateway has ended by itself, and why.
fn ended(gateways: &[(String, Gateway)]) -> Error {
    let failed = gateways.iter().find_map(|(name, gateway)| Some((name, gateway.failure()?)));
    match failed {
        Some((name, failure)) => Error::new(Exit::Lost, format!("gateway `{name}`: {failure}")),
        None => Error::new(Exit::Other, "a gateway has ended by itself"),
    }
}

/// Listens, and opens the way out.
fn start(config: config::Gateway, tun: bool) -> Result<(String, Gateway), Error> {
    let config::Gateway { name, protocol, listen, pool, network, allow, tun_name, single, max_peers } = config;
    let exit: WayOut = if tun {
        if !allow.is_empty() {
            tracing::warn!(
                "gateway `{name}`: `allow` has no effect with --tun: what passes is for the kernel's rules to say"
            );
        }
        let default = TunOptions::default();
        let mtu = if network.mtu == 0 { default.mtu } else { network.mtu };
        TunOptions { name: tun_name, mtu }.into()
    } else {
        HostSockets::new(allow).into()
    };
    let authenticator: Arc<dyn Authenticator> = match &protocol {
        Protocol::OpenVpn { passwords, .. } if !passwords.is_empty() => Arc::new(Passwords::new(passwords.clone())),
        Protocol::Ikev2(_) | Protocol::OpenVpn { .. } => Arc::new(AdmitProved),
    };
    let mut options = Options { network, authenticator, single, ..Options::new(listen, pool, AdmitProved, exit) };
    options.limits.peers = max_peers.unwrap_or(options.limits.peers);
    let low = options.listen.iter().any(|listen| (1..1024).contains(&listen.address.port()));
    let _speaks = tracing::info_span!("serve", gateway = name).entered();
    let started = match protocol {
        Protocol::Ikev2(config) => Gateway::start(adit_driver::ikev2::responder(config), options),
        Protocol::OpenVpn { config, .. } => Gateway::start(adit_driver::openvpn::server(config), options),
    };
    match started {
        Ok(gateway) => Ok((name, gateway)),
        Err(error) => Err(unusable(&name, low, tun, &error)),
    }
}

/// `low` says whether a port is below 1024.
fn unusable(name: &str, low: bool, tun: bool, error: &io::Error) -> Error {
    let bound = Error::new(Exit::LocalSocket, format!("gateway `{name}`: {error}"));
    let rights = match (low, tun) {
        (true, _) => "ports below 1024 need rights; choose a higher one",
        (false, true) => "a TUN device needs root; without --tun nothing does",
        (false, false) => "this system lets other users alone listen there",
    };
    let hints = [
        (io::ErrorKind::AddrInUse, "another program uses that port; choose another one in `listen`"),
        (io::ErrorKind::AddrNotAvailable, "this machine does not have an address of `listen`"),
        (io::ErrorKind::PermissionDenied, rights),
    ];
    match hints.iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, hint)) => bound.hint(*hint),
        None => bound,
    }
}

/// One line for each address, for whoever waits for them.
fn announce(gateways: &[(String, Gateway)]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let mut lines = gateways.iter().flat_map(|(name, gateway)| {
        gateway.local_addresses().into_iter().map(move |(transport, address)| (name, address, transport))
    });
    let written = lines.try_for_each(|(name, address, transport)| {
        let transport = transport.to_string().to_lowercase();
        writeln!(stdout, "ready {name} {address}/{transport}")
    });
    written.and_then(|()| stdout.flush()).map_err(|error| Error::new(Exit::Other, format!("standard output: {error}")))
}

/// Logs who comes and goes, until the gateway has ended; with fields beside the text for the log of machines.
pub(crate) async fn follow(gateway: Gateway, format: LogFormat) {
    let mut events = gateway.events();
    // Who follows must not be what keeps it going.
    drop(gateway);
    while let Some(event) = events.next().await {
        match event {
            Event::Up(peer) => say(&peer, format, &format!("is up, as {}", addresses(&peer, " and "))),
            Event::Moved(peer) => say(&peer, format, "has moved"),
            Event::Down(peer, failure) if failure.was_up() => say(&peer, format, &format!("is down: {failure}")),
            Event::Down(peer, failure) => {
                let text = format!("{} did not come in: {failure}", shown(&peer));
                match format {
                    LogFormat::Text => tracing::warn!("{text}"),
                    LogFormat::Json => {
                        let Peer { identity, remote, transport, .. } = peer;
                        tracing::warn!(peer = identity, %remote, %transport, "{text}");
                    }
                }
            }
        }
    }
    tracing::info!("gateway closed");
}

fn say(peer: &Peer, format: LogFormat, what: &str) {
    let text = format!("{} {what}", shown(peer));
    match format {
        LogFormat::Text => tracing::info!("{text}"),
        LogFormat::Json => {
            let (remote, transport, address) = (peer.remote, peer.transport, addresses(peer, " "));
            tracing::info!(peer = peer.identity, %remote, %transport, address, "{text}");
        }
    }
}

fn addresses(peer: &Peer, between: &str) -> String {
    let addresses: Vec<_> = peer.addresses.iter().map(|network| network.address().to_string()).collect();
    addresses.join(between)
}

fn shown(peer: &Peer) -> String {
    let identity = peer.identity.as_deref().unwrap_or("somebody");
    format!("{} from {} over {}", identity.escape_debug(), peer.remote, peer.transport)
}

//! One of the two ways to the page: a gateway, a client, and a forward between them and this machine.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use adit_driver::{
    Any, Builder, Client,
    gateway::{AdmitProved, BoxFuture, Datagrams, Exit as WayOut, Gateway, Listen, Options, Passwords, Pool, Stream},
};
use adit_tunnel::{IpNet, Route, RouteVia, Transport};
use tokio::{net::TcpStream, task::JoinSet};
use tracing::{Instrument, Span, info_span};

use super::{
    keys::{GATEWAY, Keys, USER},
    page,
};
use crate::{
    arguments::LogFormat,
    error::{Error, Exit},
    forward::{self, Bound, Stopper},
    plan::{ForwardKind, ForwardPlan, Listen as LocalListen},
    serve,
};

/// Where the web server seems to be. Nothing on this machine answers there.
pub(super) const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 168, 100, 30)), 8080);
/// The network around it.
const BEHIND: ([u8; 4], u8) = ([192, 168, 100, 0], 24);
/// The local ports, and up to which one a free one is looked for.
const PORTS: [u16; 2] = [33000, 33001];
const LAST_PORT: u16 = 33999;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ikev2,
    OpenVpn,
}

/// A way to the page that works.
pub(super) struct Lane {
    kind: Kind,
    gateway: Gateway,
    client: Client,
    address: SocketAddr,
    _stopper: Stopper,
    /// What keeps it going; ends with it.
    _tasks: JoinSet<()>,
}

/// The local ports of both, each the one that is wanted, or else the next that is free.
pub(super) fn bind() -> Result<[Bound; 2], Error> {
    let [first, second] = PORTS;
    Ok([bind_near(first)?, bind_near(second)?])
}

fn bind_near(wanted: u16) -> Result<Bound, Error> {
    // The other's port is not a free one.
    let ports = std::iter::once(wanted).chain(PORTS[1] + 1..=LAST_PORT);
    let listener = Bound::bind_first(ports.map(|port| {
        let listen = LocalListen::Tcp((Ipv4Addr::LOCALHOST, port).into());
        ForwardPlan::new(ForwardKind::Local { listen, to: PAGE.into() })
    }))?;
    let port = listener.address().map_or(0, |address| address.port());
    if port != wanted {
        tracing::warn!("port {wanted} is taken by another program; {port} is the next free one");
    }
    Ok(listener)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Ikev2 => "IKEv2",
            Self::OpenVpn => "OpenVPN",
        }
    }

    /// Who speaks in the log.
    fn spans(self) -> (Span, Span) {
        match self {
            Self::Ikev2 => (info_span!("IKEv2 gateway"), info_span!("IKEv2 client")),
            Self::OpenVpn => (info_span!("OpenVPN gateway"), info_span!("OpenVPN client")),
        }
    }

    fn pool(self) -> IpNet {
        let third = match self {
            Self::Ikev2 => 1,
            Self::OpenVpn => 2,
        };
        net([10, 99, third, 0], 24)
    }
}

impl Lane {
    /// Starts the gateway, connects the client, and forwards.
    pub(super) async fn start(kind: Kind, keys: &Keys, listener: Bound) -> Result<Self, Error> {
        let (at_gateway, at_client) = kind.spans();
        let mut tasks = JoinSet::new();
        let gateway = at_gateway.in_scope(|| start_gateway(kind, keys))?;
        tasks.spawn(serve::follow(gateway.clone(), LogFormat::Text).instrument(at_gateway.clone()));
        let Some((_, remote)) = gateway.local_addresses().first().copied() else {
            return Err(Error::new(Exit::LocalSocket, "the gateway listens nowhere"));
        };
        at_gateway.in_scope(|| {
            tracing::info!(
                "listens on {remote}/udp; behind it is a web server at {PAGE}, without a socket of this machine"
            );
        });
        let client = at_client.in_scope(|| {
            let config = client_config(kind, keys, remote)?;
            Ok::<_, Error>(Builder::new(config).options(forward::options()).start())
        })?;
        client.up().await?;
        let Some(address) = listener.address() else {
            return Err(Error::new(Exit::LocalSocket, "the forward listens nowhere"));
        };
        at_client.in_scope(|| {
            tracing::info!("whatever connects to {address} reaches {PAGE} through the tunnel");
        });
        let (stopper, stop) = Stopper::new();
        let served = listener.serve(client.clone().into(), Arc::default(), stop);
        tasks.spawn(async move { drop(served.await) }.instrument(at_client));
        Ok(Self { kind, gateway, client, address, _stopper: stopper, _tasks: tasks })
    }

    /// Fetches the page as anybody else would: over the local port.
    pub(super) async fn fetch(&mut self) -> Result<String, Error> {
        let Self { kind, address, .. } = self;
        let failed = |problem: String| {
            let error = Error::new(Exit::Other, format!("{}: no page at {address}: {problem}", kind.name()));
            error.hint("`adit demo -v` says more")
        };
        let fetched = async { page::ask(TcpStream::connect(*address).await?).await }.await;
        let page = fetched.map_err(|error| failed(error.to_string()))?;
        if page != page::page(kind.name()) {
            return Err(failed("another page was there".to_owned()));
        }
        tracing::info!("fetched http://{address}/ through {}:", kind.name());
        Ok(page)
    }

    /// The local address that leads to the page.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the tunnel has ended for good, which it should not.
    pub(super) async fn ended(&self) -> Error {
        self.client.closed().await.into()
    }

    /// The client says goodbye, then the gateway ends.
    pub(super) async fn close(&self) {
        self.client.close().await;
        self.gateway.close().await;
    }
}

pub(super) fn start_gateway(kind: Kind, keys: &Keys) -> Result<Gateway, Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::new(Exit::Other, format!("{}: {error}", kind.name()));
    let pool = Pool::new([kind.pool()]).map_err(|error| unusable(&error))?;
    let listen = [Listen::udp((Ipv4Addr::LOCALHOST, 0))];
    let mut options = Options::new(listen, pool, AdmitProved, Page { way: kind.name() });
    options.network.routes = vec![Route { destination: net(BEHIND.0, BEHIND.1), via: RouteVia::Tunnel, metric: None }];
    let certificate = Arc::new(keys.gateway().map_err(|error| unusable(&error))?);
    let started = match kind {
        Kind::Ikev2 => {
            use ikev2::{
                AcceptedPeers, EapServerConfig, EapServerMethod, EapUser, Identity, MsChapV2Secret, ResponderConfig,
            };
            let secret = MsChapV2Secret::Password(keys.password.clone());
            let users = vec![EapUser { name: USER.to_owned(), secret }];
            let eap = Some(EapServerConfig { methods: vec![EapServerMethod::MsChapV2], users });
            let config = ResponderConfig::builder(AcceptedPeers { eap, ..AcceptedPeers::default() })
                .identity(Identity::of_host(GATEWAY))
                .certificate(certificate)
                .build();
            let config = config.map_err(|error| unusable(&error))?;
            Gateway::start(adit_driver::ikev2::responder(Arc::new(config)), options)
        }
        Kind::OpenVpn => {
            use openvpn::{ClientAnchors, ClientCertificates, ClientCheck, ServerConfig, ServerWrap};
            let anchors = ClientAnchors { ca: vec![keys.authority()], crls: Vec::new() };
            let clients = ClientCheck { certificates: ClientCertificates::Required(anchors), login: true };
            let config = ServerConfig::builder(certificate, clients)
                .settings(|settings| settings.control_wrap = ServerWrap::TlsCrypt(keys.tls_crypt.clone()))
                .build();
            let config = config.map_err(|error| unusable(&error))?;
            options.authenticator = Arc::new(Passwords::new([(USER.to_owned(), keys.password.clone())]));
            Gateway::start(adit_driver::openvpn::server(Arc::new(config)), options)
        }
    };
    started.map_err(|error| Error::new(Exit::LocalSocket, format!("the gateway of {}: {error}", kind.name())))
}

pub(super) fn client_config(kind: Kind, keys: &Keys, remote: SocketAddr) -> Result<Any, Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::new(Exit::Other, format!("{}: {error}", kind.name()));
    let host = remote.ip().to_string();
    Ok(match kind {
        Kind::Ikev2 => {
            use ikev2::{
                CertificateVerifier, Config, Credentials, EapCredentials, EapMethod, ExpectedIdentity, Identity,
                MsChapV2Secret, PeerVerifier, Remote,
            };
            let identity = ExpectedIdentity::Exactly(Identity::of_host(GATEWAY));
            let verifier = CertificateVerifier { anchors: vec![keys.authority()], crls: Vec::new(), identity };
            let methods = vec![EapMethod::MsChapV2(MsChapV2Secret::Password(keys.password.clone()))];
            let config = Config::builder(vec![Remote::new(host, remote.port())])
                .peer(PeerVerifier::Certificate(verifier))
                .credentials(Credentials::Eap(EapCredentials { identity: USER.to_owned(), methods }))
                .build();
            config.map_err(|error| unusable(&error))?.into()
        }
        Kind::OpenVpn => {
            use openvpn::{Config, ControlWrap, Credentials, NameCheck, Remote, ServerCheck};
            let server = ServerCheck {
                ca: vec![keys.authority()],
                extended_key_usage: Some(SERVER_AUTH.to_owned()),
                name: Some(NameCheck::CommonName(GATEWAY.to_owned())),
                ..ServerCheck::default()
            };
            let certificate = keys.user().map_err(|error| unusable(&error))?;
            let credentials = Credentials { username: USER.to_owned(), password: keys.password.clone() };
            let config = Config::builder(vec![Remote::new(host, remote.port(), Transport::Udp)])
                .server_check(server)
                .identity(Some(certificate), Some(credentials))
                .settings(|settings| settings.control_wrap = ControlWrap::TlsCrypt(keys.tls_crypt.clone()))
                .build();
            config.map_err(|error| unusable(&error))?.into()
        }
    })
}

/// The extended key usage of servers (RFC 5280 §4.2.1.12).
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";

/// The only host behind a gateway: the web server.
struct Page {
    way: &'static str,
}

impl WayOut for Page {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let page = page::page(self.way);
        Box::pin(async move {
            if to != PAGE {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(STREAM_BYTES);
            tokio::spawn(async move {
                if let Err(error) = page::answer(far, page).await {
                    tracing::debug!("the web server got no request: {error}");
                }
            });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }

    fn bind_udp(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
    }
}

/// Bytes on their way between gateway and web server.
const STREAM_BYTES: usize = 64 * 1024;

fn net(address: [u8; 4], prefix: u8) -> IpNet {
    // Never more than 32 here.
    IpNet::new(Ipv4Addr::from(address), prefix).unwrap_or_else(|| IpNet::host(Ipv4Addr::from(address)))
}

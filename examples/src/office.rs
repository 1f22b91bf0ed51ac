//! An office to connect to: a gateway of each protocol, and a web server behind them, all in this process.

use std::{
    convert::Infallible,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use adit_driver::gateway::{
    AdmitProved, BoxFuture, Datagrams, Exit, Gateway, Listen, Options, Passwords, Pool, Stream,
};
use adit_pki::ClientIdentity;
use adit_tunnel::{IpNet, Route, RouteVia};
use anyhow::{Context, Result};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pki_types::PrivateKeyDer;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Where the web server seems to be. It has no socket: only through the tunnels does anything reach it.
pub const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 100, 30)), 8080);
/// Who may come in, on either gateway.
pub const USER: &str = "alice";
/// The password of [`USER`]; not a secret, as nothing else in an office is.
pub const PASSWORD: &str = "correct horse battery staple";
/// What the IKEv2 gateway takes, besides user and password.
pub const PSK: &str = "a long pre-shared key";

/// Two gateways on loopback, and the files a client needs. Ends when dropped.
pub struct Office {
    ikev2: Gateway,
    openvpn: Gateway,
    directory: PathBuf,
}

impl Office {
    /// Starts both gateways, and writes `ca.pem`, `psk.txt` and `office.ovpn` into the directory.
    ///
    /// # Errors
    /// When a key, a socket or a file cannot be made.
    pub fn open(directory: &Path) -> Result<Self> {
        let authority = authority()?;
        let certificate = Arc::new(certificate(&authority)?);
        let ikev2 = ikev2_gateway(Arc::clone(&certificate))?;
        let openvpn = openvpn_gateway(certificate)?;
        let office = Self { ikev2, openvpn, directory: directory.to_owned() };
        fs::write(office.ca(), authority.pem())?;
        fs::write(office.psk(), PSK)?;
        let port = office.openvpn_address().port();
        let profile = format!(
            "client\ndev tun\nproto udp\nremote 127.0.0.1 {port}\nauth-user-pass\nremote-cert-tls server\n\
             verify-x509-name office.example name\n<ca>\n{}</ca>\n",
            authority.pem()
        );
        fs::write(office.profile(), profile)?;
        Ok(office)
    }

    /// Where the IKEv2 gateway listens: on one port above 1023, which is written `HOST:PORT` for clients.
    #[must_use]
    pub fn ikev2_address(&self) -> SocketAddr {
        address(&self.ikev2)
    }

    /// Where the OpenVPN server listens, over UDP.
    #[must_use]
    pub fn openvpn_address(&self) -> SocketAddr {
        address(&self.openvpn)
    }

    /// The authority behind the certificate of both, as PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The pre-shared key, as text.
    #[must_use]
    pub fn psk(&self) -> PathBuf {
        self.directory.join("psk.txt")
    }

    /// The profile for OpenVPN's clients.
    #[must_use]
    pub fn profile(&self) -> PathBuf {
        self.directory.join("office.ovpn")
    }

    /// How many peers each gateway has let in since its start: of IKEv2, of OpenVPN.
    #[must_use]
    pub fn peers(&self) -> [u64; 2] {
        [self.ikev2.stats().times_up, self.openvpn.stats().times_up]
    }
}

fn address(gateway: &Gateway) -> SocketAddr {
    // A gateway that listens nowhere does not start.
    gateway.local_addresses().first().map_or(WEB, |(_, address)| *address)
}

fn ikev2_gateway(certificate: Arc<ClientIdentity>) -> Result<Gateway> {
    use ikev2::{
        AcceptedPeers, EapServerConfig, EapServerMethod, EapUser, Identity, MsChapV2Secret, ResponderConfig, SharedKey,
    };
    let users = vec![EapUser { name: USER.to_owned(), secret: MsChapV2Secret::Password(PASSWORD.into()) }];
    let eap = Some(EapServerConfig { methods: vec![EapServerMethod::MsChapV2], users });
    let shared_keys = vec![SharedKey { key: PSK.into(), identity: None }];
    let config = ResponderConfig::builder(AcceptedPeers { shared_keys, eap, ..AcceptedPeers::default() })
        .identity(Identity::of_host("127.0.0.1"))
        .certificate(certificate)
        .build()?;
    Ok(Gateway::start(adit_driver::ikev2::responder(config), options([10, 99, 1, 0], "IKEv2")?)?)
}

fn openvpn_gateway(certificate: Arc<ClientIdentity>) -> Result<Gateway> {
    use openvpn::{ClientCertificates, ClientCheck, ServerConfig};
    let clients = ClientCheck { certificates: ClientCertificates::None, login: true };
    let config = ServerConfig::builder(certificate, clients).build()?;
    let mut options = options([10, 99, 2, 0], "OpenVPN")?;
    options.authenticator = Arc::new(Passwords::new([(USER.to_owned(), PASSWORD.into())]));
    Ok(Gateway::start(adit_driver::openvpn::server(config), options)?)
}

fn options(pool: [u8; 4], way: &'static str) -> Result<Options> {
    let net = |address: [u8; 4]| IpNet::new(Ipv4Addr::from(address), 24).context("no network");
    let listen = [Listen::udp((Ipv4Addr::LOCALHOST, 0))];
    let mut options = Options::new(listen, Pool::new([net(pool)?])?, AdmitProved, Lan { way });
    // The gateway itself is in the network of the pool: it answers pings.
    for network in [[192, 168, 100, 0], pool] {
        let route = Route { destination: net(network)?, via: RouteVia::Tunnel, metric: None };
        options.network.routes.push(route);
    }
    Ok(options)
}

/// The network behind a gateway. The web server is all there is.
struct Lan {
    way: &'static str,
}

impl Exit for Lan {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let way = self.way;
        Box::pin(async move {
            if to != WEB {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(http1::Builder::new().half_close(true).serve_connection(
                TokioIo::new(far),
                service_fn(move |request: Request<Incoming>| async move {
                    let text = format!("Hello from {} through {way}!\n", request.uri().path());
                    Ok::<_, Infallible>(Response::new(text))
                }),
            ));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }

    fn bind_udp(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Datagrams>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::ConnectionRefused.into())))
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority, rcgen::Error> {
    let mut params = named("Office CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// One for both gateways: of a name, and of the address they listen on.
fn certificate(authority: &Authority) -> Result<ClientIdentity, rcgen::Error> {
    let mut params = named("office.example");
    params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok(ClientIdentity { chain: vec![certificate.into()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) })
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

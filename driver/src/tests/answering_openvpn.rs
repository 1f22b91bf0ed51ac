//! OpenVPN at both ends, over the loopback interface and out by host sockets.

use std::sync::Arc;

use ::openvpn::{
    ClientCertificates, ClientCheck, ClientIdentity, Config, Credentials, Remote, ServerCheck, ServerConfig,
};
use adit_tunnel::Transport;
use pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    answering::{gateway_options, until},
    options, soon,
};
use crate::{
    Builder, Client, Failure, FailureKind,
    gateway::{Gateway, Options, Passwords},
    openvpn,
};

/// A certificate of the server, and the authority behind it.
fn certificate() -> (ClientIdentity, CertificateDer<'static>) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["vpn.example".to_owned()]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    (ClientIdentity { chain: vec![certificate.into()], key }, authority.der().clone())
}

/// A gateway that lets in ann, who knows her password; and the authority behind it.
pub(super) fn start(mut options: Options) -> (Gateway, CertificateDer<'static>) {
    let (certificate, ca) = certificate();
    let clients = ClientCheck { certificates: ClientCertificates::None, login: true };
    let config = ServerConfig::builder(Arc::new(certificate), clients).build().unwrap();
    options.authenticator = Arc::new(Passwords::new([("ann".to_owned(), "secret".into())]));
    (Gateway::start(openvpn::server(config), options).unwrap(), ca)
}

pub(super) async fn connect(
    gateway: &Gateway,
    ca: &CertificateDer<'static>,
    password: &str,
) -> Result<Client, Failure> {
    let (transport, address) = gateway.local_addresses()[0];
    let credentials = Credentials { username: "ann".to_owned(), password: password.into() };
    let config = Config::builder(vec![Remote::new(address.ip().to_string(), address.port(), transport)])
        .server_check(ServerCheck { ca: vec![ca.clone()], ..ServerCheck::default() })
        .identity(None, Some(credentials))
        .build()
        .unwrap();
    soon(Builder::new(openvpn::OpenVpn::from(config)).options(options()).connect()).await
}

async fn a_user_fetches_a_page(transport: Transport) {
    let (gateway, ca) = start(gateway_options(transport));

    let refused = connect(&gateway, &ca, "guessed").await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::AuthFailed, "{refused}");
    let (one, two) = (connect(&gateway, &ca, "secret").await.unwrap(), connect(&gateway, &ca, "secret").await.unwrap());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut name = [0; 3];
            stream.read_exact(&mut name).await.unwrap();
            stream.write_all(&name.repeat(100_000)).await.unwrap();
        }
    });
    let fetch = |client: Client, name: &'static [u8]| async move {
        let mut connection = client.dial(at).await.unwrap();
        connection.write_all(name).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        assert!(answer == name.repeat(100_000), "{} bytes", answer.len());
    };
    soon(async { tokio::join!(fetch(one.clone(), b"one"), fetch(two.clone(), b"two")) }).await;
    let peers = gateway.peers();
    assert!(peers.len() == 2 && peers.iter().all(|peer| peer.identity.as_deref() == Some("ann")), "{peers:?}");
    assert_ne!(peers[0].addresses, peers[1].addresses);
    one.close().await;
    until(&gateway, |stats| stats.peers_up == 1).await;
    soon(gateway.close()).await;
    let stats = gateway.stats();
    assert_eq!((stats.peers, stats.addresses, stats.timers, stats.times_up), (0, 0, 0, 2), "{stats:?}");
}

#[tokio::test]
async fn a_user_fetches_a_page_over_udp() {
    a_user_fetches_a_page(Transport::Udp).await;
}

#[tokio::test]
async fn a_user_fetches_a_page_over_tcp() {
    a_user_fetches_a_page(Transport::Tcp).await;
}

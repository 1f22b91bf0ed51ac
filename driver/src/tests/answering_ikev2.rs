//! IKEv2 at both ends, over the loopback interface and out by host sockets.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ::ikev2::{AcceptedPeers, Config, Credentials, Identity, PeerVerifier, Remote, ResponderConfig, SharedKey};
use adit_tunnel::Transport;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{answering::gateway_options, options, soon};
use crate::{
    Builder, Client, ClientEvent, FailureKind,
    gateway::{Event, Gateway},
    ikev2,
};

fn start() -> Gateway {
    let accepted = AcceptedPeers {
        shared_keys: vec![SharedKey { key: "shared".into(), identity: None }],
        ..AcceptedPeers::default()
    };
    let config =
        ResponderConfig::builder(accepted).identity(Identity::of_host("gateway.example")).build().expect("it can work");
    Gateway::start(ikev2::responder(config), gateway_options(Transport::Udp)).unwrap()
}

async fn connect(gateway: &Gateway, name: &str) -> Client {
    soon(client(gateway, name, "shared").connect()).await.expect("connected")
}

fn client(gateway: &Gateway, name: &str, key: &str) -> Builder<ikev2::Ikev2> {
    let (_, address) = gateway.local_addresses()[0];
    let config = Config::builder(vec![Remote::new(address.ip().to_string(), address.port())])
        .peer(PeerVerifier::Psk { key: key.into(), identity: None })
        .credentials(Credentials::Psk(key.into()))
        .settings(|settings| settings.local_identity = Some(Identity::of_host(name)))
        .build()
        .unwrap();
    Builder::new(ikev2::Ikev2::from(Arc::new(config))).options(options())
}

#[tokio::test]
async fn who_is_turned_away_is_told_of_at_once() {
    let gateway = start();
    let mut events = gateway.events();
    let refused = soon(client(&gateway, "eve.example", "guessed").connect()).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::AuthFailed, "{refused}");
    // What it did not hear it is told again, for longer than this.
    let told = tokio::time::timeout(Duration::from_secs(5), events.next()).await.expect("at once");
    let Some(Event::Down(peer, failure)) = told else { panic!("{told:?}") };
    assert!(!failure.was_up() && peer.since.is_none(), "{failure}");
    assert_eq!(failure.kind(), FailureKind::PeerNotAuthenticated, "{failure}");
    assert_eq!(gateway.stats().peers, 1, "it could be answered again");
    soon(gateway.close()).await;
    assert!(soon(events.next()).await.is_none(), "no second time");
}

#[tokio::test]
async fn two_clients_fetch_from_the_same_host() {
    let gateway = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut name = [0; 3];
            stream.read_exact(&mut name).await.unwrap();
            stream.write_all(&name.repeat(100_000)).await.unwrap();
        }
    });
    let (ann, bob) = (connect(&gateway, "ann.example").await, connect(&gateway, "bob.example").await);
    let fetch = |client: Client, name: &'static [u8]| async move {
        let mut connection = client.dial(at).await.unwrap();
        connection.write_all(name).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        assert!(answer == name.repeat(100_000), "{} bytes", answer.len());
    };
    soon(async { tokio::join!(fetch(ann.clone(), b"ann"), fetch(bob.clone(), b"bob")) }).await;
    let mut names: Vec<_> = gateway.peers().into_iter().filter_map(|peer| peer.identity).collect();
    names.sort();
    // Both have the key for anybody, which proves no name.
    assert_eq!(names, ["psk:ann.example", "psk:bob.example"]);
    let mut events = ann.events();
    soon(gateway.close()).await;
    let Some(ClientEvent::Down { cause, .. }) = soon(events.next()).await else { panic!("it was told") };
    assert_eq!(cause.kind(), FailureKind::PeerClosed, "{cause}");
    assert_eq!((gateway.stats().peers, gateway.stats().addresses), (0, 0));
}

//! The server against our own peer, and against responses written by hand.

mod basics;
mod mschapv2;
mod passwords;
mod phase2;
mod tls;
mod ttls;

use std::{sync::Arc, time::Duration};

use adit_testing::SeededRandom;
use adit_tunnel::Secret;
use bytes::Bytes;

use super::*;
use crate::{
    config::{EapCredentials, EapMethod, MsChapV2Secret, TlsVersion},
    eap::{
        EapMethods, EapPeer, EapStep, EapUnusable,
        tests::pki::{CA, Ca, Leaf, SERVER},
    },
};

/// A day in November 2026.
const NOW: Duration = Duration::from_secs(1_795_000_000);

/// A server with a source of randomness.
struct Server {
    server: EapServer,
    random: SeededRandom,
    /// The request that waits for a response.
    request: Bytes,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Both ends agree, and have the same key.
    Success { identity: String, key: Option<Secret> },
    /// The server refused the client, and this is what both say about it.
    Refused { server: EapClientError, client: EapError },
    /// The client gave up.
    GaveUp(EapError),
}

impl Server {
    fn new(methods: Vec<EapServerMethod>) -> Self {
        Self::with(Arc::new(EapServers::new(&config(methods)).unwrap()))
    }

    fn with(servers: Arc<EapServers>) -> Self {
        let mut random = SeededRandom::new(2);
        let mut server = EapServer::new(servers);
        let request = server.start(&mut random);
        Self { server, random, request }
    }

    fn handle(&mut self, packet: &[u8]) -> EapServerStep {
        let step = self.server.handle(&mut self.random, NOW, packet);
        if let EapServerStep::Request(request) = &step {
            assert_eq!(usize::from(u16::from_be_bytes([request[2], request[3]])), request.len());
            self.request = request.clone();
        }
        step
    }

    /// Answers the request with this type and data; type and data of the next request.
    fn answer(&mut self, kind: EapType, data: &[u8]) -> Result<(EapType, Vec<u8>), EapClientError> {
        match self.handle(&response(self.request[1], kind, data)) {
            EapServerStep::Request(request) => Ok((EapType(request[4]), request[5..].to_vec())),
            EapServerStep::Failure { packet, error } => {
                assert_eq!((packet[0], packet.len()), (4, 4));
                Err(error)
            }
            EapServerStep::Success { .. } => panic!("success"),
        }
    }

    /// The same, where it must be the end.
    fn refuses(&mut self, kind: EapType, data: &[u8]) -> EapClientError {
        self.answer(kind, data).unwrap_err()
    }

    /// After the identity: type and data of the first request of a method.
    fn identified(&mut self, name: &str) -> (EapType, Vec<u8>) {
        self.answer(EapType::IDENTITY, name.as_bytes()).unwrap()
    }

    /// Lets the client prove itself.
    fn run(&mut self, methods: Vec<EapMethod>, name: &str) -> End {
        self.run_with(client(methods, name))
    }

    fn run_with(&mut self, client: EapPeer) -> End {
        self.run_changed(client, |_| {})
    }

    /// The same, with whatever is done to the client's packets on their way.
    fn run_changed(&mut self, mut client: EapPeer, mut change: impl FnMut(&mut Vec<u8>)) -> End {
        let mut random = SeededRandom::new(1);
        loop {
            let response = match client.handle(&mut random, NOW, &self.request) {
                Ok(EapStep::Respond(response)) => response,
                Ok(EapStep::Done(_)) => panic!("done without success"),
                Err(error) => return End::GaveUp(error),
            };
            let mut response = response.to_vec();
            change(&mut response);
            match self.handle(&response) {
                EapServerStep::Request(_) => {}
                EapServerStep::Success { packet, key, identity } => {
                    assert_eq!(client.handle(&mut random, NOW, &packet), Ok(EapStep::Done(key.clone())));
                    return End::Success { identity, key };
                }
                EapServerStep::Failure { packet, error } => {
                    let client = client.handle(&mut random, NOW, &packet).unwrap_err();
                    return End::Refused { server: error, client };
                }
            }
        }
    }
}

fn client(methods: Vec<EapMethod>, name: &str) -> EapPeer {
    EapPeer::new(Arc::new(EapMethods::new(&EapCredentials { identity: name.to_owned(), methods }).unwrap()))
}

fn response(id: u8, kind: EapType, data: &[u8]) -> Vec<u8> {
    crate::eap::packet::response(id, kind, data).to_vec()
}

/// `user` with a password, `hashed` with the hash of it, and `OFFICE\user` with another.
fn config(methods: Vec<EapServerMethod>) -> EapServerConfig {
    let user = |name: &str, secret| EapUser { name: name.to_owned(), secret };
    let hash = Secret::new(hex::decode("878D8014606CDA29677A44EFA1353FC7").unwrap());
    let mut users = vec![
        user("user", MsChapV2Secret::Password(password())),
        user("OFFICE\\user", MsChapV2Secret::Password("another".into())),
    ];
    if methods.iter().any(EapServerMethod::takes_hash) {
        users.push(user("hashed", MsChapV2Secret::NtHash(hash)));
    }
    EapServerConfig { methods, users }
}

fn password() -> Secret {
    "secret".into()
}

fn ms_chap(password: &str) -> EapMethod {
    EapMethod::MsChapV2(MsChapV2Secret::Password(password.into()))
}

fn success(identity: &str, end: End) -> Option<Secret> {
    let End::Success { identity: found, key } = end else { panic!("{end:?}") };
    assert_eq!(found, identity);
    key
}

const VERSIONS: [TlsVersion; 2] = [TlsVersion::V1_2, TlsVersion::V1_3];

/// The usual server, which wants clients of this CA.
fn tls_identity(leaf: &Leaf, clients: &Ca, version: TlsVersion) -> EapTlsIdentity {
    EapTlsIdentity {
        certificate: leaf.identity(),
        anchors: vec![clients.as_ref().der().clone()],
        crls: vec![],
        min_version: version,
        max_version: version,
    }
}

//! EAP against requests written by hand, and against a server made of rustls.

mod basics;
mod mschapv2;
pub(in crate::eap) mod pki;
mod server;
mod states;
mod tls;
mod ttls;

use std::{sync::Arc, time::Duration};

use adit_testing::SeededRandom;
use adit_tunnel::Secret;

use super::*;
use crate::config::{EapCredentials, EapMethod, MsChapV2Secret};

/// A day in November 2026.
const NOW: Duration = Duration::from_secs(1_795_000_000);

/// The peer under test, with a source of randomness.
struct Peer {
    peer: EapPeer,
    random: SeededRandom,
}

impl Peer {
    fn new(methods: Vec<EapMethod>) -> Self {
        let credentials = EapCredentials { identity: "DOMAIN\\user".to_owned(), methods };
        Self::with(Arc::new(EapMethods::new(&credentials).unwrap()))
    }

    fn with(methods: Arc<EapMethods>) -> Self {
        Self { peer: EapPeer::new(methods), random: SeededRandom::new(1) }
    }

    fn handle(&mut self, packet: &[u8]) -> Result<EapStep, EapError> {
        self.peer.handle(&mut self.random, NOW, packet)
    }

    /// Hands in a request and returns the response's type and data.
    fn ask(&mut self, id: u8, kind: u8, data: &[u8]) -> Result<(u8, Vec<u8>), EapError> {
        let EapStep::Respond(response) = self.handle(&request(id, kind, data))? else { panic!("no response") };
        assert_eq!(response[..2], [2, id]);
        assert_eq!(usize::from(u16::from_be_bytes([response[2], response[3]])), response.len());
        Ok((response[4], response[5..].to_vec()))
    }
}

fn request(id: u8, kind: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(5 + data.len()).unwrap().to_be_bytes();
    [&[1, id, high, low, kind], data].concat()
}

const SUCCESS: [u8; 4] = [3, 9, 0, 4];
const FAILURE: [u8; 4] = [4, 9, 0, 4];

fn mschapv2() -> EapMethod {
    EapMethod::MsChapV2(MsChapV2Secret::Password(password()))
}

fn password() -> Secret {
    "secret".into()
}

//! Fuzz targets: packets for the peer, and attributes for phase 2 of EAP-TTLS, which lies behind TLS.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use adit_pki::ClientIdentity;
use adit_tunnel::Random;
use mschapv2::{
    Challenged, NtHash,
    packet::{Challenge, Failure, Packet, Success},
};
use pki_types::{CertificateDer, PrivateKeyDer};

use super::{EapMethods, EapPeer, EapStep, method::Context, packet::EapType, ttls::Phase2};
use crate::config::{EapCredentials, EapMethod, EapTlsServer, MsChapV2Secret, TlsVersion, TtlsInner};

/// The first byte chooses whom the rest is for: a peer with methods whose server must prove itself, one with methods without such a
/// proof, or phase 2 of EAP-TTLS with PAP, MS-CHAPv2 or EAP. The rest are packets, each behind its length in two bytes.
pub fn eap(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 5 {
        0 => {
            if let Some(methods) = &*PROVING {
                assert!(!succeeds(methods, packets(rest)), "nobody here knows the password or has the server's key");
            }
        }
        1 => drop(ASKING.as_ref().map(|methods| succeeds(methods, packets(rest)))),
        2 => phase2(Phase2::Pap, rest),
        3 => phase2(Phase2::MsChapV2(Challenged::with(1, [2; 16]).respond(b"user", &hash(), [3; 16]).0), rest),
        _ => drop(PROVING.as_ref().map(|methods| phase2(Phase2::Eap(EapPeer::new(Arc::clone(methods))), rest))),
    }
}

/// Packets of EAP-MSCHAPv2 behind EAP header and type, each behind its length in two bytes; they come to a peer that waits for a
/// challenge if the first byte is even, and to one that has answered one if it is odd.
pub fn eap_mschapv2(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    for data in packets(rest) {
        encode_again(data);
        drop((Success::from_attribute(data), Failure::from_attribute(data)));
    }
    let challenge = Challenge { id: 1, challenge: [2; 16], name: Vec::new() }.encode();
    let first = (choice & 1 == 1).then_some(&challenge[..]);
    let requests = first.into_iter().chain(packets(rest)).enumerate().map(|(id, data)| request(id as u8, data));
    let requests: Vec<_> = requests.chain([vec![3, 0, 0, 4]]).collect();
    if let Some(methods) = &*PROVING {
        assert!(!succeeds(methods, requests.iter().map(Vec::as_slice)), "nobody here knows the password");
    }
}

/// What is read is written again with the same meaning.
fn encode_again(data: &[u8]) {
    if let Ok(packet) = Packet::parse(data) {
        let encoded = match &packet {
            Packet::Challenge(challenge) => challenge.encode(),
            Packet::Response(response) => response.encode(),
            Packet::Success(success) => success.encode(),
            Packet::Failure(failure) => failure.encode(),
        };
        assert_eq!(Packet::parse(&encoded), Ok(packet));
    }
}

fn succeeds<'a>(methods: &Arc<EapMethods>, packets: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut peer = EapPeer::new(Arc::clone(methods));
    for packet in packets {
        match peer.handle(&mut Constant, NOW, packet) {
            Ok(EapStep::Respond(response)) => assert!(response.len() < 2048),
            Ok(EapStep::Done(_)) => return true,
            Err(_) => return false,
        }
    }
    false
}

fn phase2(mut phase2: Phase2, rest: &[u8]) {
    for (id, plaintext) in packets(rest).enumerate() {
        let mut cx = Context { random: &mut Constant, unix_time: NOW, id: id as u8 };
        if phase2.handle(&mut cx, plaintext).is_err() {
            assert!(phase2.finish().is_err());
            return;
        }
    }
    drop(phase2.finish());
}

pub(super) fn packets(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, tail) = rest.split_first_chunk()?;
        let (packet, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(length)))?;
        rest = tail;
        Some(packet)
    })
}

fn request(id: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(5 + data.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[1, id, high, low, EapType::MSCHAPV2.0], data].concat()
}

fn hash() -> NtHash {
    NtHash::of_password("password")
}

fn server() -> EapTlsServer {
    EapTlsServer {
        anchors: vec![CertificateDer::from(&include_bytes!("../../testdata/eap/ca.der")[..])],
        crls: vec![],
        name: Some("radius.example".to_owned()),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

fn methods(methods: Vec<EapMethod>) -> Option<Arc<EapMethods>> {
    EapMethods::new(&EapCredentials { identity: "user".to_owned(), methods }).ok().map(Arc::new)
}

/// Methods whose server must prove itself.
static PROVING: LazyLock<Option<Arc<EapMethods>>> = LazyLock::new(|| {
    let certificate = CertificateDer::from(&include_bytes!("../../testdata/eap/client.der")[..]);
    let key = PrivateKeyDer::try_from(&include_bytes!("../../testdata/eap/client.p8")[..]).ok()?;
    let certificate = Arc::new(ClientIdentity { chain: vec![certificate], key });
    let password = || MsChapV2Secret::Password("password".into());
    methods(vec![
        EapMethod::MsChapV2(password()),
        EapMethod::Tls { certificate, server: server() },
        EapMethod::Ttls { server: server(), anonymous_identity: None, inner: TtlsInner::MsChapV2(password()) },
    ])
});

/// Methods whose server proves nothing.
static ASKING: LazyLock<Option<Arc<EapMethods>>> =
    LazyLock::new(|| methods(vec![EapMethod::Gtc("password".into()), EapMethod::Md5("password".into())]));

/// Always the same bytes.
struct Constant;

impl Random for Constant {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

/// A day in November 2026.
const NOW: Duration = Duration::from_secs(1_797_000_000);

/// How many requests of a file for [`eap`] a peer answers, or phase 2 takes in.
#[cfg(test)]
pub(crate) fn answers(file: &[u8]) -> usize {
    let (choice, rest) = file.split_first().unwrap();
    let methods = if choice % 5 == 1 { &*ASKING } else { &*PROVING };
    let mut peer = EapPeer::new(Arc::clone(methods.as_ref().unwrap()));
    let mut phase2 = Phase2::Eap(EapPeer::new(Arc::clone(methods.as_ref().unwrap())));
    let taken = |packet: &[u8]| {
        let cx = &mut Context { random: &mut Constant, unix_time: NOW, id: 0 };
        peer.handle(&mut Constant, NOW, packet).is_ok() || choice % 5 > 1 && phase2.handle(cx, packet).is_ok()
    };
    packets(rest).map(taken).take_while(|taken| *taken).count()
}

/// Whether a file for [`eap_mschapv2`] begins with a packet.
#[cfg(test)]
pub(crate) fn holds_a_packet(file: &[u8]) -> bool {
    packets(&file[1..]).next().is_some_and(|packet| Packet::parse(packet).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without them the targets would do nothing.
    #[test]
    fn the_targets_have_their_methods() {
        assert_eq!(PROVING.as_ref().unwrap().kinds().count(), 3);
        assert_eq!(ASKING.as_ref().unwrap().kinds().count(), 2);
    }
}

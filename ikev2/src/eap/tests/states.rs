//! Every kind of packet in every state.

use ::mschapv2::{
    Challenging, NtHash,
    packet::{Failure, Packet as ChapPacket, Success},
};
use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use super::{
    pki::{CA, CLIENT, SERVER, expected},
    server::{Server, TLS, TTLS},
    *,
};
use crate::config::TtlsInner;

/// A peer with all methods.
fn peer_with(inner: TtlsInner) -> Peer {
    Peer::new(vec![
        mschapv2(),
        EapMethod::Gtc(password()),
        EapMethod::Md5(password()),
        EapMethod::Tls { certificate: CLIENT.identity(), server: expected() },
        EapMethod::Ttls { server: expected(), anonymous_identity: None, inner },
    ])
}

fn peer() -> Peer {
    peer_with(TtlsInner::Pap(password()))
}

fn asked(kind: u8, data: &[u8]) -> Peer {
    let mut peer = peer();
    peer.ask(1, kind, data).unwrap();
    peer
}

fn challenging() -> Challenging {
    Challenging::new(7, [0x11; 16], b"gateway")
}

fn proven() -> Peer {
    let mut peer = peer();
    let (_, response) = peer.ask(1, 26, &challenging().challenge().encode()).unwrap();
    let Ok(ChapPacket::Response(response)) = ChapPacket::parse(&response) else { panic!() };
    let accepted = challenging().verify(&response, &NtHash::of_password("secret")).unwrap();
    peer.ask(2, 26, &accepted.success().encode()).unwrap();
    peer
}

fn tls(version: &'static SupportedProtocolVersion, says: &[u8]) -> Peer {
    let (mut server, mut peer) = (Server::new(TLS, SERVER.server(version, Some(&CA))), peer());
    server.handshake(&mut peer).unwrap();
    if !says.is_empty() {
        server.say(&mut peer, says).unwrap();
    }
    peer
}

fn ttls(version: &'static SupportedProtocolVersion, inner: TtlsInner) -> Peer {
    let (mut server, mut peer) = (Server::new(TTLS, SERVER.server(version, None)), peer_with(inner));
    server.handshake(&mut peer).unwrap();
    peer
}

fn closed() -> Peer {
    let mut peer = asked(6, b"");
    peer.handle(&SUCCESS).unwrap();
    peer
}

type MakePeer = fn() -> Peer;

const STATES: [(&str, MakePeer); 15] = [
    ("nothing has come", peer),
    ("a method was refused", || asked(25, b"\x20")),
    ("GTC answered", || asked(6, b"")),
    ("MD5 answered", || asked(4, b"\x01x")),
    ("MSCHAPv2 answered", || asked(26, &challenging().challenge().encode())),
    ("MSCHAPv2 proven", proven),
    ("TLS started", || asked(TLS, b"\x20")),
    ("TLS 1.2 finished", || tls(&TLS12, b"")),
    ("TLS 1.3 finished", || tls(&TLS13, b"")),
    ("TLS 1.3 accepted", || tls(&TLS13, b"\x00")),
    ("TTLS 1.3 finished", || ttls(&TLS13, TtlsInner::Pap(password()))),
    ("TTLS, PAP told", || ttls(&TLS12, TtlsInner::Pap(password()))),
    ("TTLS, MSCHAPv2 answered", || ttls(&TLS12, TtlsInner::MsChapV2(MsChapV2Secret::Password(password())))),
    ("TTLS, identity told inside", || ttls(&TLS12, TtlsInner::Eap(Box::new(mschapv2())))),
    ("closed", closed),
];

fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let false_success = Success { id: 7, authenticator_response: [0; 20], message: String::new() };
    let failure = Failure { id: 7, error: 691, retry: false, challenge: None, version: None, message: String::new() };
    vec![
        ("Success", SUCCESS.to_vec()),
        ("Failure", FAILURE.to_vec()),
        ("a response", vec![2, 200, 0, 5, 1]),
        ("Identity", request(200, 1, b"")),
        ("Notification", request(200, 2, b"hello")),
        ("Nak", request(200, 3, b"\x06")),
        ("MD5", request(200, 4, b"\x01y")),
        ("GTC", request(200, 6, b"")),
        ("PEAP", request(200, 25, b"\x20")),
        ("Expanded", request(200, 254, b"\0\0\x09\0\0\0\x01")),
        ("MSCHAPv2 Challenge", request(200, 26, &Challenging::new(8, [0x22; 16], b"").challenge().encode())),
        ("MSCHAPv2 Success", request(200, 26, &false_success.encode())),
        ("MSCHAPv2 Failure", request(200, 26, &failure.encode())),
        ("TLS Start", request(200, TLS, b"\x20")),
        ("TLS empty", request(200, TLS, b"\x00")),
        ("TTLS Start", request(200, TTLS, b"\x20")),
        ("TTLS empty", request(200, TTLS, b"\x00")),
    ]
}

fn outcome(peer: &mut Peer, packet: &[u8]) -> String {
    match peer.handle(packet) {
        Ok(EapStep::Respond(response)) => format!("answer with type {}", response[4]),
        Ok(EapStep::Done(Some(_))) => "done, with a key".to_owned(),
        Ok(EapStep::Done(None)) => "done, without a key".to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn every_packet_in_every_state() {
    let mut table = String::new();
    for (name, make) in STATES {
        table += &format!("{name}\n");
        let mut outcomes: Vec<(String, Vec<&str>)> = Vec::new();
        for (packet, bytes) in packets() {
            let outcome = outcome(&mut make(), &bytes);
            match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
                Some((_, packets)) => packets.push(packet),
                None => outcomes.push((outcome, vec![packet])),
            }
        }
        for (outcome, packets) in outcomes {
            table += &format!("    {} -> {outcome}\n", packets.join(", "));
        }
    }
    insta::assert_snapshot!(table);
}

/// The heart of CVE-2021-45079, said once more without a table.
#[test]
fn success_counts_only_where_a_method_is_over() {
    let over =
        ["GTC answered", "MD5 answered", "MSCHAPv2 proven", "TLS 1.2 finished", "TLS 1.3 accepted", "TTLS, PAP told"];
    for (name, make) in STATES {
        assert_eq!(make().handle(&SUCCESS).is_ok(), over.contains(&name), "{name}");
    }
}

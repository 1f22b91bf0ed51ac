use adit_testing::Vector;
use proptest::prelude::*;

use super::*;
use crate::{
    control::packet::{Opcode, tests::any_packet},
    crypto::{Ring, RustCrypto},
    keys::StaticKey,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

const STATIC_KEY: &str = include_str!("../../../testdata/captures/static.key");
const V2_CLIENT_KEY: &str = include_str!("../../../testdata/captures/tls-crypt-v2-client.key");
const V2_SERVER_KEY: &str = include_str!("../../../testdata/captures/tls-crypt-v2-server.key");

fn backends() -> [Arc<dyn Crypto>; 2] {
    [Arc::new(Ring), Arc::new(RustCrypto)]
}

fn static_key() -> StaticKey {
    StaticKey::parse(STATIC_KEY).unwrap()
}

fn tls_auth(direction: KeyDirection, digest: Digest) -> ControlWrap {
    ControlWrap::TlsAuth { key: static_key(), direction, digest }
}

fn tls_crypt_v2() -> ControlWrap {
    let (key, wrapped) = StaticKey::parse_tls_crypt_v2(V2_CLIENT_KEY).unwrap();
    ControlWrap::TlsCryptV2 { key, wrapped }
}

/// Name of a capture, and what client and server were configured with.
fn captures() -> Vec<(&'static str, ControlWrap, ControlWrap)> {
    use KeyDirection::{Bidirectional, Inverse, Normal};
    let auth = |digest, client, server| (tls_auth(client, digest), tls_auth(server, digest));
    let same = |wrap: ControlWrap| (wrap.clone(), wrap);
    [
        ("none", same(ControlWrap::None)),
        ("tls_auth_sha1_bidirectional", auth(Digest::Sha1, Bidirectional, Bidirectional)),
        ("tls_auth_sha256_inverse", auth(Digest::Sha256, Inverse, Normal)),
        ("tls_auth_sha512_normal", auth(Digest::Sha512, Normal, Inverse)),
        ("tls_crypt", same(ControlWrap::TlsCrypt(static_key()))),
        ("tls_crypt_v2", same(tls_crypt_v2())),
        ("tls_crypt_v2_cookie", same(tls_crypt_v2())),
    ]
    .map(|(name, (client, server))| (name, client, server))
    .into()
}

fn packets(capture: &str) -> Vec<(Role, Vec<u8>)> {
    let path = format!("{}/testdata/captures/{capture}.txt", env!("CARGO_MANIFEST_DIR"));
    let sender = |vector: Vector| {
        let (who, datagram) = vector.into_iter().next().unwrap();
        (if who == "client" { Role::Client } else { Role::Server }, datagram)
    };
    adit_testing::vectors(path).into_iter().map(sender).collect()
}

/// Both ends of a capture, to unwrap what the other sent.
fn ends(client: &ControlWrap, server: &ControlWrap, crypto: &Arc<dyn Crypto>) -> (Wrapper, Wrapper) {
    (Wrapper::new(client, Role::Client, crypto), Wrapper::new(server, Role::Server, crypto))
}

/// The unwrapped packets of a capture.
fn unwrapped(capture: &str) -> Vec<(Role, ControlPacket)> {
    let (_, client, server) = captures().into_iter().find(|(name, ..)| *name == capture).unwrap();
    let (mut client, mut server) = ends(&client, &server, &backends()[0]);
    let unwrap = |(sender, datagram): (Role, Vec<u8>)| {
        let receiver = if sender == Role::Client { &mut server } else { &mut client };
        (sender, receiver.unwrap(&datagram).unwrap())
    };
    packets(capture).into_iter().map(unwrap).collect()
}

#[test]
fn captured_packets_unwrap_and_wrap_to_the_same_bytes() {
    for (name, client_wrap, server_wrap) in captures() {
        for crypto in backends() {
            let (mut client, mut server) = ends(&client_wrap, &server_wrap, &crypto);
            for (at, (sender, datagram)) in packets(name).into_iter().enumerate() {
                let (sender, receiver) =
                    if sender == Role::Client { (&mut client, &mut server) } else { (&mut server, &mut client) };
                let packet = receiver.unwrap(&datagram).unwrap_or_else(|e| panic!("{name}, packet {at}: {e}"));
                let (_, time) = ids(sender, &datagram);
                let again = sender.wrap(&packet, time).unwrap();
                assert_eq!(hex::encode(again), hex::encode(datagram), "{name}, packet {at}");
            }
        }
    }
}

/// The wrapping ids of a datagram that this wrapper could have made.
fn ids(wrapper: &Wrapper, datagram: &[u8]) -> (u32, u32) {
    wrapper.method.split(datagram).and_then(|parts| ids_from(parts.ids).ok()).unwrap_or_default()
}

#[test]
fn captured_handshakes_number_their_packets_from_zero_and_carry_tls() {
    for (name, ..) in captures() {
        let packets = unwrapped(name);
        for role in [Role::Client, Role::Server] {
            let sent: Vec<_> = packets.iter().filter(|(sender, _)| *sender == role).map(|(_, p)| p).collect();
            let ids: Vec<_> = sent.iter().filter_map(|packet| packet.packet_id).collect();
            assert_eq!(ids, (0..ids.len() as u32).collect::<Vec<_>>(), "{name}, {role:?}");
            let (reset, hello) = (sent[0], sent[1]);
            assert_eq!(reset.opcode, reset_of(role, name), "{name}");
            assert_eq!(hello.payload[..2], [22, 3], "{name}: a TLS handshake record");
        }
    }
}

fn reset_of(role: Role, capture: &str) -> Opcode {
    match role {
        Role::Server => Opcode::HARD_RESET_SERVER_V2,
        Role::Client if capture.starts_with("tls_crypt_v2") => Opcode::HARD_RESET_CLIENT_V3,
        Role::Client => Opcode::HARD_RESET_CLIENT_V2,
    }
}

#[test]
fn a_stateless_server_asks_for_the_wrapped_key_again_and_gets_it_once() {
    let packets = unwrapped("tls_crypt_v2_cookie");
    let reset = &packets[1].1;
    let negotiation = EarlyNegotiation::decode(&reset.payload).unwrap();
    assert!(negotiation.resend_wrapped_key);
    let again = packets.iter().filter(|(_, packet)| packet.opcode == Opcode::CONTROL_WKC_V1);
    assert_eq!(again.map(|(_, packet)| packet.packet_id).collect::<Vec<_>>(), [Some(1)]);
}

#[test]
fn resets_of_tls_crypt_v2_begin_in_the_block_of_early_negotiation_and_count_on() {
    let crypto = &backends()[0];
    let mut wrapper = Wrapper::new(&tls_crypt_v2(), Role::Client, crypto);
    let (_, packet) = unwrapped("tls_crypt_v2").remove(0);
    let sent: Vec<_> = (0..3).map(|_| wrapper.wrap(&packet, 7).unwrap()).collect();
    let sent_ids: Vec<_> = sent.iter().map(|datagram| ids(&wrapper, datagram)).collect();
    assert_eq!(sent_ids, [(0x0f00_0001, 7), (0x0f00_0002, 7), (0x0f00_0003, 7)]);
}

#[test]
fn every_flipped_bit_of_a_captured_packet_is_refused_and_leaves_no_trace() {
    let crypto = &backends()[0];
    for (name, client_wrap, server_wrap) in captures().into_iter().filter(|(name, ..)| *name != "none") {
        let (mut client, mut server) = ends(&client_wrap, &server_wrap, crypto);
        for (sender, datagram) in packets(name) {
            let receiver = if sender == Role::Client { &mut server } else { &mut client };
            // The wrapped key has a tag of its own, which only the server can check.
            let carries = Opcode::split(datagram[0]).0.carries_wrapped_key();
            let protected = datagram.len() - if carries { receiver.wrapped_key_len() } else { 0 };
            for bit in 0..protected * 8 {
                let mut flipped = datagram.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let refused = receiver.unwrap(&flipped).unwrap_err();
                assert_ne!(refused, WrapError::Exhausted, "{name}, bit {bit}");
            }
            assert!(receiver.unwrap(&datagram).is_ok(), "{name}");
        }
    }
}

#[test]
fn every_truncation_of_a_captured_packet_is_refused() {
    let crypto = &backends()[0];
    for (name, client_wrap, server_wrap) in captures().into_iter().filter(|(name, ..)| *name != "none") {
        let (mut client, mut server) = ends(&client_wrap, &server_wrap, crypto);
        for (sender, datagram) in packets(name) {
            let receiver = if sender == Role::Client { &mut server } else { &mut client };
            for end in 0..datagram.len() {
                assert!(receiver.unwrap(&datagram[..end]).is_err(), "{name}, {end} bytes");
            }
        }
    }
}

#[test]
fn the_wrong_key_direction_or_digest_is_a_forgery() {
    let crypto = &backends()[0];
    let (_, datagram) = packets("tls_auth_sha256_inverse").remove(0);
    for wrong in [
        tls_auth(KeyDirection::Inverse, Digest::Sha256),
        tls_auth(KeyDirection::Bidirectional, Digest::Sha256),
        tls_auth(KeyDirection::Normal, Digest::Sha3_256),
        ControlWrap::TlsCrypt(static_key()),
    ] {
        let mut wrapper = Wrapper::new(&wrong, Role::Server, crypto);
        assert_eq!(wrapper.unwrap(&datagram), Err(WrapError::Forged));
    }
}

#[test]
fn replays_are_refused_and_a_larger_time_opens_a_new_window() {
    let crypto = &backends()[0];
    let wrap = ControlWrap::TlsCrypt(static_key());
    let (_, packet) = unwrapped("tls_crypt").remove(0);
    let (mut client, mut server) = ends(&wrap, &wrap, crypto);
    let at = |client: &mut Wrapper, id: u32, time: u32| {
        (client.last_sent, client.time) = (id.wrapping_sub(1), Some(time));
        client.wrap(&packet, 0)
    };
    let mut receive = |id, time| server.unwrap(&at(&mut client, id, time).unwrap()).map(|_| ());
    assert_eq!(receive(5, 1000), Ok(()));
    assert_eq!(receive(5, 1000), Err(WrapError::Replayed));
    assert_eq!(receive(4, 1000), Ok(()), "late, and not seen before");
    assert_eq!(receive(6, 999), Err(WrapError::Replayed), "an older time");
    assert_eq!(receive(100, 1000), Ok(()));
    assert_eq!(receive(36, 1000), Err(WrapError::Replayed), "64 behind");
    assert_eq!(receive(37, 1000), Ok(()), "63 behind");
    assert_eq!(receive(1, 1001), Ok(()), "a new window");
    assert_eq!(receive(101, 1000), Err(WrapError::Replayed), "the old window is gone");
    assert_eq!(at(&mut client, 0, 1001), Err(WrapError::Exhausted), "the counter never wraps");
}

#[test]
fn packet_id_zero_is_refused() {
    let crypto = &backends()[0];
    let wrap = tls_auth(KeyDirection::Bidirectional, Digest::Sha1);
    let (_, packet) = unwrapped("none").remove(0);
    let mut wrapper = Wrapper::new(&wrap, Role::Client, crypto);
    let (mut header, mut rest, mut w) = (Writer::default(), Writer::default(), Writer::default());
    packet.header().encode(&mut header);
    packet.encode_after_header(&mut rest);
    wrapper.method.seal(header.as_slice(), &[0, 0, 0, 0, 0, 0, 0, 9], rest.into_inner().as_mut(), &mut w);
    assert_eq!(wrapper.unwrap(w.as_slice()), Err(WrapError::Replayed));
}

#[test]
fn dynamic_tls_crypt_mixes_the_exported_key_with_the_original() {
    let crypto = &backends()[0];
    let exported: [u8; 256] = std::array::from_fn(|at| at as u8);
    let mut mixed = *static_key().bytes();
    mixed.iter_mut().zip(exported).for_each(|(byte, other)| *byte ^= other);
    let (_, packet) = unwrapped("none").remove(0);
    for (original, key) in [
        (ControlWrap::None, StaticKey::new(exported)),
        (ControlWrap::TlsCrypt(static_key()), StaticKey::new(mixed)),
        (tls_auth(KeyDirection::Inverse, Digest::Sha512), StaticKey::new(mixed)),
    ] {
        let mut dynamic = Wrapper::dynamic(&exported, &original, Role::Client, crypto);
        let mut server = Wrapper::new(&ControlWrap::TlsCrypt(key), Role::Server, crypto);
        let datagram = dynamic.wrap(&packet, 1).unwrap();
        assert_eq!(server.unwrap(&datagram).as_ref(), Ok(&packet));
        assert_eq!(dynamic.wrapped_key_len(), 0);
    }
}

/// The wrapped key of the captures, opened with the server's key as `doc/tls-crypt-v2.txt` describes.
#[test]
fn the_wrapped_key_is_our_key_under_the_servers() {
    let lines = V2_SERVER_KEY.lines().filter(|line| !line.starts_with('-'));
    let server = BASE64.decode(lines.collect::<String>()).unwrap();
    let (key, wrapped) = StaticKey::parse_tls_crypt_v2(V2_CLIENT_KEY).unwrap();
    for crypto in backends() {
        let (tag, rest) = wrapped.split_at(32);
        let (ciphertext, length) = rest.split_at(rest.len() - 2);
        let mut plain = ciphertext.to_vec();
        crypto.aes256_ctr(server[..32].try_into().unwrap(), tag[..16].try_into().unwrap(), &mut plain);
        assert!(crypto.hmac(Digest::Sha256, &server[64..96]).verify(&[length, &plain], tag));
        assert_eq!(&plain[..256], key.bytes());
        assert_eq!(plain[256], 1, "metadata of 2.6: a timestamp");
    }
}

#[test]
fn debug_shows_no_key() {
    let wrapper = Wrapper::new(&tls_auth(KeyDirection::Inverse, Digest::Sha1), Role::Client, &backends()[0]);
    assert_eq!(format!("{wrapper:?}"), "Wrapper(tls-auth, SHA1)");
}

fn any_wrap() -> impl Strategy<Value = (ControlWrap, ControlWrap)> {
    let auth = prop::sample::select(Digest::ALL.to_vec())
        .prop_map(|digest| (tls_auth(KeyDirection::Inverse, digest), tls_auth(KeyDirection::Normal, digest)));
    let same = [ControlWrap::None, ControlWrap::TlsCrypt(static_key()), tls_crypt_v2()];
    prop_oneof![auth, prop::sample::select(same.to_vec()).prop_map(|wrap| (wrap.clone(), wrap))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_packet_survives_wrapping_and_unwrapping(
        (client, server) in any_wrap(),
        packets in prop::collection::vec(any_packet(), 1..5),
        time in any::<u32>(),
    ) {
        let (mut client, mut server) = ends(&client, &server, &backends()[0]);
        for packet in packets {
            let datagram = client.wrap(&packet, time).unwrap();
            let key = if packet.opcode.carries_wrapped_key() { client.wrapped_key_len() } else { 0 };
            prop_assert_eq!(datagram.len(), packet.encoded_len() + client.overhead() + key);
            prop_assert_eq!(server.unwrap(&datagram), Ok(packet));
        }
    }

    #[test]
    fn no_bytes_make_unwrapping_panic(
        (client, server) in any_wrap(),
        first in any::<u8>(),
        mut bytes in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let plain = client == ControlWrap::None;
        let (mut client, mut server) = ends(&client, &server, &backends()[0]);
        bytes[0] = first;
        prop_assert!(plain || client.unwrap(&bytes).is_err());
        prop_assert!(plain || server.unwrap(&bytes).is_err());
    }
}

//! Entry points for fuzzers: each takes any bytes and must neither panic nor take long.

mod server;
mod session;

use std::{net::Ipv4Addr, sync::Arc};

use adit_tunnel::{Content, Opener, Sealer, Usage, wire::Writer};

use crate::{
    algorithms::{Cipher, Digest},
    config::{ControlWrap, Credentials, Framing, KeyDirection, Settings},
    control::{
        message::{self, Message, PushAssembler},
        packet::{ControlPacket, EarlyNegotiation},
        wrap::Wrapper,
    },
    crypto::{self, Crypto},
    data::{DataKeyParams, DataOpener, DataSealer, Role, data_keys},
    key_exchange::ServerMessage,
    keys::{self, StaticKey},
    options::PulledOptions,
    profile::{Profile, Secrets},
};

pub use self::{server::server, session::session};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Every target with its name, which is also the name of its corpus in `testdata/fuzz`.
pub const TARGETS: [(&str, Target); 10] = [
    ("data_open", data_open),
    ("key_exchange", key_exchange),
    ("key_files", key_files),
    ("openvpn_packet", openvpn_packet),
    ("profile", profile),
    ("push_options", push_options),
    ("push_reply", push_reply),
    ("server", server),
    ("session", session),
    ("static_key", static_key),
];

/// A datagram of the control channel, under every wrapping. What is read is written again as the same bytes.
pub fn openvpn_packet(datagram: &[u8]) {
    if let Ok(packet) = ControlPacket::decode(datagram) {
        let mut w = Writer::default();
        packet.encode(&mut w);
        assert_eq!(w.as_slice(), datagram, "{packet:?}");
        if let Ok(negotiation) = EarlyNegotiation::decode(&packet.payload) {
            assert!(!negotiation.resend_wrapped_key || !packet.payload.is_empty());
        }
    }
    let crypto: Arc<dyn Crypto> = crypto::default_backend();
    let key = StaticKey::new([7; 256]);
    let auth = ControlWrap::TlsAuth { key: key.clone(), direction: KeyDirection::Inverse, digest: Digest::Sha1 };
    for wrap in [auth, ControlWrap::TlsCrypt(key)] {
        assert!(Wrapper::new(&wrap, Role::Client, &crypto).verify(datagram).is_err(), "a forged packet");
    }
}

/// A TLS record of control messages, and the pushed options in it.
pub fn push_reply(record: &[u8]) {
    let mut assembler = PushAssembler::default();
    for push in message::messages(record).filter_map(|message| match message {
        Ok(Message::PushReply(push) | Message::PushUpdate(push)) => Some(push),
        Ok(_) | Err(_) => None,
    }) {
        if let Ok(Some(options)) = assembler.add(push) {
            assert!(options.iter().all(|option| !option.contains([',', '\0'])));
        }
    }
}

/// A TLS record with the server's part of key method 2.
pub fn key_exchange(record: &[u8]) {
    if let Ok(message) = ServerMessage::decode(record) {
        assert!(record.len() >= 5 + 64, "{message:?}");
    }
}

/// A profile whose files all have the same content as itself, and the configuration made of it.
pub fn profile(text: &[u8]) {
    if let Ok(profile) = Profile::parse(text, &mut |_| Ok(text.to_vec())) {
        assert!(!profile.remotes().is_empty());
        let credentials = Some(Credentials { username: "user".to_owned(), password: "password".into() });
        let secrets = Secrets { credentials, key_passphrase: Some("passphrase".into()) };
        drop((profile.warnings(), profile.into_config(secrets)));
    }
}

/// Pushed options, one a line.
pub fn push_options(text: &[u8]) {
    let options: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
    let settings = Settings::default();
    let Ok(mut pulled) = PulledOptions::from_local(&settings) else { return };
    if pulled.apply(&options, &settings).is_ok() {
        let config = pulled.network_config(Ipv4Addr::LOCALHOST.into(), 1500, 1400);
        assert!(config.routes.len() <= options.len());
    }
}

/// Private keys, certificates and revocation lists, as PEM and as PKCS#12.
pub fn key_files(file: &[u8]) {
    let key = keys::pem::private_key(file, Some(b"passphrase"));
    drop((key, keys::pem::certificates(file), keys::pem::crls(file), keys::Pkcs12::open(file, None)));
}

/// The text of a static key, or of a client's key of tls-crypt-v2.
pub fn static_key(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    if let Ok((_, wrapped)) = StaticKey::parse_tls_crypt_v2(&text) {
        assert!(wrapped.len() <= 1024);
    }
    assert!(StaticKey::parse(&text).is_err() || text.len() >= 512);
}

/// Opens the bytes as a datagram; then seals them as if the peer had, so that they reach what lies behind the
/// authentication, and opens that. The first byte chooses cipher, data version and framing.
pub fn data_open(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let framings = [Framing::None, Framing::V1, Framing::V1Swap, Framing::V2];
    let Some(&framing) = framings.get(usize::from(choice & 3)) else { return };
    let peer_id = (choice & 4 != 0).then_some(7);
    let Some(&cipher) = Cipher::ALL.get(usize::from(choice >> 3) % Cipher::ALL.len()) else { return };
    let Some((_, mut opener)) = keys(cipher, Role::Client, framing, peer_id) else { return };
    // The payload is chosen freely: the peer frames nothing.
    let Some((mut peer, _)) = keys(cipher, Role::Server, Framing::None, peer_id) else { return };

    open(&mut opener, &mut rest.to_vec());
    let mut buf = vec![0; peer.sealed_len(rest.len())];
    let packet = peer.header_len()..peer.header_len() + rest.len();
    let Some(space) = buf.get_mut(packet.clone()) else { return };
    space.copy_from_slice(rest);
    if let Ok(range) = peer.seal(&mut buf, packet)
        && let Some(datagram) = buf.get_mut(range)
    {
        open(&mut opener, datagram);
    }
}

fn keys(cipher: Cipher, role: Role, framing: Framing, peer_id: Option<u32>) -> Option<(DataSealer, DataOpener)> {
    let keys = StaticKey::new([0x5a; 256]);
    let auth = Digest::Sha256;
    let params =
        DataKeyParams { cipher, auth, keys: &keys, role, key_id: 0, peer_id, framing, replay_window: 64, mtu: 1500 };
    data_keys(&params, &*crypto::default_backend(), Arc::new(Usage::default())).ok()
}

fn open(opener: &mut DataOpener, datagram: &mut [u8]) {
    match opener.open(datagram).map(|opened| opened.content) {
        Ok(Content::Packet(range) | Content::Message(range)) => {
            assert!(datagram.get(range).is_some_and(|content| !content.is_empty()));
        }
        Ok(Content::Unpacked) => assert!(!opener.unpacked().is_empty()),
        Ok(Content::Filler) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use adit_testing::{Damage, corpora, vectors};
    use proptest::prelude::*;

    use super::*;

    /// Every file of a target's corpus.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        adit_testing::corpus(env!("CARGO_MANIFEST_DIR"), target)
    }

    #[test]
    fn the_corpus_passes_every_target() {
        let names = corpora(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(names, TARGETS.map(|(name, _)| name));
        for (name, target) in TARGETS {
            let files = corpus(name);
            assert!(files.len() >= 3, "{name}");
            files.iter().for_each(|file| target(file));
        }
    }

    /// A corpus whose every file is turned away at the door would show nothing.
    #[test]
    fn the_corpus_reaches_what_lies_behind_the_door() {
        let count = |target: &str, passes: fn(&[u8]) -> bool| corpus(target).iter().filter(|f| passes(f)).count();
        assert!(count("openvpn_packet", |file| ControlPacket::decode(file).is_ok()) >= 6);
        assert!(count("key_exchange", |file| ServerMessage::decode(file).is_ok()) >= 2);
        assert!(count("profile", |file| Profile::parse(file, &mut |_| Err(String::new())).is_ok()) >= 5);
        assert!(count("key_files", |file| keys::pem::is_key_encrypted(file).is_ok()) >= 5);
        assert!(count("server", |file| server::peers_made(file) > 0) >= 8);
        assert!(count("static_key", |file| StaticKey::parse(&String::from_utf8_lossy(file)).is_ok()) >= 1);
    }

    /// The captures are part of it.
    #[test]
    fn captured_packets_pass_their_target() {
        for name in ["none", "tls_auth_sha1_bidirectional", "tls_crypt", "tls_crypt_v2_cookie"] {
            let path = format!("{}/testdata/captures/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            vectors(path).iter().flat_map(|vector| vector.values()).for_each(|datagram| openvpn_packet(datagram));
        }
    }

    proptest! {
        #[test]
        fn no_target_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), opcode in 0u8..16) {
            TARGETS.iter().for_each(|(_, target)| target(&bytes));
            push_reply(&[b"PUSH_REPLY,", &bytes[..]].concat());
            key_exchange(&[&[0, 0, 0, 0, 2], &bytes[..]].concat());
            openvpn_packet(&[&[opcode << 3], &bytes[..]].concat());
        }

        #[test]
        fn no_damage_to_the_corpus_makes_a_target_panic(
            file in any::<prop::sample::Index>(),
            damages in prop::collection::vec(Damage::any(), 1..6),
        ) {
            for (name, target) in TARGETS {
                let files = corpus(name);
                let mut file = files[file.index(files.len())].clone();
                damages.iter().for_each(|damage| damage.apply(&mut file));
                target(&file);
            }
        }
    }
}

//! Key method 2: what both ends tell each other as soon as TLS is up, and the data keys made from it.
//!
//! ```text
//!  0:32 | method:8 | client only: pre-master:48 bytes | random1:32 bytes | random2:32 bytes
//!       | options | user name | password | peer-info        each: length:16 including the NUL, text, NUL; or length 0
//! ```
//!
//! Each is one TLS record: old servers leave out the last strings, so the end of the record is part of the format.
//! Source: OpenVPN 2.6 `ssl.c`.

use std::fmt;

use adit_tunnel::{Random, Secret, wire::DecodeError};
use nom::{IResult, bytes::complete::take, number::complete::be_u8};
use zeroize::Zeroizing;

use crate::{
    algorithms::Digest,
    control::packet::{SessionId, array, finish_partly, invalid},
    crypto::Crypto,
    keys::StaticKey,
};

/// Label of the TLS exporter for the 256 bytes of data keys; no context (2.6 `ssl_common.h`).
pub(crate) const EXPORTER_DATA_KEYS: &[u8] = b"EXPORTER-OpenVPN-datakeys";
/// Label of the TLS exporter for the 256 bytes of dynamic tls-crypt; no context (2.6 `tls_crypt.c`).
pub(crate) const EXPORTER_DYNAMIC_TLS_CRYPT: &[u8] = b"EXPORTER-OpenVPN-dynamic-tls-crypt";

/// The client's part.
#[derive(PartialEq, Eq)]
pub(crate) struct ClientMessage {
    pub(crate) pre_master: Zeroizing<[u8; 48]>,
    pub(crate) random1: Zeroizing<[u8; 32]>,
    pub(crate) random2: Zeroizing<[u8; 32]>,
    /// Empty, or the options string that ends compare for warnings.
    pub(crate) options: String,
    /// Empty without `auth-user-pass`.
    pub(crate) username: String,
    pub(crate) password: Secret,
    /// Lines `KEY=VALUE`, each ended by LF.
    pub(crate) peer_info: String,
}

/// The server's part.
#[derive(PartialEq, Eq)]
pub(crate) struct ServerMessage {
    pub(crate) random1: Zeroizing<[u8; 32]>,
    pub(crate) random2: Zeroizing<[u8; 32]>,
    pub(crate) options: String,
    pub(crate) peer_info: String,
}

/// Why a message of the key exchange cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyExchangeError {
    #[error("the {0} is longer than the server could read")]
    TooLong(&'static str),
    #[error("the {0} holds a NUL byte")]
    Nul(&'static str),
    #[error("the server uses key method {0}, not 2")]
    Method(u8),
    #[error("key exchange: {0}")]
    Malformed(#[from] DecodeError),
}

impl ClientMessage {
    /// Draws the secrets.
    pub(crate) fn new(
        random: &mut dyn Random,
        options: String,
        credentials: Option<(String, Secret)>,
        peer_info: String,
    ) -> Self {
        let (username, password) = credentials.unwrap_or_default();
        Self {
            pre_master: drawn(random),
            random1: drawn(random),
            random2: drawn(random),
            options,
            username,
            password,
            peer_info,
        }
    }

    /// The record to write.
    ///
    /// # Errors
    /// [`KeyExchangeError::TooLong`] if a 2.x server could not read it whole, [`KeyExchangeError::Nul`] if it would
    /// read less than we meant.
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeyExchangeError> {
        let mut w = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
        put(&mut w, &[0, 0, 0, 0, METHOD]);
        put(&mut w, self.pre_master.as_slice());
        put(&mut w, self.random1.as_slice());
        put(&mut w, self.random2.as_slice());
        if self.options.len() >= MAX_OPTIONS {
            return Err(KeyExchangeError::TooLong("options string"));
        }
        put_text(&mut w, "options string", self.options.as_bytes())?;
        put_text(&mut w, "user name", self.username.as_bytes())?;
        put_text(&mut w, "password", self.password.expose())?;
        put_text(&mut w, "peer-info", self.peer_info.as_bytes())?;
        Ok(w)
    }

    /// Reads a record. What follows the strings we know is ignored.
    ///
    /// # Errors
    /// [`KeyExchangeError::Method`] or [`KeyExchangeError::Malformed`].
    pub(crate) fn decode(record: &[u8]) -> Result<Self, KeyExchangeError> {
        let input = after_method(record)?;
        let (input, pre_master) = finish_partly(array(input))?;
        let (input, random1) = finish_partly(array(input))?;
        let (input, random2) = finish_partly(array(input))?;
        let (input, options) = finish_partly(text(input))?;
        let (input, username) = finish_partly(text(input))?;
        let (input, password) = finish_partly(text(input))?;
        let (_, peer_info) = finish_partly(text(input))?;
        Ok(Self {
            pre_master: Zeroizing::new(pre_master),
            random1: Zeroizing::new(random1),
            random2: Zeroizing::new(random2),
            options: lossy(options),
            username: lossy(username),
            password: Secret::new(password),
            peer_info: lossy(peer_info),
        })
    }
}

impl fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientMessage {{ options: {:?}, peer_info: {:?}, .. }}", self.options, self.peer_info)
    }
}

impl ServerMessage {
    /// Draws the secrets.
    pub(crate) fn new(random: &mut dyn Random, options: String) -> Self {
        Self { random1: drawn(random), random2: drawn(random), options, peer_info: String::new() }
    }

    /// Reads a record. What follows the strings we know is ignored.
    ///
    /// # Errors
    /// [`KeyExchangeError::Method`] or [`KeyExchangeError::Malformed`].
    pub(crate) fn decode(record: &[u8]) -> Result<Self, KeyExchangeError> {
        let input = after_method(record)?;
        let (input, random1) = finish_partly(array(input))?;
        let (input, random2) = finish_partly(array(input))?;
        let (input, options) = finish_partly(text(input))?;
        // A server has neither user nor password, and nothing depends on its peer-info: no reason to refuse it.
        let peer_info = after_credentials(input).unwrap_or_default();
        Ok(Self {
            random1: Zeroizing::new(random1),
            random2: Zeroizing::new(random2),
            options: lossy(options),
            peer_info: lossy(peer_info),
        })
    }

    /// The record to write.
    ///
    /// # Errors
    /// As [`ClientMessage::encode`].
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeyExchangeError> {
        let mut w = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
        put(&mut w, &[0, 0, 0, 0, METHOD]);
        put(&mut w, self.random1.as_slice());
        put(&mut w, self.random2.as_slice());
        put_text(&mut w, "options string", self.options.as_bytes())?;
        put_text(&mut w, "user name", b"")?;
        put_text(&mut w, "password", b"")?;
        put_text(&mut w, "peer-info", self.peer_info.as_bytes())?;
        Ok(w)
    }
}

impl fmt::Debug for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerMessage {{ options: {:?}, peer_info: {:?}, .. }}", self.options, self.peer_info)
    }
}

/// The data keys where the TLS exporter is not agreed upon (2.6 `generate_key_expansion_openvpn_prf`).
///
/// The draft leaves out the session ids and names the wrong secret.
pub(crate) fn derive_prf(
    client: &ClientMessage,
    server: &ServerMessage,
    client_session: SessionId,
    server_session: SessionId,
    crypto: &dyn Crypto,
) -> StaticKey {
    let mut master = Zeroizing::new([0; 48]);
    let seed: [&[u8]; 3] = [b"OpenVPN master secret", client.random1.as_slice(), server.random1.as_slice()];
    tls1_prf(crypto, client.pre_master.as_slice(), &seed, master.as_mut_slice());

    let mut keys = Zeroizing::new([0; 256]);
    let seed: [&[u8]; 5] = [
        b"OpenVPN key expansion",
        client.random2.as_slice(),
        server.random2.as_slice(),
        client_session.bytes(),
        server_session.bytes(),
    ];
    tls1_prf(crypto, master.as_slice(), &seed, keys.as_mut_slice());
    StaticKey::new(*keys)
}

/// The PRF of TLS 1.0 (RFC 2246 §5): P_MD5 of the secret's first half, XOR P_SHA1 of its second half. `seed` is label
/// and seed, in parts; `out` is overwritten.
pub(crate) fn tls1_prf(crypto: &dyn Crypto, secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    out.fill(0);
    // Halves of an odd secret share the middle byte.
    let half = secret.len().div_ceil(2);
    xor_p_hash(crypto, Digest::Md5, secret.get(..half).unwrap_or_default(), seed, out);
    xor_p_hash(crypto, Digest::Sha1, secret.get(secret.len() - half..).unwrap_or_default(), seed, out);
}

/// XORs P_hash (RFC 2246 §5) to `out`.
fn xor_p_hash(crypto: &dyn Crypto, digest: Digest, secret: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let hmac = crypto.hmac(digest, secret);
    let (mut a, mut block) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 64]));
    hmac.sign(seed, &mut a);
    for chunk in out.chunks_mut(digest.len()) {
        let a_now = Zeroizing::new(a.get(..digest.len()).unwrap_or_default().to_vec());
        let mut parts: Vec<&[u8]> = vec![&a_now];
        parts.extend_from_slice(seed);
        hmac.sign(&parts, &mut block);
        chunk.iter_mut().zip(block.iter()).for_each(|(byte, other)| *byte ^= other);
        hmac.sign(&[&a_now], &mut a);
    }
}

/// Skips the leading zeros, which 2.x does not look at either, and checks the method: the low four bits of its byte.
fn after_method(record: &[u8]) -> Result<&[u8], KeyExchangeError> {
    let (input, _zero) = finish_partly(array::<4>(record))?;
    let (input, method) = finish_partly(be_u8(input))?;
    match method & 0x0f {
        METHOD => Ok(input),
        other => Err(KeyExchangeError::Method(other)),
    }
}

/// A string without its NUL. Absent strings have length 0, or lie beyond the end of the record; the draft has a single
/// zero byte for the last one.
fn text(input: &[u8]) -> IResult<&[u8], &[u8], DecodeError> {
    if matches!(input, [] | [0]) {
        return Ok((&[], &[]));
    }
    let (input, length) = array(input)?;
    let (input, text) = take(u16::from_be_bytes(length))(input)?;
    match text.split_last() {
        None => Ok((input, text)),
        Some((0, text)) => Ok((input, text)),
        Some(_) => Err(invalid("end of a string")),
    }
}

/// The string after user name and password.
fn after_credentials(input: &[u8]) -> Result<&[u8], DecodeError> {
    let (input, _username) = finish_partly(text(input))?;
    let (input, _password) = finish_partly(text(input))?;
    finish_partly(text(input)).map(|(_, peer_info)| peer_info)
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Appends within the capacity, so that no copy of a secret stays behind in freed memory.
fn put(w: &mut Vec<u8>, bytes: &[u8]) {
    w.extend_from_slice(bytes);
}

fn put_text(w: &mut Vec<u8>, field: &'static str, text: &[u8]) -> Result<(), KeyExchangeError> {
    if text.contains(&0) {
        return Err(KeyExchangeError::Nul(field));
    }
    // Length, text, NUL; and what the strings still to come need at least.
    if w.len() + text.len() + 3 > MAX_MESSAGE {
        return Err(KeyExchangeError::TooLong(field));
    }
    if text.is_empty() {
        put(w, &[0, 0]);
        return Ok(());
    }
    put(w, &(text.len() as u16 + 1).to_be_bytes());
    put(w, text);
    put(w, &[0]);
    Ok(())
}

fn drawn<const N: usize>(random: &mut dyn Random) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    random.fill(bytes.as_mut_slice());
    bytes
}

/// The only method left; 2.x dropped method 1.
const METHOD: u8 = 2;
/// The options string with its NUL (2.6 `ssl.c`).
const MAX_OPTIONS: usize = 512;
/// What 2.x writes and reads (`TLS_CHANNEL_BUF_SIZE`). User name and password are limited further, to 128 bytes each
/// with NUL, or to 4096 in builds with PKCS#11 such as Debian's (tried with 2.6.14: a password of 1000 bytes reaches the
/// server, and with 1700 the client fails too). We let all pass that some server reads.
const MAX_MESSAGE: usize = 2048;

#[cfg(test)]
mod tests {
    use adit_testing::{SeededRandom, Vector, vectors};
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::{Ring, RustCrypto};

    fn backends() -> [&'static dyn Crypto; 2] {
        [&Ring, &RustCrypto]
    }

    fn vector_file(name: &str) -> Vec<Vector> {
        vectors(format!("{}/testdata/vectors/{name}", env!("CARGO_MANIFEST_DIR")))
    }

    fn fixed<const N: usize>(bytes: &[u8]) -> Zeroizing<[u8; N]> {
        Zeroizing::new(bytes.try_into().unwrap())
    }

    fn client_message(options: &str, username: &str, password: &str, peer_info: &str) -> ClientMessage {
        let credentials = Some((username.to_owned(), password.into()));
        ClientMessage::new(&mut SeededRandom::new(1), options.to_owned(), credentials, peer_info.to_owned())
    }

    fn server_message(options: &str, peer_info: &str) -> ServerMessage {
        ServerMessage {
            random1: fixed(&[1; 32]),
            random2: fixed(&[2; 32]),
            options: options.to_owned(),
            peer_info: peer_info.to_owned(),
        }
    }

    #[test]
    fn prf_answers_as_openssl_does() {
        for (vector, crypto) in vector_file("tls1_prf.txt").iter().flat_map(|v| backends().map(|crypto| (v, crypto))) {
            let expected = &vector["output"];
            let mut out = vec![0xff; expected.len()];
            let (front, back) = vector["seed"].split_at(vector["seed"].len() / 2);
            tls1_prf(crypto, &vector["secret"], &[front, back], &mut out);
            assert_eq!(&out, expected);
        }
    }

    #[test]
    fn data_keys_are_those_of_the_independent_generator() {
        for (vector, crypto) in
            vector_file("key_method_2.txt").iter().flat_map(|v| backends().map(|crypto| (v, crypto)))
        {
            let client = ClientMessage {
                pre_master: fixed(&vector["pre_master"]),
                random1: fixed(&vector["client_random1"]),
                random2: fixed(&vector["client_random2"]),
                ..client_message("", "", "", "")
            };
            let server = ServerMessage {
                random1: fixed(&vector["server_random1"]),
                random2: fixed(&vector["server_random2"]),
                ..server_message("", "")
            };
            let session = |name: &str| SessionId::new(vector[name].as_slice().try_into().unwrap()).unwrap();
            let keys = derive_prf(&client, &server, session("client_session"), session("server_session"), crypto);
            assert_eq!(keys.bytes().as_slice(), vector["keys"]);
        }
    }

    #[test]
    fn the_clients_message_has_the_layout_of_method_2() {
        let message = client_message("V4,tun", "bob", "pw", "");
        let bytes = message.encode().unwrap();
        assert_eq!(bytes[..5], [0, 0, 0, 0, 2]);
        assert_eq!(bytes[5..53], *message.pre_master.as_slice());
        assert_eq!(bytes[53..85], *message.random1.as_slice());
        assert_eq!(bytes[85..117], *message.random2.as_slice());
        assert_eq!(bytes[117..], *b"\0\x07V4,tun\0\0\x04bob\0\0\x03pw\0\0\0");
    }

    #[test]
    fn secrets_are_drawn_apart() {
        let message = client_message("", "", "", "");
        assert_ne!(message.random1, message.random2);
        assert_ne!(message.pre_master[..32], message.random1[..]);
    }

    #[test]
    fn servers_may_end_early_or_write_one_zero_for_the_last_string() {
        let full = server_message("V4", "IV_PROTO=2\n").encode().unwrap();
        let after_options = 5 + 64 + 5;
        let without = server_message("V4", "");
        for rest in [&b""[..], b"\0", b"\0\0", b"\0\0\0\0", b"\0\0\0\0\0", b"\0\0\0\0\0\0", b"\0\x01\0\0\x01\0\0\x01\0"]
        {
            let record = [&full[..after_options], rest].concat();
            assert_eq!(ServerMessage::decode(&record).as_ref(), Ok(&without), "{rest:?}");
        }
        assert_eq!(ServerMessage::decode(&full), Ok(server_message("V4", "IV_PROTO=2\n")));
        let newer = [&full[..], b"\0\x02x\0"].concat();
        assert_eq!(ServerMessage::decode(&newer), Ok(server_message("V4", "IV_PROTO=2\n")));
    }

    #[test]
    fn truncated_randoms_and_strings_are_refused() {
        let full = server_message("V4,dev-type tun", "").encode().unwrap();
        let strings = 5 + 64;
        for end in (0..strings).chain(strings + 2..strings + 18) {
            let refused = Err(KeyExchangeError::Malformed(DecodeError::Truncated));
            assert_eq!(ServerMessage::decode(&full[..end]), refused, "{end} bytes");
        }
    }

    #[test]
    fn other_methods_and_unended_strings_are_refused() {
        let mut full = server_message("V4", "").encode().unwrap();
        full[4] = 1;
        assert_eq!(ServerMessage::decode(&full), Err(KeyExchangeError::Method(1)));
        full[4] = 0xf2;
        assert!(ServerMessage::decode(&full).is_ok(), "only four bits are the method");
        full[5 + 64 + 4] = b'x';
        let refused = KeyExchangeError::Malformed(DecodeError::Invalid("end of a string"));
        assert_eq!(ServerMessage::decode(&full), Err(refused));
    }

    #[test]
    fn what_no_server_could_read_whole_is_not_written() {
        let too_long = |message: ClientMessage| message.encode().unwrap_err();
        let long = "x".repeat(2000);
        assert_eq!(too_long(client_message(&"x".repeat(512), "", "", "")), KeyExchangeError::TooLong("options string"));
        assert_eq!(too_long(client_message("", &long, "", "")), KeyExchangeError::TooLong("user name"));
        assert_eq!(too_long(client_message("", "", &long, "")), KeyExchangeError::TooLong("password"));
        assert_eq!(too_long(client_message("", "", "", &long)), KeyExchangeError::TooLong("peer-info"));
        assert!(client_message(&"x".repeat(511), "u", &"x".repeat(1000), "").encode().is_ok());
    }

    #[test]
    fn a_nul_inside_a_string_is_not_written() {
        assert_eq!(client_message("", "", "a\0b", "").encode(), Err(KeyExchangeError::Nul("password")));
        assert_eq!(client_message("", "a\0", "", "").encode(), Err(KeyExchangeError::Nul("user name")));
    }

    #[test]
    fn writing_never_moves_the_secrets_to_another_buffer() {
        let options = "x".repeat(400);
        let message = client_message(&options, "user", &"p".repeat(1400), "");
        assert_eq!(message.encode().unwrap().capacity(), MAX_MESSAGE);
    }

    #[test]
    fn debug_shows_neither_password_nor_user() {
        let text = format!("{:?}", client_message("V4", "bob", "hunter2", "IV_VER=1"));
        assert_eq!(text, "ClientMessage { options: \"V4\", peer_info: \"IV_VER=1\", .. }");
    }

    proptest! {
        #[test]
        fn every_message_survives_encoding_and_decoding(
            options in "[ -~]{0,300}", username in "\\PC{0,60}", password in "\\PC{0,60}", peer_info in "[A-Z_=0-9\n]{0,300}",
        ) {
            let message = client_message(&options, &username, &password, &peer_info);
            let bytes = message.encode().unwrap();
            prop_assert_eq!(ClientMessage::decode(&bytes), Ok(message));
            let message = server_message(&options, &peer_info);
            let bytes = message.encode().unwrap();
            prop_assert_eq!(ServerMessage::decode(&bytes), Ok(message));
        }

        #[test]
        fn no_bytes_make_decoding_panic(mut record in prop::collection::vec(any::<u8>(), 0..400), good_start in any::<bool>()) {
            if good_start && record.len() > 80 {
                record[..5].copy_from_slice(&[0, 0, 0, 0, 2]);
                record[69] = 0;
            }
            if let Ok(message) = ServerMessage::decode(&record) {
                prop_assert_eq!(&message.random1[..], &record[5..37]);
            }
        }
    }
}

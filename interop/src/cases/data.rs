//! The formats of the data channel that the matrix does not show.

use anyhow::{Result, ensure};

use super::{Case, auth};
use crate::{
    client::ClientConfig,
    config::{self, Transport},
    net::Place,
    process::run,
    rig::{Rig, Session},
    tools::stream,
};

/// The exit code of `adit`.
const NO_AGREEMENT: i32 = 6;

/// IV_PROTO's bit for DATA_V2 and peer-ids.
const IV_PROTO_DATA_V2: u32 = 1 << 1;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("data_v1", |rig| data_v1(rig, "AES-256-GCM")),
        Case::new("data_v1_cbc", |rig| data_v1(rig, "AES-128-CBC")),
        Case::new("no_ncp", no_ncp),
        Case::new("no_common_cipher", no_common_cipher),
        Case::new("lz4_from_server", |rig| lz4(rig, "lz4-v2", "v2")),
        Case::new("lz4_v1_from_server", |rig| lz4(rig, "lz4", "v1-swap")),
        Case::new("framing_comp_lzo_no", |rig| framing(rig, "comp-lzo no", "v1")),
        Case::new("framing_stub", |rig| framing(rig, "compress stub", "v1-swap")),
        Case::new("framing_stub_v2", |rig| framing(rig, "compress stub-v2", "v2")),
    ];
    for (cipher, digest) in [
        ("AES-128-GCM", "SHA256"),
        ("AES-192-GCM", "SHA256"),
        ("AES-128-CBC", "SHA1"),
        ("AES-192-CBC", "SHA384"),
        ("AES-256-CBC", "SHA512"),
    ] {
        let name = format!("cipher_{}_{}", cipher.to_lowercase().replace('-', "_"), digest.to_lowercase());
        cases.push(Case::new(name, move |rig| one_cipher(rig, cipher, digest)));
    }
    cases
}

/// Packets without a peer-id, for a client that does not announce that it knows them.
fn data_v1(rig: &Rig, cipher: &str) -> Result<()> {
    let ciphers = format!("data-ciphers {cipher}");
    let server = config::server(&rig.pki, Transport::Udp).replace("verb 6").replace(&ciphers);
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?.replace(&ciphers));
    client.withhold_iv_proto = IV_PROTO_DATA_V2;
    let session = Session::open(rig, &server, &client)?;
    session.exchange()?;
    session.client.expect_event("data keys installed", &[("cipher", cipher), ("data", "v1")])?;
    session.server.expect("P_DATA_V1")?;
    session.server.expect_none("P_DATA_V2")?;
    ensure!(!session.server.pushed()?.contains("peer-id"), "a peer-id was pushed");
    session.close()
}

/// A client from before cipher negotiation: both ends use what their files say.
fn no_ncp(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp)
        .replace("verb 6")
        .replace("data-ciphers AES-256-GCM:AES-256-CBC")
        .with("cipher AES-256-CBC\nauth SHA256\ndata-ciphers-fallback AES-256-CBC");
    let profile =
        config::profile(&rig.pki, Transport::Udp)?.without("data-ciphers").with("cipher AES-256-CBC\nauth SHA256");
    let mut client = ClientConfig::new(profile);
    client.withhold_ncp = true;
    let session = Session::open(rig, &server, &client)?;
    session.exchange()?;
    session.client.expect_event("data keys installed", &[("cipher", "AES-256-CBC")])?;
    session.server.expect("Outgoing Data Channel: Cipher 'AES-256-CBC'")?;
    session.server.expect_none("IV_NCP")?;
    session.server.expect_none("IV_CIPHERS")?;
    ensure!(!session.server.pushed()?.contains("cipher "), "a cipher was pushed");
    session.close()
}

/// Server and client have no cipher in common: said as such, and not tried again.
fn no_common_cipher(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).replace("data-ciphers AES-256-GCM");
    let profile = config::profile(&rig.pki, Transport::Udp)?.replace("data-ciphers CHACHA20-POLY1305");
    auth::refused(rig, &server, &ClientConfig::new(profile), NO_AGREEMENT, "cipher")?
        .expect("Data channel cipher negotiation failed")
}

/// What the server compresses must come out whole, and must have been compressed: fewer bytes on the wire than inside.
fn lz4(rig: &Rig, algorithm: &str, framing: &str) -> Result<()> {
    const COUNT: u64 = 50;
    const SIZE: u64 = 1100;
    let server = config::server(&rig.pki, Transport::Udp)
        .with(&format!("compress {algorithm}\npush \"compress {algorithm}\"\nallow-compression yes"));
    let profile = config::profile(&rig.pki, Transport::Udp)?
        .replace("remote 203.0.113.1 1195")
        .with(&format!("compress {algorithm}"));
    let _relay = rig.start_relay(&[])?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    let before = rig.relay_counters()?;
    let (count, size) = (COUNT.to_string(), SIZE.to_string());
    let echo = session.client.echo().to_string();
    let report =
        run(&mut rig.tool(Place::Client, &["stream", &echo, "--count", &count, "--interval", "10", "--size", &size]))?;
    let report: stream::Report = serde_json::from_str(&report)?;
    ensure!(report.lost.is_empty() && report.corrupted == 0 && report.duplicated == 0, "{report:?}");
    let after = rig.relay_counters()?;
    let (datagrams, bytes) =
        (after.down.data_datagrams - before.down.data_datagrams, after.down.data_bytes - before.down.data_bytes);
    rig.note(&format!("{COUNT} packets of {SIZE} bytes came in {datagrams} datagrams with {bytes} bytes together"))?;
    ensure!(datagrams >= COUNT, "only {datagrams} datagrams for {COUNT} packets");
    ensure!(bytes < datagrams * SIZE / 4, "{datagrams} datagrams have {bytes} bytes: not compressed");
    session.client.expect_event("data keys installed", &[("framing", framing)])?;
    session.check_counters(COUNT * SIZE, COUNT)?;
    session.close()
}

fn framing(rig: &Rig, directive: &str, framing: &str) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).with(directive);
    let profile = config::profile(&rig.pki, Transport::Udp)?.with(directive);
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    session.client.expect_event("data keys installed", &[("framing", framing)])?;
    session.close()
}

fn one_cipher(rig: &Rig, cipher: &str, digest: &str) -> Result<()> {
    let lines = format!("data-ciphers {cipher}\nauth {digest}");
    let server = config::server(&rig.pki, Transport::Udp).without("data-ciphers").with(&lines);
    let profile = config::profile(&rig.pki, Transport::Udp)?.without("data-ciphers").with(&lines);
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    session.client.expect_event("data keys installed", &[("cipher", cipher)])?;
    session.server.expect(&format!("Outgoing Data Channel: Cipher '{cipher}'"))?;
    if cipher.ends_with("CBC") {
        session.server.expect(&format!("message hash '{digest}' for HMAC authentication"))?;
    }
    session.close()
}

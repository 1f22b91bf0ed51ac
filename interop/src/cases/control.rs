//! The control channel: digests and directions of `tls-auth`, dynamic tls-crypt, and how a client says goodbye.

use std::time::Duration;

use anyhow::Result;

use super::{Case, matrix::Wrap};
use crate::{
    client::ClientConfig,
    config::{self, Transport},
    rig::{Rig, Session},
};

/// IV_PROTO's bit for the exit message on the control channel.
const IV_PROTO_CC_EXIT_NOTIFY: u32 = 1 << 7;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (digest, directions) in [
        ("MD5", Some((0, 1))),
        ("SHA1", None),
        ("SHA1", Some((1, 0))),
        ("SHA224", Some((0, 1))),
        ("SHA256", None),
        ("SHA384", Some((0, 1))),
        ("SHA512", Some((0, 1))),
        ("SHA512", None),
        ("SHA3-256", Some((0, 1))),
        ("RIPEMD160", Some((0, 1))),
        ("BLAKE2b512", Some((0, 1))),
    ] {
        let direction = directions.map_or("none", |(_, client)| if client == 1 { "1" } else { "0" });
        let name = format!("tls_auth_{}_direction_{direction}", digest.to_lowercase().replace('-', "_"));
        cases.push(Case::new(name, move |rig| tls_auth(rig, digest, directions)));
    }
    for wrap in [Wrap::None, Wrap::TlsAuth, Wrap::TlsCrypt, Wrap::TlsCryptV2] {
        let name = format!("dynamic_tls_crypt_over_{}", wrap.name());
        cases.push(Case::new(name, move |rig| dynamic_tls_crypt(rig, wrap)).takes(8));
    }
    cases.push(Case::new("explicit_exit_notify", |rig| exit_notify(rig, 0, "CC-EEN exit message received")));
    cases.push(Case::new("explicit_exit_notify_occ", |rig| {
        exit_notify(rig, IV_PROTO_CC_EXIT_NOTIFY, "OCC exit message received")
    }));
    cases.push(Case::new("tls_1_2", tls_1_2));
    cases
}

fn tls_auth(rig: &Rig, digest: &str, directions: Option<(u8, u8)>) -> Result<()> {
    let key = rig.pki.path("ta.key").display().to_string();
    let auth = format!("auth {digest}");
    let of = |pick: fn((u8, u8)) -> u8| directions.map(pick).map_or_else(String::new, |number| format!(" {number}"));
    let server = config::server(&rig.pki, Transport::Udp).with(&auth).with(&format!("tls-auth {key}{}", of(|d| d.0)));
    let mut profile = config::profile(&rig.pki, Transport::Udp)?.with(&auth).inline("tls-auth", &rig.pki, "ta.key")?;
    if let Some((_, client)) = directions {
        profile = profile.with(&format!("key-direction {client}"));
    }
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.exchange()?;
    session.client.expect_event("control channel up", &[("wrap", "tls-auth")])?;
    session.server.expect("Incoming Control Channel Authentication: Using")?;
    session.close()
}

/// After the first key, renegotiations are encrypted with a key both ends derive, mixed with the old one if any.
fn dynamic_tls_crypt(rig: &Rig, wrap: Wrap) -> Result<()> {
    let server = wrap.server(rig, config::server(&rig.pki, Transport::Udp).with("reneg-sec 2"));
    let profile = wrap.profile(rig, config::profile(&rig.pki, Transport::Udp)?)?;
    let session = Session::open(rig, &server, &ClientConfig::new(profile))?;
    session.server.expect("Outgoing dynamic tls-crypt: Cipher 'AES-256-CTR'")?;
    for number in 1_u8..=2 {
        // A key takes over when traffic shows it; some traffic each time.
        let mark = session.server.process.mark();
        session.server.process.wait_text(mark, "Outgoing Data Channel: Cipher", Duration::from_secs(15))?;
        session.exchange()?;
        session.client.expect_event("data keys installed", &[("key_id", &number.to_string())])?;
    }
    session.server.expect_none("TLS Error")?;
    session.close()
}

/// The server hears at once that the client leaves, instead of waiting for its pings to stay away.
fn exit_notify(rig: &Rig, withheld: u32, text: &str) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp);
    let mut client = ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?);
    client.withhold_iv_proto = withheld;
    let session = Session::open(rig, &server, &client)?;
    session.exchange()?;
    session.server.expect_none(text)?;
    session.client.process.signal("INT")?;
    session.server.wait(text, Duration::from_secs(15))?;
    session.client.interrupted()?;
    rig.prove_gone()
}

fn tls_1_2(rig: &Rig) -> Result<()> {
    let server = config::server(&rig.pki, Transport::Udp).with("tls-version-max 1.2");
    let session = Session::open(rig, &server, &ClientConfig::new(config::profile(&rig.pki, Transport::Udp)?))?;
    session.exchange()?;
    session.client.expect_event("control channel up", &[("tls", "TLSv1.2")])?;
    session.server.expect("Control Channel: TLSv1.2")?;
    session.close()
}

//! Every algorithm pinned in turn, each proven by what the gateway says it has chosen.

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    ike::{session::IkeSession, setup::Setup},
    rig::Rig,
};

/// What both ends are told, and what strongSwan then says it uses.
type Suite = (&'static str, &'static str);

const ESP: &str = "aes128gcm16";

/// Encryption, integrity and PRF of the IKE SA, each with the same group.
const IKE: [Suite; 22] = [
    ("aes128-sha256", "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256"),
    ("aes192-sha256", "AES_CBC_192/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256"),
    ("aes256-sha256", "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256"),
    ("aes256-sha384", "AES_CBC_256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384"),
    ("aes256-sha512", "AES_CBC_256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512"),
    ("aes256-sha256-prfsha512", "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_512"),
    ("aes128ctr-sha256", "AES_CTR_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256"),
    ("aes192ctr-sha384", "AES_CTR_192/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384"),
    ("aes256ctr-sha512", "AES_CTR_256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512"),
    ("aes128gcm16-prfsha256", "AES_GCM_16_128/PRF_HMAC_SHA2_256"),
    ("aes192gcm16-prfsha256", "AES_GCM_16_192/PRF_HMAC_SHA2_256"),
    ("aes256gcm16-prfsha384", "AES_GCM_16_256/PRF_HMAC_SHA2_384"),
    ("aes256gcm16-prfsha512", "AES_GCM_16_256/PRF_HMAC_SHA2_512"),
    ("aes128gcm12-prfsha256", "AES_GCM_12_128/PRF_HMAC_SHA2_256"),
    ("aes256gcm12-prfsha256", "AES_GCM_12_256/PRF_HMAC_SHA2_256"),
    ("aes128gcm8-prfsha256", "AES_GCM_8_128/PRF_HMAC_SHA2_256"),
    ("aes256gcm8-prfsha256", "AES_GCM_8_256/PRF_HMAC_SHA2_256"),
    ("aes128ccm16-prfsha256", "AES_CCM_16_128/PRF_HMAC_SHA2_256"),
    ("aes192ccm12-prfsha256", "AES_CCM_12_192/PRF_HMAC_SHA2_256"),
    ("aes256ccm8-prfsha256", "AES_CCM_8_256/PRF_HMAC_SHA2_256"),
    ("chacha20poly1305-prfsha256", "CHACHA20_POLY1305/PRF_HMAC_SHA2_256"),
    ("chacha20poly1305-prfsha512", "CHACHA20_POLY1305/PRF_HMAC_SHA2_512"),
];

const GROUPS: [Suite; 9] = [
    ("x25519", "CURVE_25519"),
    ("ecp256", "ECP_256"),
    ("ecp384", "ECP_384"),
    ("ecp521", "ECP_521"),
    ("modp2048", "MODP_2048"),
    ("modp3072", "MODP_3072"),
    ("modp4096", "MODP_4096"),
    ("modp6144", "MODP_6144"),
    ("modp8192", "MODP_8192"),
];

/// What needs the explicit word `legacy`.
const LEGACY: [Suite; 3] = [
    ("aes128-sha1-modp1536", "AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1536"),
    ("3des-sha256-modp1024", "3DES_CBC/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_1024"),
    ("3des-sha1-modp1024", "3DES_CBC/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024"),
];

const CHILD: [Suite; 15] = [
    ("aes128gcm16", "AES_GCM_16_128"),
    ("aes192gcm16", "AES_GCM_16_192"),
    ("aes256gcm16", "AES_GCM_16_256"),
    ("aes128gcm12", "AES_GCM_12_128"),
    ("aes256gcm12", "AES_GCM_12_256"),
    ("aes128gcm8", "AES_GCM_8_128"),
    ("aes256gcm8", "AES_GCM_8_256"),
    ("aes128-sha1", "AES_CBC_128/HMAC_SHA1_96"),
    ("aes256-sha1", "AES_CBC_256/HMAC_SHA1_96"),
    ("aes128-sha256", "AES_CBC_128/HMAC_SHA2_256_128"),
    ("aes192-sha256", "AES_CBC_192/HMAC_SHA2_256_128"),
    ("aes256-sha256", "AES_CBC_256/HMAC_SHA2_256_128"),
    ("aes256-sha384", "AES_CBC_256/HMAC_SHA2_384_192"),
    ("aes256-sha512", "AES_CBC_256/HMAC_SHA2_512_256"),
    ("chacha20poly1305", "CHACHA20_POLY1305"),
];

pub(super) fn cases() -> Vec<Case> {
    let named = |kind: &str, words: &str| format!("suite_{kind}_{}", words.replace('-', "_"));
    let mut cases = vec![case("suite_default", defaults)];
    for (words, said) in IKE {
        let (ike, said) = (format!("{words}-x25519"), format!("{said}/CURVE_25519"));
        cases.push(case(&named("ike", words), move |rig| pinned(rig, &ike, ESP, &said, "AES_GCM_16_128", false)));
    }
    for (words, said) in GROUPS {
        let (ike, said) =
            (format!("aes128-sha256-{words}"), format!("AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/{said}"));
        cases.push(case(&named("group", words), move |rig| pinned(rig, &ike, ESP, &said, "AES_GCM_16_128", false)));
    }
    for (ike, said) in LEGACY {
        cases.push(case(&named("legacy", ike), move |rig| pinned(rig, ike, ESP, said, "AES_GCM_16_128", true)));
    }
    for (esp, said) in CHILD {
        let (ike, ike_said) = ("aes128gcm16-prfsha256-x25519", "AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519");
        // HMAC-SHA-1 is weak by reputation only; still it has to be asked for.
        let legacy = esp.ends_with("sha1");
        cases.push(case(&named("esp", esp), move |rig| pinned(rig, ike, esp, ike_said, said, legacy)));
    }
    cases
}

fn pinned(rig: &Rig, ike: &str, esp: &str, ike_said: &str, esp_said: &str, legacy: bool) -> Result<()> {
    let setup = Setup::psk().proposals(ike, esp);
    let setup = setup.client(|client| if legacy { client.set("legacy", "true") } else { client });
    let mut session = IkeSession::open(rig, &setup)?;
    check(&session, ike_said, esp_said)?;
    session.exchange()?;
    session.close()
}

fn check(session: &IkeSession<'_>, ike: &str, esp: &str) -> Result<()> {
    let ends = |text: String| session.gateway.process.lines(0, |line| line.text.ends_with(&text).then_some(())).len();
    ensure!(ends(format!("selected proposal: IKE:{ike}")) > 0, "the gateway has not chosen {ike}");
    ensure!(ends(format!("selected proposal: ESP:{esp}/NO_EXT_SEQ")) > 0, "the gateway has not chosen {esp}");
    Ok(())
}

/// Both ends as they come: strongSwan prefers what is first in its own list.
fn defaults(rig: &Rig) -> Result<()> {
    let mut session = IkeSession::open(rig, &Setup::psk())?;
    let chosen = session
        .gateway
        .process
        .lines(0, |line| line.text.split_once("selected proposal: ").map(|(_, suite)| suite.to_owned()));
    rig.note(&format!("chosen: {}", chosen.join(", ")))?;
    ensure!(chosen.len() == 2, "chosen: {chosen:?}");
    session.exchange()?;
    session.close()
}

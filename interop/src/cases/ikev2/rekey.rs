//! New keys: what a gateway demands of them that it did not demand of the first.

use std::time::Duration;

use anyhow::Result;

use super::{Case, case};
use crate::{
    ike::{session::IkeSession, setup::Setup},
    rig::Rig,
};

/// How long a rekey may take to come.
const SOON: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("pfs_at_rekey", |rig| child(rig, "aes128gcm16-ecp256", "AES_GCM_16_128/ECP_256")).takes(6),
        case("pfs_same_group_at_rekey", |rig| child(rig, "aes128gcm16-x25519", "AES_GCM_16_128/CURVE_25519")).takes(6),
        case("no_pfs_at_rekey", |rig| child(rig, "aes128gcm16", "AES_GCM_16_128")).takes(6),
        case("server_rekeys_child", |rig| by_server(rig, &["--child", "net"])).takes(4),
        case("server_rekeys_ike", |rig| by_server(rig, &["--ike", "gw"])).takes(4),
    ]
}

/// Whether a gateway wants PFS shows only when the child is rekeyed: the first one has no key exchange of its own.
fn child(rig: &Rig, esp: &str, said: &str) -> Result<()> {
    let setup = Setup::psk()
        .gateway(|gateway| gateway.conn("proposals", "aes128-sha256-x25519").child("esp_proposals", esp))
        .client(|client| {
            client.set("child_rekey_seconds", "3").reference(|charon| {
                charon.child("esp_proposals", esp).child("rekey_time", "3s").child("rand_time", "0s")
            })
        });
    let mut session = IkeSession::open(rig, &setup)?;
    session.exchange()?;
    let mark = session.gateway.process.mark();
    session.gateway.process.wait_text(mark, &format!("selected proposal: ESP:{said}/NO_EXT_SEQ"), SOON)?;
    session.gateway.process.wait_text(mark, "closing CHILD_SA", SOON)?;
    session.recount()?;
    session.exchange()?;
    session.close()
}

/// The gateway begins; the traffic goes on.
fn by_server(rig: &Rig, what: &[&str]) -> Result<()> {
    let mut session = IkeSession::open(rig, &Setup::psk())?;
    session.exchange()?;
    for _ in 0..3 {
        let mark = session.gateway.process.mark();
        let args: Vec<&str> = ["--rekey"].iter().chain(what).copied().collect();
        session.gateway.swanctl(&args)?;
        let done = if what.contains(&"--child") { "CHILD_SA closed" } else { "IKE_SA deleted" };
        session.gateway.process.wait_text(mark, done, SOON)?;
        session.recount()?;
        session.exchange()?;
    }
    session.close()
}

//! IKEv2 with strongSwan.

mod authentication;
mod certificates;
mod customers;
mod handshake;
mod imports;
mod liveness;
mod looking;
mod nat;
mod network;
mod paced;
mod probe;
mod profiles;
mod radius;
mod reconnects;
mod refusals;
mod rekey;
mod rekey_under_load;
mod roaming;
mod suites;
mod times;

use anyhow::Result;

use super::Case;
use crate::{
    ike::{session::IkeSession, setup::Setup},
    needs::Need,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    let groups = [
        customers::cases(),
        authentication::cases(),
        certificates::cases(),
        handshake::cases(),
        suites::cases(),
        network::cases(),
        rekey::cases(),
        rekey_under_load::cases(),
        nat::cases(),
        roaming::cases(),
        radius::cases(),
        liveness::cases(),
        refusals::cases(),
        probe::cases(),
        looking::cases(),
        profiles::cases(),
        imports::cases(),
        reconnects::cases(),
        times::cases(),
    ];
    groups.into_iter().flatten().collect()
}

pub(super) fn soak() -> Vec<Case> {
    liveness::soak().into_iter().chain(rekey_under_load::soak()).collect()
}

/// A case that needs strongSwan.
fn case(name: &str, run: impl Fn(&Rig) -> Result<()> + Send + Sync + 'static) -> Case {
    Case::new(format!("ikev2_{name}"), run).needs(Need::StrongSwan)
}

/// A tunnel that comes up, carries traffic and goes.
fn passes(rig: &Rig, setup: &Setup) -> Result<()> {
    let mut session = IkeSession::open(rig, setup)?;
    session.exchange()?;
    session.close()
}

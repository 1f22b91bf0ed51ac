//! The ways both ends prove who they are.

use anyhow::Result;

use super::{Case, case};
use crate::{
    ike::{
        radius::{self, FreeRadius, FreeRadiusConfig},
        session::IkeSession,
        setup::Setup,
    },
    needs::Need,
    rig::Rig,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("psk", |rig| passes(rig, &Setup::psk())),
        case("eap_mschapv2", |rig| passes(rig, &Setup::eap("eap-mschapv2"))),
        case("eap_gtc", |rig| {
            passes(rig, &Setup::eap("eap-gtc").gateway(|gateway| gateway.daemon("plugins.eap-gtc.backend", "generic")))
        }),
        case("eap_md5", |rig| passes(rig, &Setup::eap("eap-md5"))),
        case("eap_radius_mschapv2", radius_mschapv2).needs(Need::FreeRadius),
    ];
    for kind in ["", "-rsa", "-p384", "-p521", "-ed25519"] {
        let name = format!("certificates{}", kind.replace('-', "_"));
        cases.push(case(&name, move |rig| {
            passes(rig, &Setup::certificates(&format!("server{kind}"), &format!("client{kind}")))
        }));
    }
    cases
}

fn passes(rig: &Rig, setup: &Setup) -> Result<()> {
    let mut session = IkeSession::open(rig, setup)?;
    session.exchange()?;
    session.close()
}

fn radius_mschapv2(rig: &Rig) -> Result<()> {
    let _radius = FreeRadius::start(rig, &FreeRadiusConfig::new("mschapv2"))?;
    let mut setup = Setup::eap("eap-mschapv2").client(|client| {
        client.secret("password", "secret").reference(|charon| charon.secret("eap-alice.secret", "secret"))
    });
    setup.gateway = radius::gateway();
    passes(rig, &setup)
}

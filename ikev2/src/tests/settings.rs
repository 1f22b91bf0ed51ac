//! Settings that cannot work are refused before anything is sent, by name.

use std::time::Duration;

use adit_tunnel::IpNet;

use super::{authentication::eap, millis, pair::Setup, secs};
use crate::{ConfigError, PeerVerifier, Settings, selectors};

fn refused(change: impl FnOnce(&mut Settings)) -> Option<&'static str> {
    match Setup::new(|setup| change(&mut setup.settings)).config() {
        Err(ConfigError::OutOfBounds { name, .. }) => Some(name),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    }
}

#[test]
fn waits_do_not_get_shorter() {
    for (first, limit, fits) in
        [(secs(1), millis(999), false), (secs(1), secs(1), true), (secs(1), Duration::ZERO, false)]
    {
        let change =
            |settings: &mut Settings| (settings.retransmission.first, settings.retransmission.limit) = (first, limit);
        assert_eq!(refused(change), (!fits).then_some("retransmission.limit"), "{first:?} {limit:?}");
    }
}

/// The number of selectors is one byte (RFC 7296 §3.13).
#[test]
fn at_most_255_networks_can_be_asked_for() {
    let networks = |count: u16| {
        let net =
            |n: u16| IpNet::new(std::net::IpAddr::from([10, n.to_be_bytes()[0], n.to_be_bytes()[1], 0]), 24).unwrap();
        (0..count).map(net).collect::<Vec<_>>()
    };
    assert_eq!(refused(|settings| settings.remote_networks = networks(256)), Some("remote_networks"));
    let pair = Setup::new(|setup| {
        setup.settings.remote_networks = networks(255);
        setup.script.network_selectors = vec![selectors::host([10, 0, 7, 7].into())];
    })
    .up();
    assert_eq!(pair.peer.heard[1].ts_r().unwrap().len(), 255);
}

#[test]
fn a_gateway_with_a_certificate_needs_a_trust_anchor() {
    let setup = eap(|setup| {
        if let PeerVerifier::Certificate(verifier) = &mut setup.peer {
            verifier.anchors.clear();
        }
    });
    assert_eq!(setup.config().unwrap_err(), ConfigError::NoAnchor);
}

//! Probes of what cannot be reached.

use std::{sync::Arc, time::Duration};

use super::{namespace::in_namespace, soon};
use crate::{
    Any, FailureKind, NoPrompts, ProbeOptions, ikev2::Ikev2, ikev2::tests::config, openvpn::tests::of_profile, probe,
};

/// Longer than any test may take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a probe says that would be patient, in a namespace with nothing but a loopback interface.
async fn without_a_route(config: Any) {
    let options = ProbeOptions { login: false, patience: PATIENCE };
    let probes = soon(probe(config, options, Arc::new(NoPrompts))).await;
    let addresses = probes[0].addresses.as_ref().unwrap();
    let failure = addresses[0].result.as_ref().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unreachable);
    let text = failure.to_string();
    assert!(text.contains("nothing can be sent to 192.0.2.1:") && text.contains("network unreachable"), "{text}");
    assert!(failure.hint().unwrap().contains("ip route get"), "{:?}", failure.hint());
}

#[test]
fn where_there_is_no_route_nobody_is_waited_for() {
    in_namespace("tests::probing::where_there_is_no_route_nobody_is_waited_for", async {
        let ikev2 = Ikev2::from(config(vec![::ikev2::Remote::new("192.0.2.1", 500)]));
        let openvpn = of_profile("remote 192.0.2.1");
        tokio::join!(without_a_route(ikev2.into()), without_a_route(openvpn.into()));
    });
}

//! Every variant of the handshake on links that lose nearly a third, in both directions, and deliver the rest late, twice and out of
//! order: it comes up and both ends agree, or it ends for both within its time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use adit_testing::{Conditions, seeds};
use adit_tunnel::{
    CloseKind::{AuthFailed, Local, NoAgreement, PeerClosed, PeerMisbehaved, PeerNotAuthenticated, TimedOut},
    Tunnel,
};

use super::{Ends, Plan, certificates, password, secs};
use crate::tests::millis;
use crate::{
    EapMethod, EapServerMethod, EapTlsIdentity, EapTlsServer, MsChapV2Secret, SessionError, TlsVersion, TtlsInner,
    TtlsInnerMethod,
};

/// A thousand times.
fn on_bad_links(name: &str, change: impl FnOnce(&mut Ends)) {
    // Six tries for each exchange make it likely, though EAP takes many.
    on_links(Conditions::BAD, 4, name, change);
}

/// For one that does not come up, more than so many do.
fn on_links(conditions: Conditions, least: u64, name: &str, change: impl FnOnce(&mut Ends)) {
    let plan = Ends::new(|ends| {
        ends.world.conditions = conditions;
        change(ends);
    })
    .plan();
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    seeds(name, 1000, |seed| {
        let count = if comes_up_or_ends(&plan, seed) { &up } else { &down };
        count.fetch_add(1, Relaxed);
    });
    let (up, down) = (up.into_inner(), down.into_inner());
    assert!(up > least * down || up + down < 100, "{up} came up, {down} did not");
}

/// Which of both it was.
fn comes_up_or_ends(plan: &Plan, seed: u64) -> bool {
    let mut world = plan.start(seed);
    let limit = secs(60);
    let decided =
        world.run_until(limit, |world| world.clients[0].driven.is_up() || world.clients[0].driven.closed().is_some());
    assert!(decided, "neither up nor closed after {limit:?}");
    world.conditions(Conditions::GOOD);
    let up = world.clients[0].driven.is_up();
    if up {
        world.run(secs(2));
        world.assert_agree();
        world.with_client(0, |client, now| client.close(now));
        world.run(secs(3));
    }
    let closed = world.clients[0].driven.closed();
    // One changed bit makes an error of NAT_DETECTION_SOURCE_IP, for example (16388 and 4), and whatever it is, the request has failed (§3.10.1).
    let refused = closed.is_some_and(|closed| matches!(closed.source.downcast_ref(), Some(SessionError::Refused(_))));
    let closed = closed.map(|closed| closed.kind);
    // Nothing protects IKE_SA_INIT but the proof that follows, which is then refused (RFC 7296 §2.15).
    let (sent, received) = (world.clients[0].up.counts(), world.clients[0].down.counts());
    let damaged = sent.corrupted + received.corrupted > 0;
    match closed {
        Some(AuthFailed | PeerNotAuthenticated | NoAgreement | PeerMisbehaved) if !up && damaged => {}
        Some(PeerClosed) if !up && damaged && refused => {}
        _ => assert_eq!(closed, Some(if up { Local } else { TimedOut })),
    }
    // As long as a handshake may take, or a silent client is waited for.
    world.run(secs(70));
    let census = world.census();
    assert_eq!((census.peers, census.openers, census.deadlines, census.leases), (0, 0, 0, 0), "{census:?}");
    assert_eq!((world.listener.listener.peers(), world.listener.listener.half_open()), (0, 0));
    up
}

macro_rules! variants {
    ($($(#[$doc:meta])* $name:ident: $change:expr;)*) => {
        $($(#[$doc])* #[test]
        fn $name() {
            on_bad_links(stringify!($name), $change);
        })*
    };
}

variants! {
    shared_key: |_| {};
    certificate_p256: |ends| ends.certificates(&certificates::P256);
    certificate_p384: |ends| ends.certificates(&certificates::P384);
    certificate_ed25519: |ends| ends.certificates(&certificates::ED25519);
    /// The only one: these keys take their time.
    certificate_rsa: |ends| ends.certificates(&certificates::RSA);
    eap_mschapv2: |ends| ends.eap(EapMethod::MsChapV2(MsChapV2Secret::Password(password())), EapServerMethod::MsChapV2);
    eap_gtc: |ends| ends.eap(EapMethod::Gtc(password()), EapServerMethod::Gtc);
    eap_md5: |ends| ends.eap(EapMethod::Md5(password()), EapServerMethod::Md5);
    eap_tls_1_2: |ends| eap_tls(ends, TlsVersion::V1_2);
    eap_tls_1_3: |ends| eap_tls(ends, TlsVersion::V1_3);
    eap_ttls_pap: |ends| eap_ttls(ends, TtlsInner::Pap(password()), TtlsInnerMethod::Pap);
    eap_ttls_mschapv2: |ends| {
        let secret = MsChapV2Secret::Password(password());
        eap_ttls(ends, TtlsInner::MsChapV2(secret), TtlsInnerMethod::MsChapV2);
    };
    eap_ttls_eap: |ends| {
        let inner = TtlsInner::Eap(Box::new(EapMethod::MsChapV2(MsChapV2Secret::Password(password()))));
        eap_ttls(ends, inner, TtlsInnerMethod::Eap(vec![EapServerMethod::MsChapV2]));
    };
    group_modp2048: |ends| group(ends, "modp2048");
    group_ecp521: |ends| group(ends, "ecp521");
    with_cookie: |ends| ends.limits.cookie_threshold = 0;
    with_invalid_ke: another_group;
    with_cookie_and_invalid_ke: |ends| {
        ends.limits.cookie_threshold = 0;
        another_group(ends);
    };
    with_small_fragments: |ends| {
        ends.certificates(&certificates::P384);
        ends.both(|settings| settings.fragment_size = 400);
    };
    through_a_narrow_link: |ends| {
        ends.certificates(&certificates::P384);
        ends.both(|settings| settings.fragment_size = 576);
        ends.world.conditions.mtu = Some(NARROW);
    };
    from_port_500_to_4500: |ends| {
        ends.world.listening = [500, 4500].map(|port| ([192, 0, 2, 1], port).into()).to_vec();
    };
    without_a_nat: |ends| ends.world.nat = false;
    without_mobike: |ends| ends.both(|settings| settings.mobike = false);
}

/// Whatever is damaged of IKE_SA_INIT is not noticed before the proof, which is then refused.
#[test]
fn with_damaged_datagrams() {
    on_links(Conditions::DAMAGING, 3, "with_damaged_datagrams", |_| {});
}

fn eap_tls(ends: &mut Ends, version: TlsVersion) {
    let certificate = Arc::clone(&certificates::P256.client);
    let server = EapTlsServer { min_version: version, max_version: version, ..tls_server() };
    let identity = EapTlsIdentity { min_version: version, max_version: version, ..tls_identity() };
    ends.eap(EapMethod::Tls { certificate, server }, EapServerMethod::Tls(identity));
}

fn eap_ttls(ends: &mut Ends, client: TtlsInner, gateway: TtlsInnerMethod) {
    let client = EapMethod::Ttls { server: tls_server(), anonymous_identity: None, inner: client };
    ends.eap(client, EapServerMethod::Ttls { tls: tls_identity(), inner: vec![gateway] });
}

fn tls_server() -> EapTlsServer {
    EapTlsServer {
        anchors: vec![certificates::anchor()],
        crls: vec![],
        name: Some(certificates::GATEWAY.to_owned()),
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

fn tls_identity() -> EapTlsIdentity {
    EapTlsIdentity {
        certificate: Arc::clone(&certificates::P256.gateway),
        anchors: vec![certificates::anchor()],
        crls: vec![],
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

/// Both have no other.
fn group(ends: &mut Ends, name: &str) {
    let proposals = format!("aes256gcm16-prfsha256-{name}");
    ends.both(|settings| settings.ike_proposals = proposals.parse().unwrap());
}

/// The client begins with a group that the gateway does not take.
fn another_group(ends: &mut Ends) {
    ends.client.ike_proposals = "aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap();
    ends.gateway.ike_proposals = "aes256gcm16-prfsha256-ecp256".parse().unwrap();
}

/// What the variants are named for does take place.
#[test]
fn variants_are_what_their_names_say() {
    let replies = |change: &dyn Fn(&mut Ends)| Ends::new(|ends| change(ends)).plan().up(1).listener.replies;
    assert_eq!(replies(&|_| {}), 0);
    assert_eq!(replies(&|ends| ends.limits.cookie_threshold = 0), 1);
    assert_eq!(replies(&another_group), 1);
    let both = |ends: &mut Ends| {
        ends.limits.cookie_threshold = 0;
        another_group(ends);
    };
    assert_eq!(replies(&both), 2);
    let sent = |size| {
        let plan = Ends::new(|ends| {
            ends.certificates(&certificates::P384);
            ends.both(|settings| settings.fragment_size = size);
        });
        plan.plan().up(1).clients[0].driven.log.control_sent
    };
    assert!(sent(400) >= sent(1280) + 2);
    let wide = Ends::new(|ends| {
        ends.certificates(&certificates::P384);
        ends.world.conditions = Conditions { mtu: Some(NARROW), ..Conditions::GOOD };
    });
    assert!(!comes_up_or_ends(&wide.plan(), 1), "fragments of the usual size do not fit");
    let floated = Ends::new(|ends| {
        ends.world.listening = [500, 4500].map(|port| ([192, 0, 2, 1], port).into()).to_vec();
    });
    let world = floated.plan().up(1);
    assert_eq!(world.clients[0].driven.path.remote.port(), 4500);
    let peer = &world.listener.peers[&world.newest_peer()];
    assert_eq!(peer.driven.path.local.unwrap().port(), 4500);
}

/// At whatever moment it does: the gateway may have taken its address before that for the one to stay with (RFC 4555 §3.5).
#[test]
fn a_client_that_roams_in_the_middle_is_found() {
    for mobike in [true, false] {
        let plan = Ends::new(|ends| ends.both(|settings| settings.mobike = mobike)).plan();
        for time in 0..60 {
            let mut world = plan.start(1);
            world.run(millis(time));
            world.roam(0);
            world.come_up();
            world.run(secs(5));
            let seen = world.listener.peers[&world.newest_peer()].driven.path.remote;
            assert_eq!(seen, world.clients[0].seen_as(), "after {time} ms");
        }
    }
}

/// 576 bytes (RFC 791) less the headers of IPv4 and UDP.
const NARROW: usize = 548;

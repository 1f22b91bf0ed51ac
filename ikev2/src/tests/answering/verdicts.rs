//! What the owner decides, and when.

use adit_testing::Judgement;
use adit_tunnel::{CloseKind, Verdict};

use super::{ServerError, plan, secs, why};

fn judged(judgement: Judgement) -> super::World {
    let mut world = plan(|_| {}).start(1);
    world.listener.policy = Box::new(move |_, _| judgement.clone());
    world.run(secs(100));
    world
}

#[test]
fn a_late_verdict_is_waited_for() {
    // The client sends its IKE_AUTH again and again meanwhile, and the gateway keeps silent.
    for time in [1, 5, 20] {
        let mut world = judged(Judgement::After(secs(time), Box::new(Judgement::Admit)));
        assert!(world.clients[0].driven.is_up(), "{time} s");
        world.assert_agree();
        assert_eq!(world.census().peers, 1);
    }
}

#[test]
fn a_verdict_that_never_comes_ends_with_the_handshake() {
    let world = judged(Judgement::Silence);
    assert_eq!(world.clients[0].driven.closed().map(|closed| closed.kind), Some(CloseKind::TimedOut));
    assert!(matches!(why(&world), ServerError::HandshakeTimeout { .. }));
    assert_eq!(world.listener.listener.half_open(), 0);
}

#[test]
fn who_is_refused_is_told() {
    let world = judged(Judgement::Say(Verdict::Refused));
    assert_eq!(world.clients[0].driven.closed().map(|closed| closed.kind), Some(CloseKind::AuthFailed));
    assert_eq!(why(&world), ServerError::NotAdmitted);
}

#[test]
fn who_comes_at_a_bad_time_is_told() {
    let world = judged(Judgement::Say(Verdict::Later(secs(5))));
    assert!(world.clients[0].driven.closed().is_some());
    assert_eq!(why(&world), ServerError::NotAdmitted);
}

#[test]
fn without_an_address_there_is_no_child_and_the_client_leaves() {
    let world = judged(Judgement::Say(Verdict::NoAddress));
    assert!(world.clients[0].driven.closed().is_some() && !world.clients[0].driven.is_up());
    assert!(matches!(why(&world), ServerError::Deleted | ServerError::RefusedUs(_)), "{}", why(&world));
    assert!(world.clients[0].driven.log.keys.is_empty());
}

//! Whoever breaks the contract is told so.

use std::panic::{AssertUnwindSafe, catch_unwind};

use adit_tunnel::Tunnel;

use super::{World, broken_world, millis, secs, toy::Faults};
use crate::Judgement;

/// A life that reaches everything the toy does: rekeys, an end by the client.
fn life(pair: &mut World) {
    pair.come_up();
    pair.with_client(0, |client, now| client.rekey(now));
    pair.run(secs(20));
    pair.assert_agree();
    pair.with_client(0, |client, now| client.close(now));
    // What comes for it afterwards.
    pair.with_peer(pair.newest_peer(), |peer, now| peer.handle_timeout(now));
    pair.run(secs(5));
}

fn breach(faults: Faults, change: impl FnOnce(&mut World)) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut pair = broken_world(faults, |setup| setup.clients = 2);
        change(&mut pair);
        life(&mut pair);
    }));
    match outcome {
        Ok(()) => "nothing".to_owned(),
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without words".to_owned()),
    }
}

#[test]
fn a_protocol_that_keeps_the_contract_is_left_alone() {
    assert_eq!(breach(Faults::None, |_| {}), "nothing");
}

#[test]
fn every_breach_is_noticed() {
    for (faults, told) in [
        (Faults::EventAfterClosed, "Path after Closed"),
        (Faults::DeadlineAfterClosed, "it waits for something after Closed"),
        (Faults::WakesWhenPoked, "Some(\"Path\") after Closed"),
        (Faults::StuckDeadline, "a deadline that does not move"),
        (Faults::Storm, "a storm of events, such as Path"),
        (Faults::FloodOfDatagrams, "a storm of datagrams"),
        (Faults::SameOpenerTwice, "the opener KeyTag(0x1) is added twice"),
        (Faults::RemovesOpenerTwice, "the opener KeyTag(0x1) is removed, and is not there"),
        (Faults::SealerBeforeOpener, "FlowId(0) has a sealer before an opener"),
        (Faults::LosesOpener, "FlowId(0) has a sealer, and no opener"),
        (Faults::TwoSealers, "FlowId(1) and FlowId(0) both seal what goes to []"),
        (Faults::KeysBeforeVerdict, "keys or Up before the verdict"),
        (Faults::TakenName, "PeerId(1) is taken"),
    ] {
        let breach = breach(faults, |_| {});
        assert!(breach.starts_with("contract: ") && breach.ends_with(told), "{faults:?}: {breach}");
    }
}

#[test]
fn a_second_application_before_the_verdict_is_noticed() {
    let breach = breach(Faults::AsksTwice, |pair| {
        pair.listener.policy = Box::new(|_, _| Judgement::Silence);
    });
    assert!(breach.ends_with("an application while another waits"), "{breach}");
}

#[test]
fn a_datagram_after_the_end_is_noticed() {
    let breach = breach(Faults::DatagramAfterClosed, |pair| {
        pair.come_up();
        let peer = pair.peer_of(0).expect("a peer");
        pair.with_client(0, |client, now| client.close(now));
        pair.with_peer(peer, |peer, now| peer.close(now));
        pair.run(millis(100));
    });
    assert!(breach.ends_with("a datagram after Closed"), "{breach}");
}

#[test]
fn a_sealer_that_asks_for_more_room_than_it_uses_is_noticed() {
    let breach = breach(Faults::WrongRoom, |_| {});
    assert!(breach.contains("the room a sealer asks for is exact"), "{breach}");
}

#[test]
fn ends_with_different_keys_do_not_agree() {
    let breach = breach(Faults::WrongKey, |_| {});
    assert!(breach.contains("does not open what is sealed now: Refused(Forged)"), "{breach}");
}

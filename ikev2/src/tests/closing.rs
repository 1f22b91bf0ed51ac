//! Leaving in the midst of something: the gateway is to keep nothing of us.

use adit_tunnel::{CloseKind, Path, Transport, Tunnel};

use super::{
    mutators,
    pair::{Pair, Setup, numbered},
    peer::{CLIENT, SERVER},
    secs,
};
use crate::{exchange::Wanted, message::numbers::ExchangeType};

/// Lets everything under way arrive, and time pass.
fn let_go(pair: &mut Pair) {
    pair.by_hand = false;
    pair.peer.script.auto = true;
    while let Some(transmit) = pair.client_sent.pop_front() {
        pair.peer_hears(&transmit);
        if !pair.peer.inbox.is_empty() {
            pair.peer_answers();
        }
    }
    pair.run(secs(30));
}

fn assert_nothing_is_left(pair: &Pair) {
    assert_eq!(pair.closed().kind, CloseKind::Local);
    assert!(pair.peer.sas.iter().all(|sa| !sa.alive));
}

#[test]
fn while_we_rekey_the_ike_sa() {
    let mut pair = Setup::default().up().all_by_hand();
    pair.client_wants(Wanted::RekeyIke);
    let request = pair.client_says();
    pair.close();
    pair.peer_hears(&request);
    pair.peer_answers();
    pair.down();
    let_go(&mut pair);
    assert_eq!(pair.peer.sas.len(), 2);
    assert_nothing_is_left(&pair);
}

#[test]
fn while_the_peer_rekeys_the_ike_sa() {
    let mut pair = Setup::default().up().all_by_hand();
    let old = pair.peer.sa();
    let request = pair.peer.rekey_ike(old);
    pair.down();
    pair.up();
    pair.peer.ike_rekeyed(request);
    pair.close();
    let_go(&mut pair);
    assert_eq!(pair.peer.sas.len(), 2);
    assert_nothing_is_left(&pair);
}

#[test]
fn while_the_gateway_lets_us_in() {
    let mut pair = Setup::default().start();
    pair.run_until(secs(5), |pair| pair.log.sent.len() == 2);
    pair.close();
    pair.run(secs(5));
    assert_eq!(pair.peer.sas.len(), 1);
    assert!(pair.log.ups.is_empty());
    assert_nothing_is_left(&pair);
}

#[test]
fn while_nobody_answers_takes_two_seconds() {
    let mut pair = Setup::default().start();
    pair.peer.mutators.push(mutators::ignore_message(ExchangeType::IKE_AUTH));
    pair.run_until(secs(5), |pair| pair.log.sent.len() == 2);
    pair.close();
    pair.run(secs(3));
    assert_eq!(pair.closed().kind, CloseKind::Local);
}

/// The tries before the change went where nothing could answer.
#[test]
fn a_new_address_at_the_last_moment_saves_the_session() {
    let mut pair = Setup::new(|setup| {
        setup.settings.mobike = true;
        setup.script.mobike = true;
    })
    .up();
    pair.network.cut_up = true;
    pair.client_wants(Wanted::Liveness);
    pair.run(secs(17));
    pair.network.cut_up = false;
    let path = Path { transport: Transport::Udp, local: None, remote: "192.0.2.1:4500".parse().unwrap() };
    pair.client.handle_path(pair.now, &path);
    pair.run(secs(60));
    assert!(pair.log.closed.is_none());
}

#[test]
fn children_that_the_peer_never_deletes_are_forgotten() {
    let mut pair = Setup::default().up().all_by_hand();
    for _ in 0..20 {
        let child = pair.peer.child();
        let request = pair.peer.rekey_child(child);
        pair.down();
        pair.up();
        let new = pair.peer.child_rekeyed(request);
        pair.peer.children[child].alive = false;
        // What it sends shows that it listens, too.
        let datagram = pair.peer.seal(new, &numbered(SERVER.octets(), CLIENT.octets(), 1));
        pair.inject("192.0.2.1:4500".parse().unwrap(), &datagram);
        pair.wait(secs(10));
        while let Some(transmit) = pair.client_sent.pop_front() {
            pair.peer_hears(&transmit);
        }
        while !pair.peer.inbox.is_empty() {
            pair.peer_answers();
        }
        while let Some(answer) = pair.peer.out.pop_front() {
            pair.inject("192.0.2.1:4500".parse().unwrap(), &answer.datagram);
        }
        pair.peer.responses.clear();
    }
    pair.by_hand = false;
    pair.peer.script.auto = true;
    pair.run(secs(300));
    assert!(pair.log.closed.is_none());
    assert_eq!(pair.plane.openers.len(), 1);
}

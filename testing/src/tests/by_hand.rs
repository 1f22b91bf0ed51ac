//! Datagrams carried one by one.

use super::{millis, secs, world};
use crate::End;

const CLIENT: End = End::Client(0);
const LISTENER: End = End::Listener;

#[test]
fn a_handshake_may_be_carried_datagram_by_datagram() {
    let mut pair = world(|_| {});
    pair.run(millis(100));
    pair.come_up();
    pair.by_hand();
    //  REKEY -->
    //  <-- REKEYED, which is late
    //  REKEY -->, sent again
    //  <-- REKEYED
    pair.with_client(0, |client, now| client.rekey(now));
    pair.keep("the request", CLIENT);
    pair.arrives("the request");
    pair.keep("the late answer", LISTENER);
    pair.run_alone(CLIENT, millis(500));
    pair.carry(CLIENT);
    pair.keep("the answer", LISTENER);
    pair.arrives("the answer");
    let changes = pair.clients[0].driven.log.keys.len();
    pair.arrives("the late answer");
    pair.is_silent(CLIENT);
    pair.is_silent(LISTENER);
    assert_eq!(pair.clients[0].driven.log.keys.len(), changes);
    pair.assert_agree();
}

#[test]
fn what_waits_goes_on_its_way_when_the_hand_lets_go() {
    let mut pair = world(|setup| setup.clients = 2);
    pair.come_up();
    pair.by_hand();
    pair.with_client(0, |client, now| client.rekey(now));
    pair.run(millis(1200));
    assert_eq!(pair.says_all(End::Client(1)), []);
    let lost = pair.says_first(CLIENT);
    let rest = pair.says_all(CLIENT);
    assert!(rest.len() == 2 && rest.iter().all(|datagram| *datagram == lost), "{rest:?}");
    pair.with_client(1, |client, now| client.rekey(now));
    assert_eq!(pair.census().under_way, 1);
    pair.let_go();
    pair.run(secs(1));
    pair.assert_agree();
    assert_eq!(pair.clients[0].driven.sealers().len(), 1);
    let notes: Vec<_> = pair.clients.iter().map(|client| client.driven.key_changes().len()).collect();
    assert_eq!(notes, [4, 4]);
}

#[test]
#[should_panic(expected = "Client(0) says nothing")]
fn a_silent_end_is_noticed() {
    let mut pair = world(|_| {});
    pair.come_up();
    pair.by_hand();
    pair.says(CLIENT);
}

#[test]
#[should_panic(expected = "also says")]
fn an_end_that_says_too_much_is_noticed() {
    let mut pair = world(|_| {});
    pair.come_up();
    pair.by_hand();
    pair.with_client(0, |client, now| client.rekey(now));
    pair.run(millis(600));
    pair.says(CLIENT);
}

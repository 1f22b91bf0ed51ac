//! Children replaced by either end, and by both at once (RFC 7296 §1.3.3, §2.8.1, §2.25.1). After every step packets of both
//! directions are carried; at the end there is one child, one sealer, and no timer without a cause.
//!
//! Names are those of strongSwan's collision suite. Not here: everything "multi_ke" and "mixed" (RFC 9370 is not supported), and
//! `responder_handle_hard_expire` (we have no lifetime after which keys die: a sealer that is used up refuses).

use adit_tunnel::{Rekeys, Tunnel};
use bytes::Bytes;

use super::{
    pair::{Pair, Setup, Travelling},
    secs,
};
use crate::{
    exchange::Wanted,
    message::{
        Delete, Notify, Payload,
        numbers::{DhGroup, ExchangeType, NotifyType, ProtocolId},
    },
};

fn pair() -> Pair {
    Setup::default().up().all_by_hand()
}

/// Whose exchange of two has the lowest of all four nonces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loser {
    Client,
    Peer,
}

const BOTH: [Loser; 2] = [Loser::Client, Loser::Peer];

impl Loser {
    /// The peer's nonce in its own exchange.
    fn request(self) -> Bytes {
        Bytes::from_static(if self == Self::Peer { &[0; 32] } else { &[0xff; 32] })
    }

    /// The peer's nonce in the client's exchange.
    fn response(self) -> Bytes {
        Bytes::from_static(if self == Self::Client { &[0; 32] } else { &[0xff; 32] })
    }
}

/// The client's request, and the peer's for the same child, neither arrived.
fn crossing(pair: &mut Pair, loser: Loser) -> (Travelling, Travelling, super::peer::ChildRequest) {
    let old = pair.peer.child();
    pair.client_rekeys_child();
    let ours = pair.client_says();
    pair.peer.nonces.push_back(loser.request());
    let request = pair.peer.rekey_child(old);
    let theirs = pair.peer_says();
    (ours, theirs, request)
}

#[test]
fn regular_the_client_replaces_a_child_and_deletes_the_old_one() {
    let mut pair = pair();
    pair.client_rekeys_child();
    pair.assert_traffic_flows();
    pair.up();
    let request = pair.peer.heard.last().unwrap().clone();
    let old = pair.client_child();
    assert_eq!(request.notify(NotifyType::REKEY_SA).unwrap().esp_spi(), Some(old));
    pair.peer_answers();
    pair.assert_traffic_flows();
    let under_way = pair.packets_under_way();
    pair.down();
    assert_ne!(pair.client_child(), old);
    pair.assert_traffic_flows();
    pair.client_exchange();
    assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Esp(vec![old]))]);
    pair.wait(secs(4));
    pair.assert_opens(&under_way);
    pair.assert_settled();
}

#[test]
fn regular_the_peer_replaces_a_child_and_deletes_the_old_one() {
    let mut pair = pair();
    let old = pair.peer.child();
    let request = pair.peer.rekey_child(old);
    pair.down();
    // The peer has no key yet: nothing may be sealed with the new one.
    pair.assert_traffic_flows();
    pair.up();
    pair.peer.child_rekeyed(request);
    pair.assert_traffic_flows();
    let under_way = pair.packets_under_way();
    assert!(pair.peer_deletes(old), "our half of the old child");
    pair.assert_traffic_flows();
    pair.wait(secs(4));
    pair.assert_opens(&under_way);
    pair.assert_settled();
}

#[test]
fn a_child_of_the_peer_takes_over_when_it_is_received_on() {
    let mut pair = pair();
    let request = pair.peer.rekey_child(pair.peer.child());
    pair.down();
    let old = pair.client_child();
    pair.wait(secs(6));
    assert_eq!(pair.client_child(), old, "nothing has come on the new one");
    pair.up();
    let new = pair.peer.child_rekeyed(request);
    pair.assert_traffic_flows();
    pair.wait(secs(6));
    assert_eq!(pair.client_child(), pair.peer.children[new].spi_out);
    pair.assert_traffic_flows();
    let old = pair.peer.live_children()[0];
    pair.peer_deletes(old);
    pair.assert_settled();
}

#[test]
fn regular_ke_invalid_the_client_tries_the_group_the_peer_wants() {
    let mut pair = Setup::new(|setup| {
        setup.settings.esp_proposals = "aes256gcm16-x25519-ecp256".parse().unwrap();
        setup.script.groups = vec![DhGroup::ECP_256];
    })
    .up()
    .all_by_hand();
    pair.client_rekeys_child();
    for group in [DhGroup::CURVE25519, DhGroup::ECP_256] {
        pair.up();
        let request = pair.peer.heard.last().unwrap();
        assert_eq!(request.ke().unwrap().group, group);
        assert!(request.notify(NotifyType::REKEY_SA).is_some());
        pair.peer_answers();
        pair.down();
        pair.assert_traffic_flows();
    }
    pair.client_exchange();
    pair.assert_settled();
}

#[test]
fn regular_ke_invalid_the_peer_is_told_the_group_the_client_wants() {
    let mut pair = Setup::new(|setup| setup.settings.esp_proposals = "aes256gcm16-x25519-ecp256".parse().unwrap())
        .up()
        .all_by_hand();
    let old = pair.peer.child();
    pair.peer.rekey_child_with(old, &[DhGroup::ECP_384, DhGroup::ECP_256]);
    pair.down();
    pair.up();
    let refusal = pair.response();
    assert_eq!(refusal.notify(NotifyType::INVALID_KE_PAYLOAD).unwrap().data, &[0, 19][..]);
    pair.assert_traffic_flows();
    let request = pair.peer.rekey_child_with(old, &[DhGroup::ECP_256]);
    pair.down();
    pair.up();
    pair.peer.child_rekeyed(request);
    pair.peer_deletes(old);
    pair.assert_settled();
}

#[test]
fn responder_ignores_soft_expire_of_a_child_that_the_peer_has_replaced() {
    let mut pair = pair();
    let old = pair.peer.child();
    let request = pair.peer.rekey_child(old);
    pair.down();
    pair.client_rekeys_child();
    pair.up();
    pair.assert_client_is_silent();
    pair.peer.child_rekeyed(request);
    pair.client_rekeys_child();
    pair.assert_client_is_silent();
    pair.peer_deletes(old);
    pair.assert_settled();
}

#[test]
fn responder_delete_crosses_the_clients_own() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    pair.up();
    pair.peer_answers();
    pair.down();
    let ours = pair.client_says();
    // The peer, which did not start the rekeying, deletes the old child all the same.
    assert!(!pair.peer_deletes(old), "we are deleting it anyway (§1.4.1)");
    pair.assert_traffic_flows();
    pair.peer_hears(&ours);
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

#[test]
fn responder_lost_sa_so_the_client_makes_another() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    pair.up();
    pair.peer.children[old].alive = false;
    pair.peer_refuses(NotifyType::CHILD_SA_NOT_FOUND);
    pair.down();
    pair.up();
    assert!(pair.peer.heard.last().unwrap().notify(NotifyType::REKEY_SA).is_none());
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
    assert_eq!(pair.client.details().failed_rekeys, Rekeys { data: 1, control: 0 });
}

/// Whatever the peer puts into its request comes back, and nothing more (CVE-2023-38710 is of this kind).
#[test]
fn a_child_the_client_does_not_know_is_not_found() {
    let mut pair = pair();
    let offer = "aes256gcm16".parse::<crate::EspProposals>().unwrap();
    for (protocol, spi) in [(3, &[1, 2, 3, 4][..]), (0, &[]), (1, &[0; 8]), (255, &[7; 255]), (3, &[1]), (2, &[0; 4])] {
        let rekey = Notify {
            protocol: ProtocolId(protocol),
            spi: Bytes::copy_from_slice(spi),
            notify_type: NotifyType::REKEY_SA,
            data: Bytes::new(),
        };
        pair.peer.create_child_with(vec![Payload::Notify(rekey)], offer.clone(), &[]);
        pair.down();
        pair.up();
        let response = pair.response();
        let [Payload::Notify(refusal)] = &response.payloads[..] else { panic!("{response:?}") };
        assert_eq!(refusal.notify_type, NotifyType::CHILD_SA_NOT_FOUND);
        assert_eq!((refusal.protocol, &refusal.spi[..]), (ProtocolId(protocol), spi));
        pair.assert_traffic_flows();
    }
    pair.assert_settled();
}

#[test]
fn responder_incorrect_delete_of_the_new_child_leads_to_yet_another() {
    let mut pair = pair();
    pair.client_rekeys_child();
    pair.up();
    pair.peer_answers();
    pair.down();
    let delete = pair.client_says();
    let new = pair.peer.child();
    assert!(pair.peer_deletes(new));
    pair.peer_hears(&delete);
    pair.peer_answers();
    pair.down();
    pair.up();
    assert!(pair.peer.heard.last().unwrap().sa().is_some(), "another child");
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

#[test]
fn delete_timeout_ends_the_session() {
    let mut pair = pair();
    pair.client_rekeys_child();
    pair.up();
    pair.peer_answers();
    pair.down();
    pair.wait(secs(60));
    assert_eq!(pair.closed().kind, adit_tunnel::CloseKind::TimedOut);
}

#[test]
fn collision() {
    for loser in BOTH {
        let mut pair = pair();
        let old = pair.peer.child();
        let (ours, theirs, request) = crossing(&mut pair, loser);
        pair.peer.nonces.push_back(loser.response());
        pair.peer_hears(&ours);
        pair.peer_answers();
        let of_client = pair.peer.child();
        let response = pair.peer_says();
        pair.client_hears(&theirs);
        pair.assert_traffic_flows();
        pair.up();
        let of_peer = pair.peer.child_rekeyed(request);
        pair.assert_traffic_flows();
        pair.client_hears(&response);
        pair.assert_traffic_flows();
        let (by_client, by_peer) = if loser == Loser::Client { (of_client, old) } else { (old, of_peer) };
        pair.client_exchange();
        let spi = pair.peer.children[by_client].spi_out;
        assert_eq!(pair.peer.heard.last().unwrap().payloads, [Payload::Delete(Delete::Esp(vec![spi]))], "{loser:?}");
        assert!(pair.peer_deletes(by_peer), "{loser:?}");
        pair.assert_traffic_flows();
        pair.assert_settled();
    }
}

/// The same, and the peer's deletion comes first.
#[test]
fn collision_delete_of_the_peer_first() {
    for loser in BOTH {
        let mut pair = pair();
        let old = pair.peer.child();
        let (ours, theirs, request) = crossing(&mut pair, loser);
        pair.peer.nonces.push_back(loser.response());
        pair.client_hears(&theirs);
        pair.peer_hears(&ours);
        pair.peer_answers();
        pair.down();
        let answer = pair.client_sent.pop_front().unwrap();
        let delete = pair.client_says();
        pair.peer_hears(&answer);
        let of_peer = pair.peer.child_rekeyed(request);
        pair.assert_traffic_flows();
        assert!(pair.peer_deletes(if loser == Loser::Client { old } else { of_peer }));
        pair.assert_traffic_flows();
        pair.peer_hears(&delete);
        pair.peer_answers();
        pair.down();
        pair.assert_settled();
    }
}

#[test]
fn collision_delayed_response() {
    for loser in BOTH {
        let mut pair = pair();
        let old = pair.peer.child();
        let (ours, theirs, request) = crossing(&mut pair, loser);
        pair.peer.nonces.push_back(loser.response());
        pair.peer_hears(&ours);
        pair.peer_answers();
        let delayed = pair.peer_says();
        pair.client_hears(&theirs);
        pair.up();
        let of_peer = pair.peer.child_rekeyed(request);
        // It knows who has won before we do.
        assert!(pair.peer_deletes(if loser == Loser::Client { old } else { of_peer }));
        pair.assert_traffic_flows();
        pair.client_hears(&delayed);
        pair.assert_traffic_flows();
        pair.client_exchange();
        pair.assert_settled();
    }
}

/// The client's request arrives when the peer has finished its own exchange, but not the deletion.
#[test]
fn collision_delayed_request() {
    let mut pair = pair();
    let old = pair.peer.child();
    let (ours, theirs, request) = crossing(&mut pair, Loser::Client);
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.child_rekeyed(request);
    pair.peer.delete_child(old);
    let delete = pair.peer_says();
    pair.peer_hears(&ours);
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    pair.down();
    pair.assert_traffic_flows();
    pair.client_hears(&delete);
    assert!(pair.delete_answered(old));
    pair.assert_client_is_silent();
    pair.assert_settled();
}

/// … and the deletion arrives before the refusal.
#[test]
fn collision_delayed_request_and_delete() {
    let mut pair = pair();
    let old = pair.peer.child();
    let (ours, theirs, request) = crossing(&mut pair, Loser::Client);
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.child_rekeyed(request);
    pair.peer.delete_child(old);
    let delete = pair.peer_says();
    pair.peer_hears(&ours);
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    let refusal = pair.peer_says();
    pair.client_hears(&delete);
    assert!(pair.delete_answered(old));
    pair.assert_traffic_flows();
    pair.client_hears(&refusal);
    pair.assert_client_is_silent();
    pair.assert_settled();
}

/// The client's request arrives when even the deletion is done.
#[test]
fn collision_delayed_request_more() {
    let mut pair = pair();
    let old = pair.peer.child();
    let (ours, theirs, request) = crossing(&mut pair, Loser::Client);
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.child_rekeyed(request);
    assert!(pair.peer_deletes(old));
    pair.assert_traffic_flows();
    pair.peer_hears(&ours);
    pair.peer_refuses(NotifyType::CHILD_SA_NOT_FOUND);
    pair.down();
    pair.assert_traffic_flows();
    pair.assert_client_is_silent();
    pair.assert_settled();
}

#[test]
fn collision_dropped_request() {
    let mut pair = pair();
    let old = pair.peer.child();
    let (lost, theirs, request) = crossing(&mut pair, Loser::Client);
    pair.client_hears(&theirs);
    pair.up();
    pair.peer.child_rekeyed(request);
    assert!(pair.peer_deletes(old));
    pair.wait(secs(1));
    let again = pair.client_says();
    assert_eq!(again.datagram, lost.datagram);
    pair.peer_hears(&again);
    pair.peer_refuses(NotifyType::CHILD_SA_NOT_FOUND);
    pair.down();
    pair.assert_client_is_silent();
    pair.assert_settled();
}

fn both_want_another_group() -> Pair {
    let setup = Setup::new(|setup| {
        setup.settings.esp_proposals = "aes256gcm16-x25519-ecp256".parse().unwrap();
        setup.script.groups = vec![DhGroup::ECP_256];
    });
    setup.up().all_by_hand()
}

#[test]
fn collision_ke_invalid() {
    for loser in BOTH {
        let mut pair = both_want_another_group();
        let old = pair.peer.child();
        pair.client_rekeys_child();
        let ours = pair.client_says();
        pair.peer.rekey_child_with(old, &[DhGroup::ECP_384, DhGroup::ECP_256]);
        let theirs = pair.peer_says();
        pair.client_hears(&theirs);
        pair.up();
        assert!(pair.response().notify(NotifyType::INVALID_KE_PAYLOAD).is_some());
        pair.peer_hears(&ours);
        pair.peer_answers();
        pair.down();
        let ours = pair.client_says();
        pair.peer.nonces.push_back(loser.request());
        let request = pair.peer.rekey_child_with(old, &[DhGroup::ECP_256]);
        let theirs = pair.peer_says();
        pair.client_hears(&theirs);
        pair.up();
        let of_peer = pair.peer.child_rekeyed(request);
        pair.assert_traffic_flows();
        pair.peer.nonces.push_back(loser.response());
        pair.peer_hears(&ours);
        pair.peer_answers();
        pair.down();
        pair.assert_traffic_flows();
        pair.client_exchange();
        assert!(pair.peer_deletes(if loser == Loser::Client { old } else { of_peer }));
        pair.assert_settled();
    }
}

#[test]
fn collision_ke_invalid_delayed_retry() {
    let mut pair = both_want_another_group();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    let ours = pair.client_says();
    pair.peer.rekey_child_with(old, &[DhGroup::ECP_384, DhGroup::ECP_256]);
    let theirs = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    assert!(pair.response().notify(NotifyType::INVALID_KE_PAYLOAD).is_some());
    pair.peer_hears(&ours);
    pair.peer_answers();
    pair.down();
    // Our second try is done before the peer's arrives.
    let request = pair.peer.rekey_child_with(old, &[DhGroup::ECP_256]);
    let delayed = pair.peer_says();
    pair.up();
    pair.peer_answers();
    pair.down();
    let delete = pair.client_says();
    pair.client_hears(&delayed);
    pair.up();
    assert!(pair.response().notify(NotifyType::TEMPORARY_FAILURE).is_some(), "we are closing it (§2.25.1)");
    drop(request);
    pair.assert_traffic_flows();
    pair.peer_hears(&delete);
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

#[test]
fn collision_responder_incorrect_delete() {
    // The peer, which has lost, deletes the old child, which is ours to delete, and its own redundant one.
    let mut pair = pair();
    let old = pair.peer.child();
    let (ours, theirs, request) = crossing(&mut pair, Loser::Peer);
    pair.peer.nonces.push_back(Loser::Peer.response());
    pair.peer_hears(&ours);
    pair.peer_answers();
    let response = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    let of_peer = pair.peer.child_rekeyed(request);
    pair.client_hears(&response);
    let delete = pair.client_says();
    assert!(!pair.peer_deletes(old), "we are deleting it anyway");
    pair.assert_traffic_flows();
    pair.peer_hears(&delete);
    pair.peer_answers();
    pair.down();
    assert!(pair.peer_deletes(of_peer));
    pair.assert_settled();
}

/// The same, and its answer to us comes last: what it made has taken over from the old child by then.
#[test]
fn collision_responder_incorrect_delete_before_its_answer() {
    let mut pair = pair();
    let old = pair.peer.child();
    let (ours, theirs, request) = crossing(&mut pair, Loser::Peer);
    pair.peer.nonces.push_back(Loser::Peer.response());
    pair.peer_hears(&ours);
    pair.peer_answers();
    let of_client = pair.peer.child();
    let late = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    let of_peer = pair.peer.child_rekeyed(request);
    assert!(pair.peer_deletes(old));
    pair.assert_traffic_flows();
    pair.client_hears(&late);
    let spi = pair.peer.children[of_client].spi_out;
    let children = &pair.client.established().unwrap().children;
    let in_use: Vec<_> = children.iter().filter(|child| child.is_in_use()).map(|child| child.spi_in).collect();
    assert_eq!(in_use, [spi]);
    pair.assert_traffic_flows();
    assert!(pair.peer_deletes(of_peer));
    pair.assert_settled();
}

/// The peer closes the child that we are rekeying.
#[test]
fn collision_delete() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    let ours = pair.client_says();
    pair.peer.delete_child(old);
    let delete = pair.peer_says();
    pair.peer_hears(&ours);
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    let refusal = pair.peer_says();
    pair.client_hears(&delete);
    assert!(pair.delete_answered(old), "as usual");
    pair.client_hears(&refusal);
    pair.assert_settled();
}

#[test]
fn collision_delete_drop_delete() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    pair.peer.delete_child(old);
    pair.peer_says();
    pair.up();
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    pair.down();
    let sa = pair.peer.sa();
    pair.peer.resend(sa);
    pair.down();
    assert!(pair.delete_answered(old));
    pair.assert_settled();
}

#[test]
fn collision_delete_drop_rekey() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    pair.client_says();
    assert!(pair.peer_deletes(old));
    pair.wait(secs(1));
    pair.up();
    pair.peer_refuses(NotifyType::CHILD_SA_NOT_FOUND);
    pair.down();
    pair.assert_settled();
}

#[test]
fn collision_delete_delayed_response() {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.client_rekeys_child();
    pair.up();
    // The peer has accepted, and closes the old child before its answer arrives.
    pair.peer_answers();
    let delayed = pair.peer_says();
    assert!(pair.peer_deletes(old));
    pair.client_hears(&delayed);
    pair.assert_settled();
}

/// While the client replaces a child, the peer replaces the IKE SA: both have to wait.
#[test]
fn collision_ike_rekey() {
    let mut pair = pair();
    pair.client_rekeys_child();
    let ours = pair.client_says();
    let sa = pair.peer.sa();
    pair.peer.rekey_ike(sa);
    let theirs = pair.peer_says();
    pair.client_hears(&theirs);
    pair.up();
    assert!(pair.response().notify(NotifyType::TEMPORARY_FAILURE).is_some());
    pair.peer_hears(&ours);
    pair.peer_refuses(NotifyType::TEMPORARY_FAILURE);
    pair.down();
    pair.assert_traffic_flows();
    pair.assert_client_is_silent();
    let request = pair.peer.rekey_ike(sa);
    pair.down();
    pair.up();
    let new = pair.peer.ike_rekeyed(request);
    pair.peer.delete_ike(sa);
    pair.down();
    pair.up();
    pair.peer.sas[sa].alive = false;
    pair.wait(secs(2));
    let heard = pair.peer.sas[new].expected;
    pair.up();
    assert_eq!(pair.peer.sas[new].expected, heard + 1, "the child is rekeyed on the new IKE SA");
    pair.peer_answers();
    pair.down();
    pair.client_exchange();
    pair.assert_settled();
}

/// While the client replaces the IKE SA, the peer replaces a child: it has to wait.
#[test]
fn collision_ike_rekey_of_the_client() {
    let mut pair = pair();
    pair.client_wants(Wanted::RekeyIke);
    let ours = pair.client_says();
    let child = pair.peer.child();
    pair.peer.rekey_child(child);
    pair.down();
    pair.up();
    assert!(pair.response().notify(NotifyType::TEMPORARY_FAILURE).is_some());
    pair.assert_traffic_flows();
    pair.peer_hears(&ours);
    pair.peer_answers();
    pair.down();
    pair.assert_settled();
}

#[test]
fn collision_ike_delete() {
    let mut pair = pair();
    pair.client_rekeys_child();
    pair.client_says();
    let sa = pair.peer.sa();
    pair.peer.delete_ike(sa);
    pair.down();
    pair.up();
    assert_eq!(pair.response().payloads, []);
    assert_eq!(pair.closed().kind, adit_tunnel::CloseKind::PeerClosed);
}

#[test]
fn a_child_that_is_being_replaced_by_the_peer_is_not_replaced_twice() {
    let mut pair = pair();
    let old = pair.peer.child();
    let request = pair.peer.rekey_child(old);
    pair.down();
    pair.up();
    let new = pair.peer.child_rekeyed(request);
    pair.peer.rekey_child(old);
    pair.down();
    pair.up();
    assert!(pair.response().notify(NotifyType::TEMPORARY_FAILURE).is_some());
    pair.assert_traffic_flows();
    pair.peer_deletes(old);
    assert_eq!(pair.peer.child(), new);
    pair.assert_settled();
}

/// The peer began to replace the child, its answer was lost, and then the client replaced the IKE SA: strongSwan 5.9.8 takes
/// that for granted and forgets its own exchange. Returns the peer's child that is in use.
fn answer_lost_with_its_ike_sa() -> (Pair, usize) {
    let mut pair = pair();
    let old = pair.peer.child();
    pair.peer.rekey_child(old);
    pair.down();
    pair.client_says();
    pair.client_wants(Wanted::RekeyIke);
    pair.client_exchange();
    // The deletion of the old IKE SA.
    pair.client_exchange();
    assert_eq!(pair.peer.child(), old);
    (pair, old)
}

#[test]
fn a_child_lost_with_its_ike_sa_is_replaced_by_the_next_of_the_peer() {
    let (mut pair, old) = answer_lost_with_its_ike_sa();
    let request = pair.peer.rekey_child(old);
    pair.down();
    pair.up();
    let new = pair.peer.child_rekeyed(request);
    pair.assert_traffic_flows();
    pair.peer_deletes(old);
    assert_eq!(pair.peer.child(), new);
    pair.assert_settled();
}

#[test]
fn a_child_lost_with_its_ike_sa_does_not_keep_the_client_from_rekeying_for_long() {
    let (mut pair, old) = answer_lost_with_its_ike_sa();
    pair.client_rekeys_child();
    pair.assert_client_is_silent();
    pair.wait(secs(4));
    pair.client_rekeys_child();
    pair.assert_client_is_silent();
    pair.wait(secs(1));
    // The deletion of what the peer never knew, then the rekeying, then the deletion of the old one.
    pair.client_exchange();
    assert_eq!(pair.peer.child(), old);
    pair.client_exchange();
    assert_ne!(pair.peer.child(), old);
    pair.client_exchange();
    pair.assert_settled();
}

/// Both ends began, we lost; our answer to what the peer began is lost with the IKE SA. Only time passes then.
#[test]
fn a_lost_collision_whose_winner_never_comes_is_followed_by_another_rekeying() {
    let mut pair = pair();
    let old = pair.peer.child();
    let (ours, theirs, _) = crossing(&mut pair, Loser::Client);
    pair.client_hears(&theirs);
    let _lost = pair.client_says();
    pair.peer_hears(&ours);
    pair.peer.nonces.push_back(Loser::Client.response());
    pair.peer_answers();
    pair.down();
    // Our deletion of what we made.
    pair.client_exchange();
    pair.client_wants(Wanted::RekeyIke);
    pair.client_exchange();
    pair.client_exchange();
    assert_eq!(pair.peer.child(), old);
    pair.by_hand = false;
    pair.peer.script.auto = true;
    pair.run(secs(30));
    assert_ne!(pair.peer.child(), old);
    pair.assert_settled();
}

#[test]
fn a_gateway_that_wants_a_second_child_is_refused() {
    let mut pair = pair();
    pair.peer.create_child_with(Vec::new(), "aes256gcm16".parse().unwrap(), &[]);
    pair.down();
    pair.up();
    assert!(pair.response().notify(NotifyType::NO_ADDITIONAL_SAS).is_some());
    pair.assert_settled();
}

#[test]
fn traffic_in_both_directions_survives_rekeying_by_both_ends_at_any_pace() {
    let mut pair = Setup::new(|setup| setup.settings.child_rekey = secs(3)).up();
    pair.start_traffic(super::millis(7));
    for round in 0..20 {
        pair.run(super::millis(700 + 130 * round));
        if round % 3 == 0 && pair.peer.live_children().len() == 1 && pair.peer.responses.is_empty() {
            let old = pair.peer.child();
            let request = pair.peer.rekey_child(old);
            pair.run(super::millis(30));
            let refused = pair.peer.responses.front().is_some_and(|(_, response)| response.error().is_some());
            if refused {
                pair.peer.responses.pop_front();
                continue;
            }
            pair.peer.child_rekeyed(request);
            pair.peer.delete_child(old);
            pair.run(super::millis(30));
            pair.peer.responses.pop_front();
            pair.peer.children[old].alive = false;
        }
    }
    pair.stop_traffic();
    pair.assert_nothing_lost();
    assert!(pair.peer.children.len() > 10, "{} children", pair.peer.children.len());
    assert_eq!(pair.peer.heard.iter().filter(|m| m.header.exchange == ExchangeType::IKE_AUTH).count(), 1);
}

/// Blocks of 64 bits wear a key out by bytes (Sweet32).
#[test]
fn a_child_with_3des_is_rekeyed_after_a_gigabyte() {
    for (opened, esp) in [(false, "3des-sha1"), (true, "3des-sha1"), (false, "aes128-sha256")] {
        let mut pair = Setup::new(|setup| {
            setup.settings.legacy = true;
            setup.settings.esp_proposals = esp.parse().unwrap();
            setup.script.esp = esp.parse().unwrap();
        })
        .up();
        let usage = std::sync::Arc::clone(&pair.client.established().unwrap().children[0].usage);
        let bytes = if opened { &usage.opened_bytes } else { &usage.sealed_bytes };
        bytes.store((1 << 30) - 1, std::sync::atomic::Ordering::Relaxed);
        pair.run(secs(20));
        assert_eq!(pair.peer.children.len(), 1, "not yet");
        bytes.store(1 << 30, std::sync::atomic::Ordering::Relaxed);
        pair.run(secs(20));
        assert_eq!(pair.peer.children.len(), if esp == "3des-sha1" { 2 } else { 1 }, "{esp}");
        pair.assert_settled();
    }
}

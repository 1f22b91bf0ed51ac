//! Where data keys come from, and which format data has, with clients of every age.

use super::net::Setup;
use crate::session::iv_proto;

fn up_without(withheld: u32) -> super::net::Net {
    let mut net = Setup::new(|setup| setup.withheld = withheld).up();
    net.assert_traffic_flows();
    net.with_peer(|peer, now| peer.renegotiate_now(now));
    net.run(crate::tests::secs(70));
    assert_eq!(net.client().keys, ["+0", "seal 0", "+1", "seal 1"]);
    net.assert_traffic_flows();
    net
}

#[test]
fn keys_come_from_the_exporter_where_the_client_has_it() {
    let net = up_without(0);
    assert!(net.peers.values().all(|peer| peer.end.tunnel.agreed().unwrap().exporter));
}

#[test]
fn keys_come_from_the_prf_for_older_clients() {
    let net = up_without(iv_proto::TLS_KEY_EXPORT);
    assert!(net.peers.values().all(|peer| !peer.end.tunnel.agreed().unwrap().exporter));
}

#[test]
fn the_exporter_is_told_in_the_words_of_2_5_too() {
    let net = up_without(iv_proto::CC_EXIT_NOTIFY | iv_proto::DYN_TLS_CRYPT);
    let agreed = net.peers.values().next().unwrap().end.tunnel.agreed().unwrap();
    assert!(agreed.exporter && !agreed.dynamic_tls_crypt);
}

#[test]
fn clients_without_data_v2_are_known_by_their_address() {
    let net = up_without(iv_proto::DATA_V2);
    let agreed = net.peers.values().next().unwrap().end.tunnel.agreed().unwrap();
    assert_eq!(agreed.peer_id, None);
}

#[test]
fn clients_that_announce_nothing_at_all_get_a_tunnel() {
    let net = up_without(u32::MAX);
    let agreed = net.peers.values().next().unwrap().end.tunnel.agreed().unwrap();
    assert!(!agreed.exporter && !agreed.dynamic_tls_crypt && agreed.peer_id.is_none());
}

#[test]
fn the_peer_id_is_the_peers_name() {
    let mut net = Setup::default().empty();
    (0..3).for_each(|_| net.add_client());
    net.come_up();
    for (id, peer) in &net.peers {
        assert_eq!(peer.end.tunnel.agreed().unwrap().peer_id, Some(id.0));
    }
    net.assert_traffic_flows();
}

#[test]
fn dynamic_tls_crypt_is_used_if_both_ends_have_it_and_not_otherwise() {
    for (withheld, agreed) in [(0, true), (iv_proto::DYN_TLS_CRYPT, false)] {
        let net = up_without(withheld);
        assert!(net.peers.values().all(|peer| peer.end.tunnel.agreed().unwrap().dynamic_tls_crypt == agreed));
    }
}

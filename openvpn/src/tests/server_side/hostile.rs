//! Garbage, forgeries and replays, before and after a tunnel is up.

use adit_testing::SeededRandom;
use adit_tunnel::{Random, Tunnel};
use bytes::Bytes;

use super::{
    net::{Net, Setup},
    wraps::wraps,
};
use crate::tests::{millis, secs};

/// Datagrams of nobody, from anywhere.
fn garbage(net: &mut Net, random: &mut SeededRandom) {
    let address = net.clients.first().map_or_else(|| ([203, 0, 113, 1], 1).into(), |client| client.address);
    for from in [address, ([203, 0, 113, 2], 2).into()] {
        for opcode in 0..32u8 {
            let mut bytes = vec![0; (random.next_u32() % 120) as usize];
            random.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = opcode << 3 | *first & 7;
            }
            net.inject_from(from, &bytes);
        }
    }
}

/// Every byte of what was sent, changed.
fn damaged(net: &mut Net, datagram: &Bytes) {
    let address = net.clients[0].address;
    for at in 0..datagram.len() {
        let mut changed = datagram.to_vec();
        changed[at] ^= 0x41;
        net.inject_from(address, &changed);
        net.inject_from(address, &datagram[..at]);
    }
}

#[test]
fn garbage_makes_no_peer_and_does_no_harm_to_one() {
    for (name, client, server) in wraps() {
        let mut random = SeededRandom::new(3);
        let mut net = Setup::new(|setup| {
            setup.settings.control_wrap = client;
            setup.server.control_wrap = server;
        })
        .empty();
        (0..20).for_each(|_| garbage(&mut net, &mut random));
        assert_eq!(net.server.peers(), 0, "{name}");
        net.add_client();
        for _ in 0..40 {
            net.run(millis(5));
            garbage(&mut net, &mut random);
        }
        net.come_up();
        (0..20).for_each(|_| garbage(&mut net, &mut random));
        net.assert_traffic_flows();
        net.with_peer(|peer, now| peer.renegotiate_now(now));
        for _ in 0..20 {
            net.run(millis(5));
            garbage(&mut net, &mut random);
        }
        net.run(secs(70));
        assert_eq!(net.client().keys, ["+0", "seal 0", "+1", "seal 1"], "{name}");
        net.assert_traffic_flows();
    }
}

/// Under a wrapping, whatever is changed is not authentic; only the real packets count.
#[test]
fn damaged_copies_of_real_packets_do_no_harm_under_a_wrapping() {
    for (name, client, server) in wraps().into_iter().skip(1) {
        let mut net = Setup::new(|setup| {
            setup.settings.control_wrap = client;
            setup.server.control_wrap = server;
        })
        .start();
        // Each datagram arrives after its damaged copies.
        for _ in 0..60 {
            let mut sent = Vec::new();
            while let Some(transmit) = net.client().tunnel.poll_transmit() {
                sent.push(transmit.datagram);
            }
            for datagram in &sent {
                damaged(&mut net, datagram);
                let now = net.now;
                net.clients[0].up.send(now, datagram.clone());
            }
            net.run(millis(10));
        }
        net.come_up();
        net.assert_traffic_flows();
        assert_eq!((net.server.peers(), net.gone.len()), (1, 0), "{name}");
    }
}

#[test]
fn replayed_handshakes_make_no_second_peer_and_no_new_keys() {
    for (name, client, server) in wraps() {
        let mut net = Setup::new(|setup| {
            setup.settings.control_wrap = client;
            setup.server.control_wrap = server;
        })
        .start();
        let mut recorded = Vec::new();
        for _ in 0..60 {
            while let Some(transmit) = net.client().tunnel.poll_transmit() {
                let now = net.now;
                recorded.push(transmit.datagram.clone());
                net.clients[0].up.send(now, transmit.datagram);
            }
            net.run(millis(10));
        }
        net.come_up();
        let address = net.clients[0].address;
        for datagram in recorded.iter().chain(recorded.iter().rev()) {
            net.inject_from(address, datagram);
            net.inject_from(([203, 0, 113, 2], 2).into(), datagram);
        }
        assert_eq!(net.server.peers(), 1, "{name}");
        assert_eq!(net.peer().end.keys, ["+0", "seal 0"], "{name}");
        net.assert_traffic_flows();
    }
}

/// A packet of the control channel without a wrapping that damages the TLS stream ends that session, and no other.
#[test]
fn other_clients_do_not_suffer() {
    let mut net = Setup::default().empty();
    (0..2).for_each(|_| net.add_client());
    net.come_up();
    let address = net.clients[0].address;
    let mut random = SeededRandom::new(4);
    (0..50).for_each(|_| {
        let mut forged = vec![0x20; 40];
        random.fill(&mut forged[9..]);
        net.inject_from(address, &forged);
    });
    net.assert_traffic_flows();
}

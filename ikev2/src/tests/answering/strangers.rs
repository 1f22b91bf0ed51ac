//! Datagrams that nobody should send.

use adit_testing::{Datagram, End, SeededRandom};
use adit_tunnel::Random;

use super::{World, plan, secs, up};
use crate::exchange::Wanted;

fn from_anywhere(world: &World, bytes: Vec<u8>) -> Datagram {
    let destination = world.listener.listening[0];
    Datagram { source: ([203, 0, 113, 9], 4500).into(), destination, bytes }
}

/// Of random bytes, and of the tunnel's own datagrams with some bytes changed, from the client's own address and from elsewhere.
#[test]
fn garbage_and_forgeries_change_nothing() {
    let mut world = up(|_| {});
    let peer = world.newest_peer();
    world.record = true;
    world.with_client(0, |client, now| client.want(now, Wanted::Liveness));
    world.with_peer(peer, |tunnel, now| tunnel.want(now, Wanted::Liveness));
    world.run(secs(1));
    let own: Vec<_> = world.sent.iter().map(|sent| sent.datagram.clone()).collect();
    assert!(own.len() >= 4);
    let mut random = SeededRandom::new(1);
    let before = (world.census(), world.clients[0].driven.key_changes(), world.listener.replies);
    for number in 0..4000_usize {
        let mut bytes = own[number % own.len()].bytes.clone();
        if number % 3 == 0 {
            random.fill(&mut bytes);
        } else {
            // Behind the SPIs, so that it finds its way.
            let at = 20 + random.next_u32() as usize % (bytes.len() - 20);
            bytes[at] ^= 1 + (random.next_u32() % 255) as u8;
        }
        let mut datagram = from_anywhere(&world, bytes);
        if number % 2 == 0 {
            datagram.source = world.clients[0].seen_as();
        }
        let path = world.listener.peers[&peer].driven.path;
        world.deliver(datagram);
        assert_eq!(world.listener.peers[&peer].driven.path, path);
    }
    world.run(secs(3));
    let after = (world.census(), world.clients[0].driven.key_changes());
    assert_eq!((before.0.peers, before.0.openers, before.1), (after.0.peers, after.0.openers, after.1));
    world.assert_agree();
    // What looks like a message of an IKE SA that is no more gets a hint, but only so many.
    assert!(world.listener.replies - before.2 <= 200, "{}", world.listener.replies);
}

/// A client that has been answered, but proved nothing, says anything but IKE_AUTH.
#[test]
fn nothing_but_ike_auth_is_taken_before_it() {
    let mut world = plan(|_| {}).start(1);
    world.by_hand();
    world.clients[0].up.lose_all();
    world.run(secs(1));
    let init = world.says_first(End::Client(0));
    world.says_all(End::Client(0));
    world.deliver(init);
    world.carry(End::Listener);
    let auth = world.says(End::Client(0));
    // The exchange type of CREATE_CHILD_SA, of INFORMATIONAL, and one that does not exist; the tag does not fit then.
    for exchange in [36, 37, 99] {
        let mut other = auth.clone();
        other.bytes[4 + 18] = exchange;
        world.deliver(other);
        world.is_silent(End::Listener);
        assert_eq!(world.census().peers, 1);
    }
    world.deliver(auth);
    world.let_go();
    world.come_up();
    world.assert_agree();
}

/// The client is told by a gateway that has started anew, and does not believe it before it has asked (RFC 7296 §2.21.4).
#[test]
fn a_gateway_that_has_forgotten_says_so() {
    let mut world = up(|_| {});
    world.reconnect = Some(secs(1));
    world.restart_listener();
    world.with_client(0, |client, now| client.want(now, Wanted::Liveness));
    world.run(super::millis(100));
    assert_eq!(world.listener.replies, 1);
    assert!(world.clients[0].driven.is_up(), "it is but a hint");
    world.run(secs(60));
    world.assert_agree();
    assert_eq!((world.clients[0].incarnation, world.census().peers), (1, 1));
}

#[test]
fn spis_contain_the_name_of_the_peer() {
    let mut world = up(|ends| ends.world.clients = 5);
    let peers: Vec<_> = world.listener.peers.keys().copied().collect();
    for peer in peers {
        for _ in 0..3 {
            for wanted in [Wanted::RekeyIke, Wanted::Liveness] {
                world.with_peer(peer, |tunnel, now| tunnel.want(now, wanted));
                world.run(secs(1));
            }
            let end = world.listener.peers.get_mut(&peer).unwrap();
            let established = end.driven.tunnel.established().unwrap();
            assert_eq!(established.current().unwrap().ike.our_spi().0 >> 32, u64::from(peer.0));
            let child = established.children[0].spi_in;
            assert_eq!(child >> 12, peer.0);
            world.with_peer(peer, |tunnel, now| tunnel.want(now, Wanted::RekeyChild(child)));
            world.run(secs(1));
        }
    }
    world.assert_agree();
}

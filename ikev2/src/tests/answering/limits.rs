//! What strangers may cost.

use std::net::SocketAddr;

use adit_testing::{Datagram, End};
use adit_tunnel::Tunnel;

use super::{ServerError, World, millis, plan, secs, up, why};
use crate::{
    Identity,
    exchange::Wanted,
    message::{Message, Payload, numbers::NotifyType},
    sa::Timer,
};

/// The first datagram of a client, which waits.
fn first(change: impl FnOnce(&mut super::Ends)) -> (World, Datagram) {
    let mut world = plan(change).start(1);
    let destination = SocketAddr::from(([192, 0, 2, 1], 4500));
    world.by_hand();
    // The first one is under way already: it is sent again.
    world.clients[0].up.lose_all();
    world.run(secs(1));
    let bytes = world.says_first(End::Client(0)).bytes;
    let source = world.clients[0].seen_as();
    (world, Datagram { source, destination, bytes })
}

/// As if another had sent it: only the SPI is another.
fn as_another(datagram: &Datagram, number: u8, from: [u8; 4]) -> Datagram {
    let mut another = datagram.clone();
    another.source = (from, 40_000).into();
    another.bytes[4] ^= number;
    another.bytes[5] ^= 0xff;
    another
}

#[test]
fn the_threshold_decides_when_cookies_are_asked_for() {
    let (mut world, datagram) = first(|ends| ends.limits.cookie_threshold = 3);
    for number in 0..10 {
        world.deliver(as_another(&datagram, number, [203, 0, 113, number]));
        let expected = usize::from(number.min(2)) + 1;
        assert_eq!((world.listener.listener.half_open(), world.census().peers), (expected, expected));
        assert_eq!(world.listener.replies, u64::from(number.saturating_sub(2)));
    }
    // Whoever receives what is sent to it comes in all the same.
    world.says_all(End::Listener);
    world.let_go();
    world.come_up();
    world.assert_agree();
    // The others are forgotten.
    world.run(secs(61));
    assert_eq!((world.census().peers, world.listener.listener.half_open()), (1, 0));
}

/// It receives the answers: it returns the cookies.
#[test]
fn one_address_has_its_share_alone() {
    let (mut world, datagram) = first(|ends| ends.limits.half_open_per_address = 4);
    for number in 0..10 {
        let another = as_another(&datagram, number, [203, 0, 113, 1]);
        world.deliver(another.clone());
        let answer = world.says_all(End::Listener).pop();
        if let Some(cookie) = answer.and_then(|answer| cookie(&answer)) {
            world.deliver(with(another, cookie));
        }
    }
    assert_eq!(world.listener.listener.half_open(), 4);
    world.deliver(as_another(&datagram, 11, [203, 0, 113, 2]));
    assert_eq!(world.listener.listener.half_open(), 5);
}

/// As long as there are few, whoever is at an address comes in, though others send in its name.
#[test]
fn forged_senders_do_not_use_up_the_share_of_an_address() {
    let (mut world, datagram) = first(|_| {});
    let std::net::IpAddr::V4(address) = datagram.source.ip() else { panic!("{}", datagram.source) };
    for number in 0..100 {
        world.deliver(as_another(&datagram, number, address.octets()));
    }
    assert_eq!(world.listener.listener.half_open(), 8);
    world.says_all(End::Listener);
    world.let_go();
    world.come_up();
    world.assert_agree();
}

/// What is to be returned, if the answer asks for it.
fn cookie(answer: &Datagram) -> Option<Payload> {
    let message = Message::decode(&answer.bytes[4..]).unwrap();
    message.notify(NotifyType::COOKIE).map(|cookie| Payload::Notify(cookie.clone()))
}

/// The same request, with it.
fn with(mut datagram: Datagram, cookie: Payload) -> Datagram {
    let (marker, message) = datagram.bytes.split_at(4);
    let mut message = Message::decode(message).unwrap();
    message.payloads.insert(0, cookie);
    datagram.bytes = [marker, &message.encode()].concat();
    datagram
}

#[test]
fn there_is_a_limit_to_all() {
    let (mut world, datagram) = first(|ends| (ends.limits.peers, ends.limits.half_open) = (5, 4));
    for number in 0..10 {
        world.deliver(as_another(&datagram, number, [203, 0, 113, number]));
    }
    assert_eq!(world.listener.listener.peers(), 4);
    // Those who have proved themselves are half open no longer, but count as peers.
    let mut world = plan(|ends| (ends.world.clients, ends.limits.peers) = (3, 2)).start(1);
    world.run(secs(10));
    assert_eq!(world.listener.listener.peers(), 2);
    assert_eq!(world.clients.iter().filter(|client| client.driven.is_up()).count(), 2);
}

#[test]
fn names_of_those_who_left_are_given_again() {
    let mut world = plan(|ends| ends.limits.peers = 1).start(1);
    world.reconnect = Some(secs(1));
    for _ in 0..20 {
        world.come_up();
        assert_eq!(world.listener.listener.peers(), 1);
        world.with_client(0, |client, now| client.close(now));
        world.run(secs(3));
    }
    assert_eq!(world.clients[0].incarnation, 20);
}

#[test]
fn the_same_first_datagram_again_gets_the_same_answer_and_makes_nobody() {
    let (mut world, datagram) = first(|_| {});
    world.says_all(End::Client(0));
    world.deliver(datagram.clone());
    let answer = world.says(End::Listener);
    for _ in 0..5 {
        world.deliver(datagram.clone());
        assert_eq!(world.says(End::Listener), answer);
    }
    assert_eq!(world.census().peers, 1);
    // With a changed byte it begins another, as it would from elsewhere, and the first one does not suffer from that.
    let mut changed = datagram.clone();
    *changed.bytes.last_mut().unwrap() ^= 1;
    world.deliver(changed);
    assert_ne!(world.says(End::Listener), answer);
    assert_eq!(world.census().peers, 2);
    // Only so many repetitions a second are answered.
    world.run(secs(1));
    world.says_all(End::Client(0));
    world.deliver(datagram);
    assert_eq!(world.says(End::Listener), answer);
    assert_eq!(world.census().peers, 2);
}

/// A first message is kept, and so it must not be long.
#[test]
fn a_long_first_datagram_is_dropped() {
    for (length, expected) in [(1000, 1), (10_000, 0)] {
        let (mut world, mut datagram) = first(|_| {});
        let (marker, message) = datagram.bytes.split_at(4);
        let mut message = Message::decode(message).unwrap();
        message.payloads.push(Payload::Vendor(vec![0; length].into()));
        datagram.bytes = [marker, &message.encode()].concat();
        world.deliver(datagram);
        assert_eq!(world.listener.listener.half_open(), expected, "{length}");
    }
}

/// Nor is a later one, whole or in fragments, before the client has proved who it is.
#[test]
fn a_long_message_of_a_stranger_is_dropped() {
    for fragmentation in [true, false] {
        let named = |length: usize| {
            plan(|ends| {
                ends.client.fragmentation = fragmentation;
                ends.client.local_identity = Some(Identity::KeyId(vec![0; length]));
            })
        };
        named(20_000).up(1).assert_agree();
        let mut world = named(25_000).start(1);
        world.run(secs(65));
        assert!(matches!(why(&world), ServerError::HandshakeTimeout { .. }), "{}", why(&world));
    }
}

/// The SPI of its own of the child a client has in use.
fn child(world: &mut World) -> u32 {
    let established = world.clients[0].driven.tunnel.established().unwrap();
    established.children.iter().find(|child| child.is_in_use()).unwrap().spi_in
}

/// A client makes and deletes one child after the other, faster than their openers are forgotten.
#[test]
fn children_without_end_do_not_use_up_the_spis() {
    let mut world = up(|ends| ends.both(|settings| settings.mobike = false));
    let peer = world.newest_peer();
    world.by_hand();
    let mut made = 0;
    for _ in 0..5000 {
        let before = child(&mut world);
        world.with_client(0, |client, now| {
            client.act(now, |established, cx| {
                // This client does not hold itself back.
                for timer in cx.timers.running().collect::<Vec<_>>() {
                    if matches!(timer, Timer::RemoveOpener(_)) {
                        cx.timers.stop(timer);
                    }
                }
                established.want(cx, Wanted::RekeyChild(before));
            });
        });
        world.carry(End::Client(0));
        world.carry(End::Listener);
        if child(&mut world) == before {
            break;
        }
        world.carry(End::Client(0));
        world.carry(End::Listener);
        world.run_alone(End::Listener, millis(2));
        made += 1;
    }
    assert!((200..300).contains(&made), "{made}");
    assert!(world.listener.peers[&peer].driven.openers().len() <= 300);
    // A little later there is room again.
    world.let_go();
    let before = child(&mut world);
    world.run(secs(10));
    assert_ne!(child(&mut world), before);
    assert!(world.listener.peers[&peer].driven.openers().len() <= 2);
}

#[test]
fn the_search_for_an_spi_comes_to_an_end() {
    let mut world = up(|_| {});
    let peer = world.newest_peer();
    world.with_peer(peer, |tunnel, now| tunnel.act(now, |_, cx| assert_eq!(cx.esp_spi(|_| true), None)));
    world.with_client(0, |client, now| client.act(now, |_, cx| assert_eq!(cx.esp_spi(|_| true), None)));
}

/// A client makes one IKE SA after the other, and its deletions of the old ones are lost.
#[test]
fn ike_sas_that_are_never_deleted_do_not_pile_up() {
    let mut world = up(|ends| ends.both(|settings| settings.mobike = false));
    let peer = world.newest_peer();
    world.by_hand();
    for _ in 0..50 {
        world.with_client(0, |client, now| client.want(now, Wanted::RekeyIke));
        let request = world.says(End::Client(0));
        world.deliver(request);
        world.carry(End::Listener);
        world.says(End::Client(0));
        let gateway = &mut world.listener.peers.get_mut(&peer).unwrap().driven.tunnel;
        assert!(gateway.established().unwrap().sas.len() <= 8);
    }
    world.let_go();
    world.run(secs(200));
    assert_eq!((world.census().peers, world.newest_peer(), world.clients[0].incarnation), (1, peer, 0));
    let gateway = &mut world.listener.peers.get_mut(&peer).unwrap().driven.tunnel;
    assert_eq!(gateway.established().unwrap().sas.len(), 1);
    world.assert_agree();
}

/// Whoever has seen a request can send it again and again, from anywhere.
#[test]
fn an_answer_is_given_again_a_few_times_a_second() {
    let mut world = up(|_| {});
    world.by_hand();
    world.with_client(0, |client, now| client.want(now, Wanted::Liveness));
    let mut request = world.says(End::Client(0));
    world.deliver(request.clone());
    world.carry(End::Listener);
    request.source = ([203, 0, 113, 9], 4500).into();
    for _ in 0..3 {
        for _ in 0..100 {
            world.deliver(request.clone());
        }
        assert_eq!(world.says_all(End::Listener).len(), 5);
        world.run_alone(End::Client(0), secs(1));
    }
}

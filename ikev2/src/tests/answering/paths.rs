//! Where the gateway sends to, when a client moves.

use adit_testing::Mapping;

use super::{World, millis, secs, up};
use crate::{
    exchange::{Exchange, Wanted},
    message::{
        IkeSpi, Payload,
        numbers::{ExchangeType, NotifyType},
    },
};

fn mobike(on: bool) -> World {
    up(|ends| ends.both(|settings| settings.mobike = on))
}

fn sees(world: &World) -> std::net::SocketAddr {
    world.listener.peers[&world.newest_peer()].driven.path.remote
}

/// With MOBIKE it says so, without it sends anything (RFC 4555 §3.5, RFC 7296 §2.23).
#[test]
fn a_client_that_roams_is_found_at_once() {
    for on in [true, false] {
        let mut world = mobike(on);
        for _ in 0..3 {
            world.roam(0);
            world.run(millis(100));
            assert_eq!(sees(&world), world.clients[0].seen_as(), "MOBIKE {on}");
        }
        world.assert_agree();
    }
}

#[test]
fn without_mobike_data_shows_where_the_client_is() {
    for on in [true, false] {
        let mut world = mobike(on);
        world.rebind(0, Mapping::Alive);
        world.start_traffic(millis(100), 100);
        world.run(secs(1));
        // With it, a spoofed packet moves nobody.
        assert_eq!(sees(&world) == world.clients[0].seen_as(), !on);
        world.stop_traffic().assert_nothing_lost();
    }
}

#[test]
fn a_mapping_that_is_forgotten_is_noticed() {
    for on in [true, false] {
        let mut world = mobike(on);
        world.rebind(0, Mapping::Dead);
        world.run(secs(60));
        assert_eq!(sees(&world), world.clients[0].seen_as(), "MOBIKE {on}");
        world.assert_agree();
        assert_eq!(world.clients[0].incarnation, 0);
    }
}

/// The gateway asks where the client is no more, for as long as it asks at all. Then it hears from it: that it has moved, anything, or
/// data.
#[test]
fn what_was_asked_where_the_client_was_is_asked_where_it_is() {
    for (on, data) in [(true, false), (false, false), (false, true)] {
        let mut world = mobike(on);
        let peer = world.newest_peer();
        let before = spis(&mut world);
        world.blackout(0, secs(20));
        world.with_peer(peer, |tunnel, now| tunnel.want(now, Wanted::RekeyIke));
        // Sent for the last time after 15.5 s, and given up after 23.5 s.
        world.run(secs(21));
        if data {
            world.rebind(0, Mapping::Dead);
            world.start_traffic(millis(100), 100);
        } else {
            world.roam(0);
        }
        world.run(secs(1));
        assert_ne!(spis(&mut world), before, "MOBIKE {on}, data {data}");
        world.run(secs(20));
        world.assert_agree();
        assert_eq!((world.newest_peer(), world.clients[0].incarnation), (peer, 0));
    }
}

/// Of the IKE SA that the gateway uses.
fn spis(world: &mut World) -> (IkeSpi, IkeSpi) {
    let peer = world.newest_peer();
    let gateway = world.listener.peers.get_mut(&peer).unwrap().driven.tunnel.established().unwrap();
    gateway.current().unwrap().ike.spis()
}

/// A message that was heard before comes again from elsewhere: whoever repeats it moves nobody.
#[test]
fn a_repeated_message_from_elsewhere_moves_nobody() {
    for on in [true, false] {
        let mut world = mobike(on);
        world.record = true;
        world.roam(0);
        world.run(secs(1));
        let sent: Vec<_> = world.sent.iter().filter(|sent| sent.from != adit_testing::End::Listener).collect();
        let repeated: Vec<_> = sent.iter().map(|sent| sent.datagram.clone()).collect();
        assert!(!repeated.is_empty());
        for mut datagram in repeated {
            datagram.source = ([203, 0, 113, 9], 4500).into();
            world.deliver(datagram);
            assert_eq!(sees(&world), world.clients[0].seen_as(), "MOBIKE {on}");
        }
        world.run(secs(1));
        world.assert_agree();
    }
}

/// The client says that it has moved, and which addresses it believes that to be between (RFC 4555 §3.9).
#[test]
fn a_client_that_allows_no_nat_is_not_followed_behind_one() {
    for seen in [true, false] {
        let mut world = mobike(true);
        let before = sees(&world);
        world.rebind(0, Mapping::Alive);
        let source: std::net::SocketAddr = if seen { world.clients[0].seen_as() } else { ([10, 1, 1, 1], 4500).into() };
        let (std::net::IpAddr::V4(ip), port) = (source.ip(), source.port()) else { panic!("{source}") };
        let ports = [port.to_be_bytes(), 4500_u16.to_be_bytes()].concat();
        let named = [&ip.octets()[..], &[192, 0, 2, 1], &ports].concat();
        world.with_client(0, |client, now| {
            client.act(now, |established, cx| {
                let spi = established.current().unwrap().ike.our_spi();
                let payloads = vec![
                    Payload::notify(NotifyType::UPDATE_SA_ADDRESSES, ""),
                    Payload::notify(NotifyType::NO_NATS_ALLOWED, named),
                ];
                established.request(cx, spi, ExchangeType::INFORMATIONAL, payloads, Exchange::DeleteChild(0));
            });
        });
        world.run(secs(1));
        assert_eq!(sees(&world), if seen { world.clients[0].seen_as() } else { before });
    }
}

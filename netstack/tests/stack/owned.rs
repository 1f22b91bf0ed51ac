//! Beside a device: the stack has what is its own, and nothing else.

use std::{net::SocketAddr, time::Duration};

use adit_netstack::StackConfig;
use smoltcp::wire::Icmpv4DstUnreachable;

use crate::{
    client::Client,
    craft::{icmp_v4, udp, unreachable_v4},
    link::Quality,
    world::{HOST_V4, OURS_V4, World, config, seed},
};

#[test]
fn packets_of_a_connection_are_the_stacks_until_it_is_forgotten() {
    let mut world = World::new();
    let mut client = Client::new(world.connect(SocketAddr::new(HOST_V4, 80)));
    let syn = world.take_packets().remove(0);
    // What the host would answer, as far as anybody looks at it here: the ports the other way round.
    let mut answer = syn.clone();
    let (mut addresses, mut ports) = ([0; 8], [0; 4]);
    addresses.copy_from_slice(&syn[12..20]);
    ports.copy_from_slice(&syn[20..24]);
    answer[12..16].copy_from_slice(&addresses[4..]);
    answer[16..20].copy_from_slice(&addresses[..4]);
    answer[20..22].copy_from_slice(&ports[2..]);
    answer[22..24].copy_from_slice(&ports[..2]);
    assert!(world.stack.owns(world.now, &answer));
    let refusal = unreachable_v4(HOST_V4, &syn, Icmpv4DstUnreachable::PortUnreachable);
    assert!(world.stack.owns(world.now, &refusal));
    // One port further it is a stranger's.
    answer[23] ^= 1;
    assert!(!world.stack.owns(world.now, &answer));
    answer[23] ^= 1;
    world.stack.handle_packet(world.now, &refusal);
    world.settle(&mut [&mut client]);
    assert!(!world.stack.owns(world.now, &answer));
    assert!(!world.stack.owns(world.now, &refusal));
}

#[test]
fn datagrams_are_the_stacks_from_whom_it_has_asked() {
    let config = StackConfig { udp_idle: Duration::from_secs(30), ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let id = world.stack.bind_udp().unwrap();
    let ours = SocketAddr::new(OURS_V4, world.stack.udp_port(id).unwrap());
    let host = SocketAddr::new(HOST_V4, 53);
    assert!(!world.stack.owns(world.now, &udp(host, ours, b"unasked")));
    world.stack.send_udp(world.now, id, host, b"question").unwrap();
    let question = world.take_packets().remove(0);
    assert!(world.stack.owns(world.now, &udp(host, ours, b"answer")));
    let refusal = unreachable_v4(HOST_V4, &question, Icmpv4DstUnreachable::PortUnreachable);
    assert!(world.stack.owns(world.now, &refusal));
    let mut stranger = ours;
    stranger.set_port(ours.port() ^ 1);
    assert!(!world.stack.owns(world.now, &udp(host, stranger, b"for the kernel")));
    world.stack.close_udp(id);
    assert!(!world.stack.owns(world.now, &udp(host, ours, b"late")));
}

#[test]
fn echo_requests_fragments_and_rubbish_are_never_the_stacks() {
    let mut world = World::new();
    let id = world.stack.bind_udp().unwrap();
    let ours = SocketAddr::new(OURS_V4, world.stack.udp_port(id).unwrap());
    let host = SocketAddr::new(HOST_V4, 53);
    world.stack.send_udp(world.now, id, host, b"question").unwrap();
    let mut fragment = udp(host, ours, b"the first part");
    fragment[6] |= 0x20;
    for packet in [fragment, Vec::new(), vec![0x45; 19], udp(host, ours, b"cut short")[..24].to_vec()] {
        assert!(!world.stack.owns(world.now, &packet), "{packet:02x?}");
    }
    let request =
        icmp_v4(HOST_V4, OURS_V4, &smoltcp::wire::Icmpv4Repr::EchoRequest { ident: 1, seq_no: 1, data: b"?" });
    assert!(!world.stack.owns(world.now, &request));
}

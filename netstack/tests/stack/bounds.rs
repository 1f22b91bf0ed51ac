//! Memory, ports and work stay within their bounds.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use adit_netstack::{ConnectError, ConnectionId, PacketSink, StackConfig};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, read_tcp, tcp},
    link::Quality,
    world::{HOST_V4, OURS_V4, World, config, seed},
};

/// A connection whose handshake the test itself answers.
fn establish(world: &mut World, remote: SocketAddr) -> ConnectionId {
    let id = world.connect(remote);
    let packets = world.take_packets();
    let syn = read_tcp(packets.last().unwrap()).unwrap();
    let answer = TcpRepr {
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(5000),
        ack_number: Some(syn.tcp.seq_number + 1),
        max_seg_size: Some(1360),
        window_scale: Some(7),
        ..SEGMENT
    };
    world.stack.handle_packet(world.now, &tcp(remote, syn.from, answer));
    world.take_packets();
    id
}

fn small(memory: usize) -> StackConfig {
    StackConfig { memory, buffer: 64 << 10, small_buffer: 8 << 10, ..config() }
}

#[test]
fn idle_connections_are_not_looked_at_for_a_busy_one() {
    let polls_with = |idle: u16| {
        let mut world = World::with(StackConfig { keepalive: None, ..config() }, Quality::PERFECT, seed());
        for port in 0..idle {
            establish(&mut world, SocketAddr::new(HOST_V4, 10_000 + port));
        }
        while world.stack.poll_event().is_some() {}
        let (mut client, handle) = world.connected(80, 64 << 10);
        let before = world.stack.counters().polls;
        client.send(&pattern(1_000_000, 1));
        let mut received = 0;
        world.run(&mut [&mut client], |world, _| {
            received += world.host.socket(handle).recv(|bytes| (bytes.len(), bytes.len())).unwrap_or(0);
            received == 1_000_000
        });
        world.stack.counters().polls - before
    };
    let (alone, among_many) = (polls_with(0), polls_with(1000));
    assert_eq!(alone, among_many);
    assert!(alone < 4000, "{alone} polls for 736 segments and their acknowledgments");
}

#[test]
fn short_memory_refuses_then_comes_back_whole() {
    let mut world = World::with(small(1 << 20), Quality::PERFECT, seed());
    let mut ids = Vec::new();
    let error = loop {
        match world.stack.connect(world.now, SocketAddr::new(HOST_V4, 80)) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
        assert!(world.stack.memory_used() <= 1 << 20);
    };
    assert_eq!(error, ConnectError::NoMemory);
    // 8 KiB to receive, 4 KiB to send, and 2 KiB for the rest.
    assert_eq!(ids.len(), 1024 / 14);
    assert_eq!(
        world.stack.bind_udp().err(),
        (world.stack.memory_used() + 1024 > 1 << 20).then_some(ConnectError::NoMemory)
    );
    for id in ids {
        world.stack.release(id);
    }
    assert_eq!(world.stack.connection_count(), 0);
    assert!(world.stack.memory_used() <= 1024);
    world.stack.connect(world.now, SocketAddr::new(HOST_V4, 80)).unwrap();
}

#[test]
fn small_buffers_carry_data_as_well() {
    let config = StackConfig { memory: 64 << 10, buffer: 512 << 10, small_buffer: 8 << 10, ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.send(&pattern(100_000, 1));
    let mut received = Vec::new();
    world.run(&mut [&mut client], |world, _| {
        let socket = world.host.socket(handle);
        let _len: usize = socket
            .recv(|bytes| {
                (bytes.len(), {
                    received.extend_from_slice(bytes);
                    0
                })
            })
            .unwrap_or(0);
        received.len() == 100_000
    });
    assert!(received == client.to_send);
    assert!(world.stack.counters().degraded > 0, "it would have grown");
    assert!(world.stack.memory_used() <= 14 << 10);
}

#[test]
fn connections_nobody_owns_make_room_for_new_ones() {
    let mut world = World::with(small(256 << 10), Quality::PERFECT, seed());
    let mut owned = Vec::new();
    for port in 0.. {
        if world.stack.connect(world.now, SocketAddr::new(HOST_V4, 1000)).is_err() {
            break;
        }
        // The attempt above only asked whether there is room.
        let last = world.take_packets();
        let syn = read_tcp(last.last().unwrap()).unwrap();
        let remote = SocketAddr::new(HOST_V4, 1000);
        let answer = TcpRepr {
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(5000 + port),
            ack_number: Some(syn.tcp.seq_number + 1),
            ..SEGMENT
        };
        world.stack.handle_packet(world.now, &tcp(remote, syn.from, answer));
        while let Some(event) = world.stack.poll_event() {
            if let adit_netstack::StackEvent::Connected(id) = event {
                owned.push(id);
            }
        }
    }
    assert!(owned.len() > 3);
    for id in &owned[..2] {
        world.stack.release(*id);
    }
    assert_eq!(world.stack.connection_count(), owned.len(), "they wait for the remote to close");
    world.take_packets();
    world.stack.connect(world.now, SocketAddr::new(HOST_V4, 2000)).unwrap();
    let packets = world.take_packets();
    let reset = read_tcp(&packets[0]).unwrap();
    assert_eq!((reset.to.port(), reset.tcp.control), (1000, TcpControl::Rst), "the oldest is told");
    assert!(world.stack.connection_count() <= owned.len());
}

#[test]
fn number_of_connections_and_sockets_is_bounded() {
    let mut world = World::with(StackConfig { max_connections: 3, ..config() }, Quality::PERFECT, seed());
    for _ in 0..3 {
        world.connect(SocketAddr::new(HOST_V4, 80));
        world.stack.bind_udp().unwrap();
    }
    let result = world.stack.connect(world.now, SocketAddr::new(HOST_V4, 80));
    assert_eq!(result, Err(ConnectError::TooManyConnections));
    assert_eq!(world.stack.bind_udp(), Err(ConnectError::TooManyConnections));
    assert_eq!(world.stack.counters().refused, 2);
}

#[test]
fn ports_towards_one_remote_run_out_without_harm_and_never_repeat() {
    let config =
        StackConfig { memory: usize::MAX, buffer: 4096, small_buffer: 4096, max_connections: usize::MAX, ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let remote = SocketAddr::new(HOST_V4, 80);
    let mut ports = HashSet::new();
    let error = loop {
        match world.stack.connect(world.now, remote) {
            Ok(id) => assert!(ports.insert(world.stack.local_addr(id).unwrap().port()), "a 5-tuple was given twice"),
            Err(error) => break error,
        }
    };
    assert_eq!((error, ports.len()), (ConnectError::NoPort, 16_384));
    assert!(ports.iter().all(|port| *port >= 49_152));
    // Another remote is another 5-tuple.
    world.stack.connect(world.now, SocketAddr::new(HOST_V4, 81)).unwrap();
}

#[test]
fn connections_closed_by_the_thousand_leave_nothing_and_no_lack_of_ports() {
    let config = StackConfig { memory: 1 << 20, buffer: 4096, small_buffer: 4096, ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let remote = SocketAddr::new(HOST_V4, 80);
    for _ in 0..20_000 {
        let id = establish(&mut world, remote);
        let local = SocketAddr::new(OURS_V4, world.stack.local_addr(id).unwrap().port());
        world.stack.release(id);
        let packets = world.take_packets();
        let fin = read_tcp(packets.last().unwrap()).unwrap();
        let answer = TcpRepr {
            control: TcpControl::Fin,
            seq_number: fin.tcp.ack_number.unwrap(),
            ack_number: Some(fin.tcp.seq_number + 1),
            ..SEGMENT
        };
        world.stack.handle_packet(world.now, &tcp(remote, local, answer));
        world.take_packets();
    }
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
}

#[test]
fn turns_are_fair_between_busy_connections_and_a_full_sink_loses_nothing() {
    let mut world = World::new();
    let (mut first, first_handle) = world.connected(80, 1 << 20);
    let (mut second, second_handle) = world.connected(81, 1 << 20);
    first.send(&pattern(400_000, 1));
    second.send(&pattern(400_000, 2));

    /// Takes three packets at a time.
    struct Narrow(Vec<Vec<u8>>);
    impl PacketSink for Narrow {
        fn has_room(&mut self) -> bool {
            self.0.len() < 3
        }
        fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
            assert!(self.0.len() < 3, "a packet without room");
            let mut packet = vec![0; len];
            fill(&mut packet);
            self.0.push(packet);
        }
    }
    let mut after_half = None;
    for _ in 0..100_000 {
        first.run(&mut world.stack);
        second.run(&mut world.stack);
        let mut sink = Narrow(Vec::new());
        world.stack.poll_packets(world.now, &mut sink);
        for packet in sink.0 {
            world.host.arrive(packet);
        }
        world.now += Duration::from_micros(100);
        for packet in world.host.poll(world.now) {
            world.stack.handle_packet(world.now, &packet);
        }
        if world.stack.poll_timeout().is_some_and(|at| at <= world.now) {
            world.stack.handle_timeout(world.now);
        }
        while let Some(event) = world.stack.poll_event() {
            assert!(first.on_event(event) || second.on_event(event));
        }
        let queues = [first_handle, second_handle].map(|handle| world.host.socket(handle).recv_queue());
        if queues.iter().sum::<usize>() > 400_000 && after_half.is_none() {
            after_half = Some(queues);
        }
        if queues == [400_000; 2] {
            break;
        }
    }
    let [a, b] = after_half.expect("half of the data arrived");
    assert!(a.abs_diff(b) < 100_000, "{a} and {b} bytes");
    for (handle, client) in [(first_handle, first), (second_handle, second)] {
        let mut received = vec![0; 400_000];
        assert_eq!(world.host.socket(handle).recv_slice(&mut received), Ok(400_000));
        assert!(received == client.to_send);
        assert_eq!(client.closed, None);
    }
}

#[test]
fn ends_nobody_asked_about_do_not_pile_up_while_nothing_can_be_sent() {
    let mut world = World::new();
    for _ in 0..50_000 {
        let id = world.connect(SocketAddr::new(HOST_V4, 80));
        world.stack.release(id);
    }
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
    assert!(world.stack.poll_timeout().is_none());
    let polls = world.stack.counters().polls;
    assert!(world.take_packets().is_empty(), "no SYN was ever sent, so nobody needs a RST");
    assert_eq!(world.stack.counters().polls, polls);
}

#[test]
fn unaddressable_remotes_are_refused() {
    let mut world = World::new();
    for text in ["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80", "10.0.0.1:0"] {
        let remote = text.parse().unwrap();
        assert_eq!(world.stack.connect(world.now, remote), Err(ConnectError::Unaddressable), "{text}");
    }
    let mapped = "[::ffff:192.168.100.30]:80".parse().unwrap();
    let id = world.stack.connect(world.now, mapped).unwrap();
    assert!(world.stack.local_addr(id).unwrap().is_ipv4());
}

#[test]
fn stack_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&World::new().stack);
    let client = Client::new(World::new().connect(SocketAddr::new(HOST_V4, 80)));
    assert!(!client.connected);
}

#[test]
fn idle_connections_need_no_wake_up() {
    let mut world = World::with(StackConfig { keepalive: None, ..config() }, Quality::PERFECT, seed());
    let (mut client, _) = world.connected(80, 64 << 10);
    client.send(b"done");
    world.run_for(&mut [&mut client], Duration::from_secs(60));
    assert_eq!(world.stack.poll_timeout(), None);
}

//! How connections end: in order, half, by RST from either side, by silence, and after their owner has gone.

use std::{net::SocketAddr, time::Duration};

use adit_netstack::{CloseReason, StackConfig, StackEvent};
use smoltcp::{
    iface::SocketHandle,
    socket::tcp::State,
    wire::{TcpControl, TcpRepr},
};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, read_tcp, tcp},
    link::Quality,
    world::{HOST_V4, OURS_V4, World, config, seed},
};

const SECOND: Duration = Duration::from_secs(1);

fn read_all(world: &mut World, handle: SocketHandle) -> Vec<u8> {
    let mut received = vec![0; 1 << 20];
    let len = world.host.socket(handle).recv_slice(&mut received).unwrap_or(0);
    received.truncate(len);
    received
}

#[test]
fn client_ends_its_direction_and_still_receives() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.send(b"question");
    client.shutdown = true;
    world.run(&mut [&mut client], |world, _| world.host.socket(handle).state() == State::CloseWait);
    assert_eq!(read_all(&mut world, handle), b"question");
    assert_eq!(world.stack.send(client.id, b"more"), Err(CloseReason::Finished));
    assert!(client.closed.is_none());
    world.host.socket(handle).send_slice(b"answer").unwrap();
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!((client.received.as_slice(), client.end, client.closed), (&b"answer"[..], false, None));
    world.host.socket(handle).close();
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!((client.end, client.error, client.closed), (true, None, Some(CloseReason::Finished)));
}

#[test]
fn host_ends_its_direction_and_still_receives() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.host.socket(handle).send_slice(b"banner").unwrap();
    world.host.socket(handle).close();
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!((client.received.as_slice(), client.end, client.closed), (&b"banner"[..], true, None));
    client.send(b"still talking");
    client.shutdown = true;
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!(read_all(&mut world, handle), b"still talking");
    assert_eq!((client.error, client.closed), (None, Some(CloseReason::Finished)));
}

#[test]
fn shutdown_before_the_handshake_takes_effect_after_it() {
    let mut world = World::new();
    let handle = world.host.listen(80, 4096);
    let mut client = Client::new(world.connect(SocketAddr::new(HOST_V4, 80)));
    world.stack.shutdown(client.id);
    world.run(&mut [&mut client], |world, clients| {
        clients[0].connected && world.host.socket(handle).state() == State::CloseWait
    });
}

#[test]
fn what_is_not_acknowledged_is_not_delivered() {
    let mut world = World::new();
    world.host.listen(80, 4096);
    let mut client = Client::new(world.connect(SocketAddr::new(HOST_V4, 80)));
    world.run(&mut [&mut client], |_, clients| clients[0].connected);
    assert!(world.stack.is_delivered(client.id), "nothing was sent");
    world.stack.send(client.id, b"last words").unwrap();
    world.stack.shutdown(client.id);
    assert!(!world.stack.is_delivered(client.id));
    world.run_for(&mut [&mut client], SECOND);
    assert!(world.stack.is_delivered(client.id));
    world.stack.abort(client.id);
    world.stack.release(client.id);
    assert!(world.stack.is_delivered(client.id), "there is nothing to wait for any more");
}

#[test]
fn closed_port_refuses() {
    let mut world = World::new();
    let mut client = Client::new(world.connect(SocketAddr::new(HOST_V4, 81)));
    let start = world.now;
    world.run(&mut [&mut client], |_, clients| clients[0].closed.is_some());
    assert_eq!((client.closed, client.error), (Some(CloseReason::Refused), Some(CloseReason::Refused)));
    assert_eq!(world.now - start, Duration::from_millis(10), "one round trip");
    world.stack.release(client.id);
    assert_eq!(world.stack.memory_used(), 0);
}

#[test]
fn reset_by_the_remote_ends_the_connection_but_not_what_was_received() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.lazy = true;
    world.host.socket(handle).send_slice(b"last words").unwrap();
    world.run_for(&mut [&mut client], SECOND);
    world.host.socket(handle).abort();
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!(client.closed, Some(CloseReason::Reset));
    assert_eq!(world.stack.send(client.id, b"x"), Err(CloseReason::Reset));
    assert_eq!(world.stack.memory_used(), b"last words".len());
    client.lazy = false;
    world.settle(&mut [&mut client]);
    assert_eq!((client.received.as_slice(), client.error), (&b"last words"[..], Some(CloseReason::Reset)));
}

#[test]
fn abort_resets_the_remote_at_once() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.send(&pattern(300_000, 1));
    world.run_for(&mut [&mut client], SECOND);
    world.stack.abort(client.id);
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!(world.host.socket(handle).state(), State::Closed);
    assert_eq!(client.closed, Some(CloseReason::Aborted));
    world.stack.release(client.id);
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
}

#[test]
fn both_ends_closing_at_once_finish() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.host.socket(handle).close();
    world.stack.shutdown(client.id);
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!((client.end, client.closed), (true, Some(CloseReason::Finished)));
    assert_eq!(world.stack.memory_used(), 0);
}

#[test]
fn released_connection_delivers_what_was_sent_and_vanishes() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 1 << 20);
    let data = pattern(30_000, 2);
    client.send(&data);
    world.settle(&mut [&mut client]);
    assert_eq!(client.sent, data.len());
    world.stack.release(client.id);
    world.run_for(&mut [&mut client], 5 * SECOND);
    assert!(read_all(&mut world, handle) == data);
    world.host.socket(handle).close();
    world.run_for(&mut [&mut client], 5 * SECOND);
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
    assert_eq!((client.closed, world.events.len()), (None, 0));
}

#[test]
fn released_connection_resets_a_remote_that_goes_on_sending() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.stack.release(client.id);
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!(world.host.socket(handle).state(), State::CloseWait);
    world.host.socket(handle).send_slice(b"anybody there?").unwrap();
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!(world.host.socket(handle).state(), State::Closed);
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
}

#[test]
fn release_with_unread_data_resets_the_remote() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    client.lazy = true;
    world.host.socket(handle).send_slice(b"unread").unwrap();
    world.run_for(&mut [&mut client], SECOND);
    world.seen = Some(Vec::new());
    world.stack.release(client.id);
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!(world.host.socket(handle).state(), State::Closed);
    let seen = world.seen.take().unwrap();
    let controls = seen.iter().map(|packet| read_tcp(packet).unwrap().tcp.control).collect::<Vec<_>>();
    assert_eq!(controls, [TcpControl::Rst], "no FIN that would say that all is well");
    assert_eq!(world.stack.memory_used(), 0);
}

#[test]
fn released_connection_gives_up_on_a_remote_that_never_closes() {
    let mut world = World::new();
    let (mut client, _) = world.connected(80, 64 << 10);
    world.stack.release(client.id);
    world.run_for(&mut [&mut client], Duration::from_secs(59));
    assert_eq!(world.stack.connection_count(), 1);
    world.run_for(&mut [&mut client], 2 * SECOND);
    assert_eq!((world.stack.memory_used(), world.stack.connection_count()), (0, 0));
}

#[test]
fn silence_to_a_syn_times_out_when_configured() {
    let config = StackConfig { connect_timeout: Duration::from_secs(7), ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    world.up.cut = true;
    let start = world.now;
    let mut client = Client::new(world.connect(SocketAddr::new(HOST_V4, 80)));
    world.run(&mut [&mut client], |_, clients| clients[0].closed.is_some());
    assert_eq!((client.closed, world.now - start), (Some(CloseReason::TimedOut), Duration::from_secs(7)));
    assert_eq!(world.stack.memory_used(), 0);
}

#[test]
fn connect_times_out_even_if_the_syn_could_never_leave() {
    let mut world = World::new();
    let id = world.connect(SocketAddr::new(HOST_V4, 80));
    let at = world.stack.poll_timeout().expect("a deadline without any poll_packets");
    world.stack.handle_timeout(at);
    assert_eq!(world.stack.poll_event(), Some(StackEvent::Closed(id, CloseReason::TimedOut)));
    assert_eq!(at - world.now, config().connect_timeout);
}

#[test]
fn unacknowledged_data_times_out_after_five_minutes() {
    let config = StackConfig { keepalive: None, ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let (mut client, _) = world.connected(80, 64 << 10);
    world.run_for(&mut [&mut client], Duration::from_secs(3600));
    assert_eq!(client.closed, None, "idle connections live on");
    world.up.cut = true;
    client.send(b"lost");
    let start = world.now;
    world.run(&mut [&mut client], |_, clients| clients[0].closed.is_some());
    assert_eq!((client.closed, world.now - start), (Some(CloseReason::TimedOut), Duration::from_secs(300)));
}

#[test]
fn keepalive_keeps_a_connection_and_finds_a_dead_remote() {
    let config = StackConfig { keepalive: Some(Duration::from_secs(10)), ..config() };
    let mut world = World::with(config, Quality::PERFECT, seed());
    let (mut client, _) = world.connected(80, 64 << 10);
    world.run_for(&mut [&mut client], Duration::from_secs(3600));
    assert_eq!(client.closed, None);
    world.up.cut = true;
    let start = world.now;
    world.run(&mut [&mut client], |_, clients| clients[0].closed.is_some());
    assert_eq!(client.closed, Some(CloseReason::TimedOut));
    assert!(world.now - start <= Duration::from_secs(40));
}

#[test]
fn time_wait_holds_no_buffers_and_acknowledges_a_repeated_fin() {
    let mut world = World::new();
    world.seen = Some(Vec::new());
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.stack.shutdown(client.id);
    world.run_for(&mut [&mut client], SECOND);
    world.host.socket(handle).close();
    world.run_for(&mut [&mut client], SECOND);
    assert_eq!((client.closed, world.stack.memory_used()), (Some(CloseReason::Finished), 0));
    world.stack.release(client.id);
    assert_eq!(world.stack.connection_count(), 0);

    let seen = world.seen.take().unwrap();
    let last = read_tcp(seen.last().unwrap()).unwrap();
    let acknowledged = last.tcp.ack_number.unwrap();
    let fin = TcpRepr {
        control: TcpControl::Fin,
        seq_number: acknowledged - 1,
        ack_number: Some(last.tcp.seq_number),
        ..SEGMENT
    };
    world.stack.handle_packet(world.now, &tcp(last.to, last.from, fin));
    let answers = world.take_packets();
    let answer = read_tcp(&answers[0]).unwrap();
    assert_eq!(answer.tcp.control, TcpControl::None);
    assert_eq!((answer.tcp.seq_number, answer.tcp.ack_number), (last.tcp.seq_number, Some(acknowledged)));

    // Not for ever: after the wait the segment belongs to nobody.
    world.now += Duration::from_secs(31);
    world.stack.handle_timeout(world.now);
    world.stack.handle_packet(world.now, &tcp(last.to, last.from, fin));
    assert_eq!(read_tcp(&world.take_packets()[0]).unwrap().tcp.control, TcpControl::Rst);
}

#[test]
fn segment_of_no_connection_is_answered_by_rst() {
    let mut world = World::new();
    let (from, to) = (SocketAddr::new(HOST_V4, 80), SocketAddr::new(OURS_V4, 50_000));
    let syn = TcpRepr { control: TcpControl::Syn, seq_number: smoltcp::wire::TcpSeqNumber(1000), ..SEGMENT };
    world.stack.handle_packet(world.now, &tcp(from, to, syn));
    let answers = world.take_packets();
    let answer = read_tcp(&answers[0]).unwrap();
    assert_eq!((answer.from, answer.to, answer.tcp.control), (to, from, TcpControl::Rst));
    assert_eq!(answer.tcp.ack_number, Some(syn.seq_number + 1));
    let rst = TcpRepr { control: TcpControl::Rst, ..SEGMENT };
    world.stack.handle_packet(world.now, &tcp(from, to, rst));
    assert!(world.take_packets().is_empty(), "a RST is never answered");
}

/// A connection that has received the host's FIN and sent its own: the local and remote sequence numbers after them.
fn waiting_for_the_last_acknowledgment(world: &mut World) -> (Client, Vec<u8>) {
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.host.socket(handle).close();
    world.run_for(&mut [&mut client], SECOND);
    world.stack.shutdown(client.id);
    world.up.cut = true;
    world.seen = Some(Vec::new());
    world.settle(&mut [&mut client]);
    let fin = world.seen.take().unwrap().remove(0);
    assert_eq!(read_tcp(&fin).unwrap().tcp.control, TcpControl::Fin);
    (client, fin)
}

#[test]
fn reset_instead_of_the_last_acknowledgment_is_no_error() {
    let mut world = World::new();
    let (mut client, fin) = waiting_for_the_last_acknowledgment(&mut world);
    let fin = read_tcp(&fin).unwrap();
    let rst = TcpRepr { control: TcpControl::Rst, seq_number: fin.tcp.ack_number.unwrap(), ..SEGMENT };
    world.stack.handle_packet(world.now, &tcp(fin.to, fin.from, rst));
    world.settle(&mut [&mut client]);
    assert_eq!((client.closed, client.error), (Some(CloseReason::Finished), None));
}

#[test]
fn fin_is_repeated_however_many_acknowledgments_come_twice() {
    let mut world = World::new();
    let (mut client, handle) = world.connected(80, 64 << 10);
    world.stack.shutdown(client.id);
    world.up.cut = true;
    world.seen = Some(Vec::new());
    world.settle(&mut [&mut client]);
    let seen = world.seen.take().unwrap();
    let fin = read_tcp(&seen[0]).unwrap();
    let repeated = TcpRepr { seq_number: fin.tcp.ack_number.unwrap(), ack_number: Some(fin.tcp.seq_number), ..SEGMENT };
    for _ in 0..5 {
        world.stack.handle_packet(world.now, &tcp(fin.to, fin.from, repeated));
        world.settle(&mut [&mut client]);
    }
    world.up.cut = false;
    world.run_for(&mut [&mut client], 5 * SECOND);
    assert_eq!(world.host.socket(handle).state(), State::CloseWait);
}

#[test]
fn fin_that_nobody_acknowledges_times_out_even_if_the_remote_keeps_talking() {
    let mut world = World::new();
    let (mut client, fin) = waiting_for_the_last_acknowledgment(&mut world);
    let fin = read_tcp(&fin).unwrap();
    let repeated = TcpRepr { seq_number: fin.tcp.ack_number.unwrap(), ack_number: Some(fin.tcp.seq_number), ..SEGMENT };
    let start = world.now;
    while client.closed.is_none() && world.now < start + Duration::from_secs(400) {
        world.stack.handle_packet(world.now, &tcp(fin.to, fin.from, repeated));
        world.run_for(&mut [&mut client], 10 * SECOND);
    }
    assert_eq!(client.closed, Some(CloseReason::TimedOut));
    assert!(world.now - start <= Duration::from_secs(310));
}

#[test]
fn fin_behind_data_that_arrived_before_is_understood() {
    let mut world = World::new();
    world.seen = Some(Vec::new());
    let (mut client, _) = world.connected(80, 64 << 10);
    let seen = world.seen.take().unwrap();
    let last = read_tcp(seen.last().unwrap()).unwrap();
    let data = TcpRepr {
        seq_number: last.tcp.ack_number.unwrap(),
        ack_number: Some(last.tcp.seq_number),
        payload: b"the end",
        ..SEGMENT
    };
    world.stack.handle_packet(world.now, &tcp(last.to, last.from, data));
    world.run_for(&mut [&mut client], Duration::from_millis(20));
    assert_eq!((client.received.as_slice(), client.end), (&b"the end"[..], false));
    let fin = TcpRepr { control: TcpControl::Fin, ..data };
    world.stack.handle_packet(world.now, &tcp(last.to, last.from, fin));
    world.settle(&mut [&mut client]);
    assert_eq!((client.received.as_slice(), client.end), (&b"the end"[..], true));
}

//! Connections that begin at the other end: announced, accepted, refused, and otherwise like any other.

use std::{net::SocketAddr, time::Duration};

use adit_netstack::{CloseReason, Endpoints, Refusal, StackConfig, StackEvent, Unreachable};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, read_tcp, tcp},
    link::Quality,
    pair::{GATEWAY_V4, Pair, answering},
    world::{HOST_V4, HOST_V6, OURS_V4, config, seed},
};

const SECOND: Duration = Duration::from_secs(1);

fn web() -> SocketAddr {
    SocketAddr::new(HOST_V4, 80)
}

/// A SYN from the client's address, as smoltcp writes it.
pub(crate) fn syn(port: u16, sequence: i32) -> Vec<u8> {
    let repr = TcpRepr {
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(sequence),
        max_seg_size: Some(1360),
        window_scale: Some(7),
        sack_permitted: true,
        ..SEGMENT
    };
    tcp(SocketAddr::new(OURS_V4, port), web(), repr)
}

/// Sends `up` and `down` at the same time, closes both directions, and compares.
pub(crate) fn exchange(mut pair: Pair, host: SocketAddr, up: &[u8], down: &[u8]) -> Pair {
    let mut ours = pair.connect(host);
    ours.to_send = up.to_vec();
    ours.shutdown = true;
    pair.run(&mut [&mut ours], &mut [], |pair, _, _| !pair.incoming.is_empty());
    let id = pair.incoming.remove(0);
    assert_eq!(pair.gateway.endpoints(id).unwrap().local, host);
    pair.gateway.accept(pair.now, id);
    let mut theirs = Client::new(id);
    theirs.to_send = down.to_vec();
    theirs.shutdown = true;
    pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| {
        ours[0].closed.is_some() && theirs[0].closed.is_some()
    });
    for (client, expected) in [(&ours, down), (&theirs, up)] {
        assert_eq!((client.closed, client.error), (Some(CloseReason::Finished), None));
        assert!(client.end && client.received == expected, "{} bytes", client.received.len());
    }
    pair.client.release(ours.id);
    pair.gateway.release(id);
    for stack in [&pair.client, &pair.gateway] {
        assert_eq!((stack.memory_used(), stack.connection_count(), stack.counters().bad_checksum), (0, 0, 0));
    }
    pair
}

#[test]
fn accepted_connections_carry_both_directions_over_ipv4_and_ipv6() {
    for host in [HOST_V4, HOST_V6, GATEWAY_V4] {
        exchange(Pair::new(), SocketAddr::new(host, 8080), &pattern(1_000_000, 1), &pattern(700_000, 2));
    }
}

#[test]
fn accepted_connections_survive_loss_reordering_and_duplication() {
    let quality = Quality {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(8),
        loss: 30,
        duplication: 10,
        ..Quality::PERFECT
    };
    let pair = Pair::with(config(), answering(), quality, seed());
    exchange(pair, web(), &pattern(300_000, 1), &pattern(300_000, 2));
}

#[test]
fn nothing_is_answered_and_little_is_held_before_the_owner_decides() {
    let mut pair = Pair::new();
    let mut ours = pair.connect(web());
    pair.run_for(&mut [&mut ours], &mut [], 5 * SECOND);
    assert_eq!(pair.incoming.len(), 1, "one event, however often the SYN is repeated");
    assert!(pair.gateway.memory_used() <= 512);
    assert_eq!((ours.connected, pair.gateway.counters().packets_out), (false, 0));
    let id = pair.incoming[0];
    let remote = SocketAddr::new(OURS_V4, pair.client.local_addr(ours.id).unwrap().port());
    assert_eq!(pair.gateway.endpoints(id), Some(Endpoints { local: web(), remote }));
    assert_eq!((pair.gateway.send(id, b"early"), pair.gateway.receive(id, &mut [0; 8])), (Ok(0), Ok(None)));
    pair.gateway.accept(pair.now, id);
    pair.gateway.accept(pair.now, id);
    let mut theirs = Client::new(id);
    pair.run_for(&mut [&mut ours], &mut [&mut theirs], SECOND);
    assert!(ours.connected && theirs.connected);
}

#[test]
fn refused_connection_ends_at_once_with_the_reason_given() {
    for (refusal, expected) in [
        (Refusal::Reset, CloseReason::Refused),
        (Refusal::Unreachable(Unreachable::Port), CloseReason::Unreachable(Unreachable::Port)),
        (Refusal::Unreachable(Unreachable::Host), CloseReason::Unreachable(Unreachable::Host)),
        (Refusal::Unreachable(Unreachable::Network), CloseReason::Unreachable(Unreachable::Network)),
        (Refusal::Unreachable(Unreachable::Prohibited), CloseReason::Unreachable(Unreachable::Prohibited)),
        (Refusal::Unreachable(Unreachable::Protocol), CloseReason::Unreachable(Unreachable::Protocol)),
        (Refusal::Unreachable(Unreachable::HopLimit), CloseReason::Unreachable(Unreachable::HopLimit)),
    ] {
        for host in [HOST_V4, HOST_V6] {
            let mut pair = Pair::new();
            let mut ours = pair.connect(SocketAddr::new(host, 80));
            pair.run(&mut [&mut ours], &mut [], |pair, _, _| !pair.incoming.is_empty());
            pair.gateway.refuse(pair.now, pair.incoming[0], refusal);
            pair.run_for(&mut [&mut ours], &mut [], SECOND / 10);
            assert_eq!(ours.closed, Some(expected), "{host}");
            assert_eq!((pair.gateway.memory_used(), pair.gateway.connection_count()), (0, 0));
            assert_eq!(pair.events, [], "the owner is done with it");
        }
    }
}

#[test]
fn undecided_connection_ends_in_silence_and_may_be_asked_for_again() {
    let mut pair = Pair::new();
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    pair.run_for(&mut [], &mut [], 31 * SECOND);
    let id = pair.incoming.remove(0);
    assert_eq!(pair.events, [StackEvent::Closed(id, CloseReason::TimedOut)]);
    assert_eq!((pair.gateway.counters().packets_out, pair.gateway.memory_used()), (0, 0));
    pair.gateway.accept(pair.now, id);
    pair.gateway.release(id);
    assert_eq!(pair.gateway.connection_count(), 0);
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    pair.run_for(&mut [], &mut [], SECOND);
    assert!(pair.incoming.len() == 1 && pair.incoming[0] != id);
}

#[test]
fn released_or_aborted_before_the_decision_is_refused() {
    for abort in [false, true] {
        let mut pair = Pair::new();
        let mut ours = pair.connect(web());
        pair.run(&mut [&mut ours], &mut [], |pair, _, _| !pair.incoming.is_empty());
        if abort {
            pair.gateway.abort(pair.incoming[0]);
        }
        pair.gateway.release(pair.incoming[0]);
        pair.run_for(&mut [&mut ours], &mut [], SECOND / 10);
        assert_eq!((ours.closed, pair.gateway.connection_count()), (Some(CloseReason::Refused), 0));
    }
}

#[test]
fn remote_that_gives_up_before_the_decision_is_told_about() {
    let mut pair = Pair::new();
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    let reset = TcpRepr { control: TcpControl::Rst, seq_number: TcpSeqNumber(8), ..SEGMENT };
    let forged = TcpRepr { seq_number: TcpSeqNumber(9), ..reset };
    let from = SocketAddr::new(OURS_V4, 5000);
    pair.gateway.handle_packet(pair.now, &tcp(from, web(), forged));
    pair.settle(&mut [], &mut []);
    assert_eq!(pair.events, []);
    pair.gateway.handle_packet(pair.now, &tcp(from, web(), reset));
    pair.settle(&mut [], &mut []);
    assert_eq!(pair.events, [StackEvent::Closed(pair.incoming[0], CloseReason::Reset)]);
}

#[test]
fn remote_that_begins_anew_is_answered_as_it_asked_last() {
    let mut pair = Pair::new();
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    pair.gateway.handle_packet(pair.now, &syn(5000, 70_000));
    pair.settle(&mut [], &mut []);
    assert_eq!(pair.incoming.len(), 1);
    pair.gateway.accept(pair.now, pair.incoming[0]);
    let answers = pair.answers();
    let answer = read_tcp(&answers[0]).unwrap();
    assert_eq!((answer.tcp.control, answer.tcp.ack_number), (TcpControl::Syn, Some(TcpSeqNumber(70_001))));
    assert_eq!((answer.tcp.max_seg_size, answer.tcp.sack_permitted), (Some(1360), true));
    assert!(answer.tcp.window_scale.is_some());
}

#[test]
fn syn_without_options_is_answered_without_those_that_need_consent() {
    let mut pair = Pair::new();
    let bare = TcpRepr { control: TcpControl::Syn, ..SEGMENT };
    pair.gateway.handle_packet(pair.now, &tcp(SocketAddr::new(OURS_V4, 5000), web(), bare));
    pair.settle(&mut [], &mut []);
    pair.gateway.accept(pair.now, pair.incoming[0]);
    let answers = pair.answers();
    let answer = read_tcp(&answers[0]).unwrap();
    assert_eq!((answer.tcp.window_scale, answer.tcp.sack_permitted), (None, false));
}

#[test]
fn accepted_connection_whose_handshake_never_ends_times_out_with_a_reset() {
    let mut pair = Pair::new();
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    pair.settle(&mut [], &mut []);
    let id = pair.incoming[0];
    pair.gateway.accept(pair.now, id);
    pair.down.cut = true;
    pair.run_for(&mut [], &mut [], 29 * SECOND);
    assert_eq!(pair.events, []);
    pair.now += 2 * SECOND;
    pair.gateway.handle_timeout(pair.now);
    let answers = pair.answers();
    assert_eq!(read_tcp(answers.last().unwrap()).unwrap().tcp.control, TcpControl::Rst);
    assert_eq!(pair.gateway.poll_event(), Some(StackEvent::Closed(id, CloseReason::TimedOut)));
}

#[test]
fn reset_in_answer_to_the_syn_ack_ends_the_connection() {
    let mut pair = Pair::new();
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    pair.settle(&mut [], &mut []);
    let id = pair.incoming[0];
    pair.gateway.accept(pair.now, id);
    let answers = pair.answers();
    let answer = read_tcp(&answers[0]).unwrap();
    let reset = TcpRepr { control: TcpControl::Rst, seq_number: answer.tcp.ack_number.unwrap(), ..SEGMENT };
    pair.gateway.handle_packet(pair.now, &tcp(answer.to, answer.from, reset));
    assert_eq!(pair.gateway.poll_event(), Some(StackEvent::Closed(id, CloseReason::Reset)));
    assert_eq!((pair.gateway.memory_used(), pair.answers().len()), (0, 0));
}

#[test]
fn half_close_works_from_either_end() {
    for gateway_first in [true, false] {
        let mut pair = Pair::new();
        let (mut ours, mut theirs) = pair.connected(web());
        let (first, second) = if gateway_first { (&mut theirs, &mut ours) } else { (&mut ours, &mut theirs) };
        first.send(b"the last of mine");
        first.shutdown = true;
        second.send(&pattern(100_000, 3));
        pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, theirs| {
            let (first, second) = if gateway_first { (&theirs[0], &ours[0]) } else { (&ours[0], &theirs[0]) };
            second.end && first.received.len() == 100_000
        });
        let (first, second) = if gateway_first { (&mut theirs, &mut ours) } else { (&mut ours, &mut theirs) };
        assert_eq!((first.closed, second.closed, &second.received[..]), (None, None, &b"the last of mine"[..]));
        second.shutdown = true;
        pair.run_for(&mut [&mut ours], &mut [&mut theirs], SECOND);
        assert_eq!([ours.closed, theirs.closed], [Some(CloseReason::Finished); 2]);
    }
}

#[test]
fn abort_of_either_end_resets_the_other() {
    for gateway_first in [true, false] {
        let mut pair = Pair::new();
        let (mut ours, mut theirs) = pair.connected(web());
        if gateway_first {
            pair.gateway.abort(theirs.id);
        } else {
            pair.client.abort(ours.id);
        }
        pair.run_for(&mut [&mut ours], &mut [&mut theirs], SECOND);
        let (first, second) = if gateway_first { (theirs, ours) } else { (ours, theirs) };
        assert_eq!((first.closed, second.closed), (Some(CloseReason::Aborted), Some(CloseReason::Reset)));
    }
}

#[test]
fn keepalive_finds_a_peer_that_is_gone() {
    let gateway = StackConfig { keepalive: Some(10 * SECOND), ..answering() };
    let mut pair = Pair::with(StackConfig { keepalive: None, ..config() }, gateway, Quality::PERFECT, seed());
    let (mut ours, mut theirs) = pair.connected(web());
    pair.run_for(&mut [&mut ours], &mut [&mut theirs], 3600 * SECOND);
    assert_eq!(theirs.closed, None);
    pair.up.cut = true;
    pair.run_for(&mut [&mut ours], &mut [&mut theirs], 41 * SECOND);
    assert_eq!(theirs.closed, Some(CloseReason::TimedOut));
}

/// A connection from port 5000 that has ended and is still remembered: number 9 would come next.
fn time_waiting(pair: &mut Pair) -> (SocketAddr, SocketAddr) {
    pair.gateway.handle_packet(pair.now, &syn(5000, 7));
    pair.settle(&mut [], &mut []);
    let id = pair.incoming.remove(0);
    pair.gateway.accept(pair.now, id);
    let answers = pair.answers();
    let answer = read_tcp(&answers[0]).unwrap();
    let (from, to) = (answer.to, answer.from);
    let ack = TcpRepr { seq_number: TcpSeqNumber(8), ack_number: Some(answer.tcp.seq_number + 1), ..SEGMENT };
    pair.gateway.handle_packet(pair.now, &tcp(from, to, ack));
    pair.gateway.shutdown(id);
    assert_eq!(read_tcp(pair.answers().last().unwrap()).unwrap().tcp.control, TcpControl::Fin);
    let fin = TcpRepr { control: TcpControl::Fin, ack_number: Some(answer.tcp.seq_number + 2), ..ack };
    pair.gateway.handle_packet(pair.now, &tcp(from, to, fin));
    pair.settle(&mut [], &mut []);
    assert!(pair.events.contains(&StackEvent::Closed(id, CloseReason::Finished)), "{:?}", pair.events);
    pair.gateway.release(id);
    (from, to)
}

#[test]
fn port_in_time_wait_takes_a_newer_syn_and_no_older_one() {
    let mut pair = Pair::new();
    let (from, to) = time_waiting(&mut pair);
    pair.gateway.handle_packet(pair.now, &syn(5000, 5));
    pair.settle(&mut [], &mut []);
    assert!(pair.incoming.is_empty(), "an old one is acknowledged again");
    pair.gateway.handle_packet(pair.now, &syn(5000, 10));
    pair.settle(&mut [], &mut []);
    assert_eq!(pair.incoming.len(), 1);
    // The end of the wait is not the end of the new one.
    pair.run_for(&mut [], &mut [], 29 * SECOND);
    pair.now += 3 * SECOND / 2;
    pair.gateway.accept(pair.now, pair.incoming[0]);
    let answers = pair.answers();
    let answer = read_tcp(&answers[0]).unwrap();
    let ack = TcpRepr { seq_number: TcpSeqNumber(11), ack_number: Some(answer.tcp.seq_number + 1), ..SEGMENT };
    pair.gateway.handle_timeout(pair.now);
    pair.gateway.handle_packet(pair.now, &tcp(from, to, ack));
    assert_eq!(pair.gateway.poll_event(), Some(StackEvent::Connected(pair.incoming[0])));
}

#[test]
fn port_in_time_wait_is_free_once_its_remote_resets_what_it_is_told_of() {
    let mut pair = Pair::new();
    let (from, to) = time_waiting(&mut pair);
    pair.gateway.handle_packet(pair.now, &syn(5000, 5));
    let answers = pair.answers();
    let told = read_tcp(&answers[0]).unwrap().tcp.ack_number.unwrap();
    for (sequence, taken) in [(told - 1, 0), (told + 1, 0), (told, 1)] {
        let reset = TcpRepr { control: TcpControl::Rst, seq_number: sequence, ..SEGMENT };
        pair.gateway.handle_packet(pair.now, &tcp(from, to, reset));
        pair.gateway.handle_packet(pair.now, &syn(5000, 5));
        pair.settle(&mut [], &mut []);
        assert_eq!(pair.incoming.len(), taken, "after a RST with {sequence:?}");
    }
}

#[test]
fn segments_of_no_connection_are_answered_by_a_reset() {
    let mut pair = Pair::new();
    let stray = TcpRepr { ack_number: Some(TcpSeqNumber(99)), payload: b"data", ..SEGMENT };
    pair.gateway.handle_packet(pair.now, &tcp(SocketAddr::new(OURS_V4, 5000), web(), stray));
    let answers = pair.answers();
    let answer = read_tcp(&answers[0]).unwrap();
    assert_eq!((answer.tcp.control, answer.tcp.seq_number), (TcpControl::Rst, TcpSeqNumber(99)));
}

#[test]
fn connections_of_a_peer_that_is_gone_end_and_others_stay() {
    let mut pair = Pair::new();
    let (_ours, mut theirs) = pair.connected(web());
    let (_waiting, _) = (pair.gateway.handle_packet(pair.now, &syn(5000, 7)), ());
    pair.gateway.reconfigure(pair.now, answering());
    pair.settle(&mut [], &mut [&mut theirs]);
    assert_eq!((theirs.closed, pair.incoming.len(), pair.events.len()), (None, 1, 0));
    pair.gateway.reconfigure(pair.now, StackConfig { peers: Vec::new(), ..answering() });
    pair.settle(&mut [], &mut [&mut theirs]);
    assert_eq!(theirs.closed, Some(CloseReason::LocalAddressGone));
    assert_eq!(pair.events, [StackEvent::Closed(pair.incoming[0], CloseReason::LocalAddressGone)]);
}

#[test]
fn gateway_may_connect_to_its_peers_and_to_nobody_else() {
    let mut pair = Pair::new();
    assert!(pair.gateway.connect(pair.now, SocketAddr::new(OURS_V4, 22)).is_ok());
    let other = SocketAddr::new(HOST_V4, 22);
    assert_eq!(pair.gateway.connect(pair.now, other), Err(adit_netstack::ConnectError::Unaddressable));
}

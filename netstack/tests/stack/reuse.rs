//! Ports that come again while a remote still remembers the connection before.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use adit_netstack::{CloseReason, Stack, StackEvent};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    craft::{SEGMENT, read_tcp, tcp},
    world::{HOST_V4, config, now, seed, take_packets},
};

/// A host that ends each connection first, and remembers it for a minute: as Linux does, it takes a new SYN meanwhile if its
/// number is greater than the last it has received, repeats its acknowledgment otherwise, and forgets all about it on a RST.
#[derive(Default)]
struct Host {
    open: HashMap<SocketAddr, Numbers>,
    remembered: HashMap<SocketAddr, (Numbers, Instant)>,
    /// Acknowledgments of what was over.
    repeated: usize,
    /// Connections for which a port came again while it was remembered.
    reused: usize,
    /// Every port was another's once, such as a client's before us with the same address: here are those that we have used, too.
    had_another: Option<HashSet<SocketAddr>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    ours: TcpSeqNumber,
    theirs: TcpSeqNumber,
    fin_sent: bool,
}

const MEMORY: Duration = Duration::from_secs(60);

impl Host {
    fn receive(&mut self, now: Instant, packet: &[u8]) -> Option<Vec<u8>> {
        let seen = read_tcp(packet)?;
        let (from, segment) = (seen.from, seen.tcp);
        let answer = |control, numbers: Numbers, ours| {
            let ack_number = Some(numbers.theirs);
            Some(tcp(seen.to, from, TcpRepr { control, seq_number: ours, ack_number, ..SEGMENT }))
        };
        self.remembered.retain(|_, (_, until)| *until > now);
        if self.had_another.as_mut().is_some_and(|used| used.insert(from)) {
            let numbers = Numbers { ours: TcpSeqNumber(7), theirs: segment.seq_number + 100_000, fin_sent: true };
            self.remembered.insert(from, (numbers, now + MEMORY));
        }
        if let Some((numbers, _)) = self.remembered.get(&from).copied() {
            let is_newer = segment.seq_number > numbers.theirs;
            if segment.control == TcpControl::Syn && !is_newer {
                self.repeated += 1;
                return answer(TcpControl::None, numbers, numbers.ours);
            }
            let is_reset = segment.control == TcpControl::Rst && segment.seq_number == numbers.theirs;
            if segment.control == TcpControl::Syn || is_reset {
                self.reused += usize::from(!is_reset);
                self.remembered.remove(&from);
            }
        }
        if segment.control == TcpControl::Syn {
            let numbers = Numbers { ours: TcpSeqNumber(1000), theirs: segment.seq_number + 1, fin_sent: false };
            self.open.insert(from, Numbers { ours: numbers.ours + 1, ..numbers });
            return answer(TcpControl::Syn, numbers, numbers.ours);
        }
        let numbers = self.open.get_mut(&from)?;
        if segment.control == TcpControl::Fin {
            let numbers = Numbers { theirs: segment.seq_number + segment.payload.len() + 1, ..*numbers };
            self.open.remove(&from);
            self.remembered.insert(from, (numbers, now + MEMORY));
            return answer(TcpControl::None, numbers, numbers.ours);
        }
        if numbers.fin_sent {
            return None;
        }
        let before = *numbers;
        *numbers = Numbers { ours: before.ours + 1, fin_sent: true, ..before };
        answer(TcpControl::Fin, before, before.ours)
    }
}

/// Connects, and ends when the host does; says how long that took.
fn visit(stack: &mut Stack, host: &mut Host, now: &mut Instant) -> Duration {
    let start = *now;
    let id = stack.connect(*now, SocketAddr::new(HOST_V4, 80)).unwrap();
    let mut finished = false;
    while !finished {
        let packets = take_packets(stack, *now);
        for packet in &packets {
            if let Some(answer) = host.receive(*now, packet) {
                stack.handle_packet(*now, &answer);
            }
        }
        while let Some(event) = stack.poll_event() {
            if event == StackEvent::Readable(id) && stack.receive(id, &mut [0; 100]) == Ok(Some(0)) {
                stack.shutdown(id);
            }
            if let StackEvent::Closed(_, reason) = event {
                assert_eq!(reason, CloseReason::Finished);
                finished = true;
            }
        }
        if packets.is_empty() && !finished {
            *now = stack.poll_timeout().expect("something is left to happen").max(*now);
            stack.handle_timeout(*now);
        }
    }
    stack.release(id);
    *now - start
}

#[test]
fn of_thirty_thousand_connections_a_minute_none_waits_for_its_port() {
    let (mut stack, mut host, mut now) = (Stack::new(config(), seed()), Host::default(), now());
    let mut slow = 0;
    for _ in 0..30_000 {
        slow += usize::from(visit(&mut stack, &mut host, &mut now) > Duration::from_millis(100));
        now += Duration::from_millis(2);
    }
    assert!(host.reused > 10_000, "{} ports have come again", host.reused);
    assert_eq!((slow, host.repeated), (0, 0));
}

#[test]
fn a_remote_that_remembers_greater_numbers_is_asked_again_at_once() {
    let (mut stack, mut now) = (Stack::new(config(), seed()), now());
    let mut host = Host { had_another: Some(HashSet::new()), ..Host::default() };
    for visits in 1..=100 {
        assert_eq!(visit(&mut stack, &mut host, &mut now), Duration::ZERO);
        assert_eq!(host.repeated, visits);
    }
}

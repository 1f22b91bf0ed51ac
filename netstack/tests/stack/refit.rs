//! Sockets exchanged under their connections where the remote, the path or the budget is not as it should be.

use std::time::Duration;

use adit_netstack::StackConfig;
use proptest::{
    prelude::{Just, ProptestConfig, any},
    prop_oneof, proptest,
};
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use crate::{
    client::{Client, pattern},
    craft::{SEGMENT, read_tcp, tcp},
    link::Quality,
    pair::{Pair, answering},
    sizes::{KIB, LEAST, path},
    world::{HOST_V4, OURS_V4, config, seed},
};

#[test]
fn idle_connections_give_back_also_when_more_than_half_of_the_memory_is_taken() {
    let quality = Quality { queue: None, ..path(40) };
    let mut pair = Pair::with(StackConfig { memory: 2 << 20, ..config() }, answering(), quality, seed());
    let (mut ours, mut theirs) = pair.connected((HOST_V4, 80).into());
    theirs.send(&pattern(4_000_000, 1));
    pair.run(&mut [&mut ours], &mut [&mut theirs], |_, ours, _| ours[0].received.len() == 4_000_000);
    let grown = pair.client.memory_used();
    assert!(grown > 512 * KIB, "{grown}");
    let others: Vec<_> = (0..25).map(|_| pair.connect((HOST_V4, 81).into())).collect();
    assert!(pair.client.memory_used() > 1 << 20, "more than half");
    pair.run_for(&mut [&mut ours], &mut [&mut theirs], Duration::from_secs(15));
    assert_eq!(pair.client.memory_used(), (1 + others.len()) * LEAST);
}

/// A connection to the gateway, made segment by segment.
struct Crafted {
    pair: Pair,
    client: Client,
    /// The sequence number of the first byte, and what of it comes next.
    first: usize,
    at: usize,
    next: TcpSeqNumber,
}

impl Crafted {
    fn new(syn: TcpRepr<'_>) -> Self {
        let mut pair = Pair::new();
        let syn = TcpRepr { control: TcpControl::Syn, seq_number: TcpSeqNumber(6), ..syn };
        pair.gateway.handle_packet(pair.now, &tcp((OURS_V4, 5000).into(), (HOST_V4, 80).into(), syn));
        pair.settle(&mut [], &mut []);
        let client = Client::new(pair.incoming[0]);
        pair.gateway.accept(pair.now, client.id);
        let next = read_tcp(&pair.answers()[0]).unwrap().tcp.seq_number + 1;
        Self { pair, client, first: 7, at: 0, next }
    }

    /// Hands the gateway these bytes of the data.
    fn give(&mut self, data: &[u8], from: usize, len: usize) {
        let seq_number = TcpSeqNumber(0) + self.first + from;
        let payload = &data[from..from + len];
        let segment = TcpRepr { seq_number, ack_number: Some(self.next), payload, ..SEGMENT };
        self.pair.gateway.handle_packet(self.pair.now, &tcp((OURS_V4, 5000).into(), (HOST_V4, 80).into(), segment));
    }

    /// Its owner reads all there is.
    fn read(&mut self) {
        while let Some(event) = self.pair.gateway.poll_event() {
            self.client.on_event(event);
        }
        self.client.run(&mut self.pair.gateway);
    }

    fn used(&self) -> usize {
        self.pair.gateway.memory_used()
    }

    /// Sends in order until the gateway's buffers have grown, or for 200 KB; at once after that, a segment across the end of the
    /// receive buffer, then all before it, read by nobody.
    fn overrun(&mut self, data: &[u8]) {
        for _ in 0..200 {
            self.give(data, self.at, 1000);
            self.at += 1000;
            self.read();
            if self.used() > LEAST {
                break;
            }
            self.pair.answers();
        }
        self.client.lazy = true;
        let end = self.at + self.used() - (LEAST - 16 * KIB);
        self.give(data, end - 300, 1000);
        let mut from = self.at;
        while from < end - 300 {
            let len = 1000.min(end - 300 - from);
            self.give(data, from, len);
            from += len;
        }
        self.client.lazy = false;
        self.read();
        // What came before the end was taken, nothing beyond.
        let received = &self.client.received;
        assert!(received.len() <= end && data.starts_with(received), "{} of {end}", received.len());
        assert!(received.len() >= self.at, "{} of {}", received.len(), self.at);
    }
}

#[test]
fn a_remote_that_names_no_segment_size_cannot_write_beyond_the_buffer() {
    let data = pattern(800_000, 1);
    for max_seg_size in [Some(0), Some(1), Some(1360), None] {
        let mut crafted = Crafted::new(TcpRepr { max_seg_size, window_scale: Some(4), ..SEGMENT });
        crafted.overrun(&data);
        assert!(crafted.used() > LEAST, "{max_seg_size:?}: it has grown");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_options_of_a_syn_let_a_remote_write_beyond_the_buffer(
        size in prop_oneof![Just(Some(0)), any::<Option<u16>>()],
        scale in any::<Option<u8>>(),
        sack_permitted in any::<bool>(),
        window_len in any::<u16>(),
    ) {
        let data = pattern(800_000, 1);
        let syn = TcpRepr { max_seg_size: size, window_scale: scale, sack_permitted, window_len, ..SEGMENT };
        Crafted::new(syn).overrun(&data);
    }
}

//! TCP and UDP endpoints over inner IP packets: no root, no device, no I/O, no clock.
//!
//! A tunnel carries IP packets; its users want to connect to a port. [`Stack`] is what lies between: packets that come
//! out of the tunnel go in, packets for the tunnel come out, and connections are driven by their [`ConnectionId`]. It
//! knows neither the tunnel's protocol nor the driver.
//!
//! ```text
//!   owner of a connection  connect │ accept │ refuse  send  receive  shutdown  abort  release  poll_event
//!                                      │       │      ▲        │        │       │     Incoming  │ Connected │ Readable
//!                                      │       │      │        │        │       │     Writable  │ Closed
//!                                      ▼       ▼      │        ▼        ▼       ▼     UdpIncoming │ UdpReadable │ UdpError │ UdpClosed
//!                    ┌────────────────────────────────────────────────────────────────────────────────────────┐
//!   handle_packet ──▶│ checked once ─▶ 5-tuple ─▶ one connection: a smoltcp interface and socket of its own   │
//!                    │      │                                         │ something happened                    │
//!                    │      ├─▶ ICMP error ─▶ the attempt it is about ▼                                       │
//!                    │      └─▶ UDP port             queue of those that may have something to send ──────────│──▶ poll_packets
//!   handle_timeout ─▶│ deadlines, sorted ──────────▶          (each in its turn)                              │    into a PacketSink
//!                    └────────────────────────────────────────────────────────────────────────────────────────┘
//!                        poll_timeout: the earliest deadline                        all buffers: one budget of bytes
//! ```
//!
//! smoltcp walks through all sockets of an interface for every packet, so each connection has an interface to itself, and
//! an idle one costs nothing while another is busy.
//!
//! # The loop
//!
//! After any input, fetch events, then packets, then the time-out:
//!
//! ```
//! use std::{net::SocketAddr, time::Instant};
//!
//! use adit_netstack::{PacketSink, Stack, StackConfig, StackEvent};
//!
//! /// A batch for the tunnel: here, a list of packets.
//! struct Batch(Vec<Vec<u8>>);
//!
//! impl PacketSink for Batch {
//!     fn has_room(&mut self) -> bool {
//!         self.0.len() < 64
//!     }
//!     fn packet(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) {
//!         let mut packet = vec![0; len];
//!         fill(&mut packet);
//!         self.0.push(packet);
//!     }
//! }
//!
//! /// What a driver does after each input.
//! fn drain(stack: &mut Stack, now: Instant, batch: &mut Batch) -> Option<Instant> {
//!     while let Some(event) = stack.poll_event() {
//!         match event {
//!             StackEvent::Connected(id) => {
//!                 let _taken = stack.send(id, b"GET / HTTP/1.0\r\n\r\n");
//!             }
//!             StackEvent::Readable(id) => {
//!                 let mut buf = [0; 4096];
//!                 while let Ok(Some(len)) = stack.receive(id, &mut buf) {
//!                     if len == 0 {
//!                         stack.shutdown(id); // the remote has ended its direction: we end ours
//!                         break;
//!                     }
//!                     println!("{} bytes", len);
//!                 }
//!             }
//!             StackEvent::Closed(id, reason) => {
//!                 println!("{reason}");
//!                 stack.release(id);
//!             }
//!             _ => {}
//!         }
//!     }
//!     stack.poll_packets(now, batch);
//!     stack.poll_timeout()
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (seed, now) = (0, Instant::now());
//! let config = StackConfig { addresses: vec!["10.8.0.2".parse()?], mtu: 1400, tcp_mtu: 1400, ..StackConfig::default() };
//! let mut stack = Stack::new(config, seed);
//! let remote: SocketAddr = "192.168.100.30:8080".parse()?;
//! stack.connect(now, remote)?;
//! let mut batch = Batch(Vec::new());
//! let wake_at = drain(&mut stack, now, &mut batch);
//! assert_eq!(batch.0.len(), 1, "the SYN");
//! assert!(wake_at.is_some(), "it will be repeated");
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! * TCP connect over IPv4 and IPv6: half-close either way, RST either way, backpressure by the TCP window, Cubic, delayed
//!   acknowledgments, keep-alive, window scaling. No Nagle: the owner decides how much it gives at a time.
//! * With [`Accept::Any`] it answers for every address, as a gateway does that relays what its peers want: a SYN waits, almost for
//!   free, until its owner has connected on the other side and calls [`Stack::accept`], or [`Stack::refuse`]. UDP comes in
//!   associations, one for each source and destination, closed when idle. Packets from others than [`StackConfig::peers`] are
//!   dropped. Echo requests are answered for our own addresses alone. Where a connection may lead is for the owner to
//!   judge: the loopback addresses of the machine it runs on are destinations like any other to the stack.
//! * A host that serves may [`listen`](Stack::listen) on ports of its own addresses, and [bind](Stack::bind_udp_port) UDP ports that
//!   anybody may send to. [`Stack::ping`] sends an echo request, [`StackEvent::Pong`] tells of its answer.
//! * UDP over both, one port per socket. A remote may send to a socket while it was sent to within
//!   [`StackConfig::udp_idle`], as behind a firewall. An MTU too small for a datagram is an error, we make no fragments.
//! * ICMP errors end attempts to connect at once; they never end a connection that exists (RFC 5927). "Packet too big"
//!   makes the segments of a connection smaller. Both only if the quoted sequence number is one under way.
//! * Fragments of inner packets are put together, at most 512 KiB and 30 seconds of them.
//! * Answers strangers by RST, port unreachable, echo reply: 100 a second, 50 at once.
//! * After a FIN from both sides the buffers are gone; what remains of TIME-WAIT are five numbers, for 30 seconds and for
//!   at most 4096 connections. Local ports are taken in turn (RFC 6056 §3.3.5): some 11,000 connections lie between one use and the next.
//!   Where the remote has not forgotten the connection before by then, it knows the SYN for a new one, as sequence numbers begin higher
//!   each time (RFC 6528); if it knows still higher ones, the SYN comes again at once behind the RST that ends them.
//!
//! # What it does not
//!
//! * Simultaneous open (RFC 9293 MUST-10); SYN cookies: what was accepted has its buffers from then on.
//! * SACK as a sender, timestamps, ECN, path MTU probing: smoltcp 0.14 has none of them. It is
//!   near Cubic's theory under random loss, and slow under long bursts, or where packets overtake more than two others
//!   (`tests/stack/snapshots` has figures). What is in flight is therefore held to about twice what the path carries, so that
//!   less is lost; and a time-out takes 200 ms besides the round trip, as in Linux, not smoltcp's second.
//! * A socket keeps its buffers, so a connection whose buffers grow gets another socket, and does so only while nothing of ours is in
//!   flight: at the end of a send buffer that is too small we stop for a round trip, three times at most. From our FIN until it is
//!   acknowledged nothing grows, nor does the receive buffer of an owner that has not read half of it. What is unread when silence
//!   comes stays where it is; what came out of order is lost with the larger buffer and has to be sent again (RFC 2018 §8).
//! * A RST anywhere in the window ends a connection; RFC 5961 §3 would want it exact. Inside a tunnel there is nobody who
//!   can send in another's name without seeing its packets.
//! * After an outage the timers of TCP decide when a connection goes on, up to 60 seconds later.
//!
//! # Features
//!
//! There are none to choose. Rust 1.91 or newer (`rust-version`).
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)]

mod associations;
mod budget;
mod clock;
mod config;
mod connection;
mod counters;
mod datagrams;
mod demux;
mod device;
mod error;
mod flight;
mod icmp;
mod incoming;
mod ingress;
mod live;
mod outbox;
mod owned;
mod packet;
mod ping;
mod random;
mod reassembly;
mod recovery;
mod rto;
mod segment;
mod slots;
mod stack;
mod udp;

/// The ICMP error about a packet that goes nowhere, for whoever sent it from this machine: as from its destination, so that every check of
/// where it comes from lets it pass. `None` about what must not be answered so: fragments, and ICMP but for echo requests (RFC 1122
/// §3.2.2, RFC 4443 §2.4).
#[must_use]
pub fn refusal(packet: &[u8], reason: Unreachable) -> Option<Vec<u8>> {
    icmp::refusal(packet, reason)
}

pub use budget::MemoryPool;
pub use config::{Accept, StackConfig};
pub use connection::ConnectionId;
pub use counters::Counters;
pub use demux::Endpoints;
pub use device::PacketSink;
pub use error::{CloseReason, ConnectError, ConnectionError, UdpError, Unreachable};
pub use incoming::Refusal;
pub use ping::PingId;
pub use stack::{Stack, StackEvent};
pub use udp::UdpId;

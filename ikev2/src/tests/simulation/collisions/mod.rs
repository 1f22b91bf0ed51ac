//! What both ends want at once, and what comes at the wrong time (RFC 7296 §2.8, §2.25): every IKE datagram is carried by hand,
//! while packets flow by themselves. Names are those of strongSwan's collision suite.
//!
//! In the diagrams A is the end that begins, and B the other; every test is run with the client as A, and with the gateway. What
//! is drawn with a bend is late, what ends in `x` is lost:
//!
//! ```text
//!  request ---->  <---- answer        request --\ /-- request of B        request ---x
//!                                                X
//!                                             --/ \-->
//! ```

mod child_create;
mod child_delete;
mod child_rekey;
mod ike_delete;
mod ike_rekey;

use std::time::Duration;

use adit_testing::{Datagram, End, TrafficReport};
use adit_tunnel::{CloseKind, PeerId, Tunnel};

use super::{Ends, Nonces, World, settled};
use crate::{
    established::Established,
    exchange::{Exchange, Wanted},
    sa::Context,
    tests::{millis, secs},
};

/// An end, by its part in the diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    A,
    B,
}
use Part::{A, B};

/// Whose nonce is the lowest of four, in whose exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lowest {
    by: Part,
    exchange: Part,
}

const LOWEST: [Lowest; 4] = [
    Lowest { by: A, exchange: A },
    Lowest { by: B, exchange: A },
    Lowest { by: B, exchange: B },
    Lowest { by: A, exchange: B },
];

/// Both ends, and the hand that carries their datagrams.
struct Table {
    world: World,
    /// The end that A is.
    a: End,
    peer: PeerId,
    nonces: [Nonces; 2],
    /// The SPIs of the children that A and B asked for last, of their own.
    asked_for: [u32; 2],
}

/// With either end as A.
fn tables() -> impl Iterator<Item = Table> {
    tables_with(|_| {})
}

fn tables_with(change: impl Fn(&mut Ends)) -> impl Iterator<Item = Table> {
    [End::Client(0), End::Listener].into_iter().map(move |a| Table::new(a, &change))
}

/// With either end as A, and each nonce of two crossing exchanges as the lowest; the exchange named loses.
fn crossings() -> impl Iterator<Item = (Table, Part)> {
    crossings_with(|_| {}, 0)
}

/// `tries` come to nothing before.
fn crossings_with(change: impl Fn(&mut Ends), tries: usize) -> impl Iterator<Item = (Table, Part)> {
    LOWEST.into_iter().flat_map(move |lowest| {
        let tables: Vec<_> = tables_with(&change).collect();
        tables.into_iter().map(move |table| {
            for end in [A, B] {
                let nonce = |exchange| if lowest == (Lowest { by: end, exchange }) { 0 } else { 0x80 };
                table.nonces_of(end).will_be(&vec![0x40; tries]);
                // Each asks before it answers.
                table.nonces_of(end).will_be(&[nonce(end), nonce(end.other())]);
            }
            (table, lowest.exchange)
        })
    })
}

/// Both want another group than they begin with.
fn another_group(ends: &mut Ends) {
    // Each begins with its first.
    ends.client.esp_proposals = "aes256gcm16-x25519-ecp256".parse().unwrap();
    ends.gateway.esp_proposals = "aes256gcm16-ecp384-ecp256".parse().unwrap();
    ends.client.ike_proposals = "aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap();
    ends.gateway.ike_proposals = "aes256gcm16-prfsha256-ecp384-ecp256".parse().unwrap();
}

impl Part {
    const fn other(self) -> Self {
        match self {
            A => B,
            B => A,
        }
    }
}

impl Table {
    fn new(a: End, change: &dyn Fn(&mut Ends)) -> Self {
        let plan = Ends::new(|ends| {
            ends.both(|settings| {
                // Otherwise the client has something to say after each rekeying of the IKE SA.
                settings.mobike = false;
                // Nothing is sent again in the midst of a diagram, but where it says so.
                settings.retransmission.first = secs(2);
            });
            change(ends);
        })
        .plan();
        let nonces = [Nonces::default(), Nonces::default()];
        let mut world = plan.start_with(1, &nonces[0], &nonces[1]);
        world.come_up();
        world.by_hand();
        world.start_traffic(millis(5), 100);
        let peer = world.newest_peer();
        let mut table = Self { world, a, peer, nonces, asked_for: [0; 2] };
        table.packets_travel();
        table
    }

    const fn end(&self, part: Part) -> End {
        match (part, self.a) {
            (A, a) => a,
            (B, End::Client(_)) => End::Listener,
            (B, End::Listener) => End::Client(0),
        }
    }

    const fn is_client(&self, part: Part) -> bool {
        matches!(self.end(part), End::Client(_))
    }

    const fn nonces_of(&self, part: Part) -> &Nonces {
        let [client, gateway] = &self.nonces;
        if self.is_client(part) { client } else { gateway }
    }

    fn established(&mut self, part: Part) -> &mut Established {
        self.association(part).unwrap_or_else(|| panic!("{part:?} has no association"))
    }

    fn association(&mut self, part: Part) -> Option<&mut Established> {
        match self.end(part) {
            End::Client(client) => self.world.clients[client].driven.tunnel.established(),
            End::Listener => self.world.listener.peers.get_mut(&self.peer)?.driven.tunnel.established(),
        }
    }

    /// The SPI of its own of the only child that an end has in use.
    fn child(&mut self, part: Part) -> u32 {
        let in_use: Vec<_> = self.established(part).children.iter().filter(|child| child.is_in_use()).collect();
        assert_eq!(in_use.len(), 1, "{part:?} has in use: {in_use:?}");
        in_use[0].spi_in
    }

    fn children(&mut self, part: Part) -> usize {
        self.established(part).children.len()
    }

    fn sas(&mut self, part: Part) -> usize {
        self.established(part).sas.len()
    }

    fn wants(&mut self, part: Part, wanted: Wanted) {
        match self.end(part) {
            End::Client(client) => self.world.with_client(client, |tunnel, now| tunnel.want(now, wanted)),
            End::Listener => {
                self.world.with_peer(self.peer, |tunnel, now| tunnel.want(now, wanted)).expect("the peer is there");
            }
        }
    }

    /// Its child in use is due.
    fn rekeys_child(&mut self, part: Part) {
        let child = self.child(part);
        self.wants(part, Wanted::RekeyChild(child));
        self.note_request(part);
    }

    fn rekeys_ike(&mut self, part: Part) {
        self.wants(part, Wanted::RekeyIke);
    }

    /// Its child in use, which it wants no longer.
    fn deletes_child(&mut self, part: Part) {
        let child = self.child(part);
        self.wants(part, Wanted::DeleteChild(child));
    }

    fn closes(&mut self, part: Part) {
        match self.end(part) {
            End::Client(client) => self.world.with_client(client, |tunnel, now| tunnel.close(now)),
            End::Listener => {
                self.world.with_peer(self.peer, |tunnel, now| tunnel.close(now)).expect("the peer is there");
            }
        }
    }

    /// Its half of a child is lost, as when it goes in the middle of something; nobody is told.
    fn loses(&mut self, part: Part, child: u32) {
        let lose = |established: &mut Established, cx: &mut Context<'_>| {
            established.remove_child(cx, child);
        };
        match self.end(part) {
            End::Client(client) => self.world.with_client(client, |tunnel, now| tunnel.act(now, lose)),
            End::Listener => {
                self.world.with_peer(self.peer, |tunnel, now| tunnel.act(now, lose)).expect("the peer is there");
            }
        }
    }

    /// Remembers the SPI of the child it asks for just now.
    fn note_request(&mut self, part: Part) {
        let sas = self.association(part).map_or(&[][..], |established| &established.sas[..]);
        let asked = sas.iter().find_map(|sa| match &sa.exchange {
            Some(Exchange::CreateChild(exchange)) => Some(exchange.spi_in()),
            Some(_) | None => None,
        });
        if let Some(asked) = asked {
            self.asked_for[part as usize] = asked;
        }
    }

    /// The one datagram that an end has sent gets a name, to arrive later.
    fn keep(&mut self, name: &str, from: Part) {
        let end = self.end(from);
        self.world.keep(name, end);
        self.packets_travel();
    }

    /// The first datagram that an end has sent gets a name, to arrive later; it has sent others.
    fn keep_first(&mut self, from: Part) -> Datagram {
        let end = self.end(from);
        self.world.says_first(end)
    }

    fn hears(&mut self, said: Datagram) {
        self.world.deliver(said);
        self.packets_travel();
    }

    fn arrives(&mut self, name: &str) {
        self.world.arrives(name);
        self.note_request(A);
        self.note_request(B);
        self.packets_travel();
    }

    /// Its one datagram arrives.
    fn carry(&mut self, from: Part) {
        let end = self.end(from);
        self.world.carry(end);
        self.note_request(A);
        self.note_request(B);
        self.packets_travel();
    }

    /// The one datagram of an end arrives, and the one in return, and so does nothing else.
    fn exchange(&mut self, from: Part) {
        self.carry(from);
        self.carry(from.other());
    }

    /// The one datagram of an end is lost.
    fn lose(&mut self, from: Part) {
        let end = self.end(from);
        self.world.says(end);
        self.packets_travel();
    }

    fn is_silent(&self, part: Part) {
        self.world.is_silent(self.end(part));
    }

    /// Packets arrive, and new ones leave.
    fn packets_travel(&mut self) {
        self.world.run(millis(15));
    }

    fn waits(&mut self, time: Duration) {
        self.world.run(time);
    }

    /// For what takes minutes.
    fn slower_packets(&mut self) {
        self.world.stop_traffic().assert_nothing_lost();
        self.world.start_traffic(millis(500), 100);
    }

    /// What an end has sent last; whatever it sent before is lost.
    fn says_last(&mut self, part: Part) -> Datagram {
        let end = self.end(part);
        self.world.says_all(end).pop().unwrap_or_else(|| panic!("{part:?} says nothing"))
    }

    /// The new child is the one that this end asked for last.
    fn assert_child_is_of(&mut self, part: Part) {
        let asked = self.asked_for[part as usize];
        assert_eq!(self.child(part), asked, "{part:?} did not ask for the child in use");
    }

    /// The IKE SA in use was made by this end.
    fn assert_ike_is_of(&mut self, part: Part) {
        for end in [A, B] {
            let ours = self.established(end).current().expect("an IKE SA is in use").ike.ours;
            assert_eq!(ours, end == part, "as {end:?} sees it");
        }
    }

    /// What was begun goes on by itself. No packet was lost, and there was always a key to seal one with.
    fn settle(&mut self) {
        let report = self.finish();
        report.assert_nothing_lost();
    }

    /// There was a time without a child. What could be sealed was not lost.
    fn settle_after_a_gap(&mut self) {
        let report = self.finish();
        assert!(report.lost.is_empty() && report.duplicated == 0 && report.unsealed > 0, "{report:?}");
    }

    /// The same, and the gateway sealed what the client had no key for yet: its only child is used at once.
    fn settle_after_a_gap_with_losses(&mut self) {
        let report = self.finish();
        let of_gateway = |(name, _): &(String, Vec<u64>)| name.contains("listener");
        assert!(report.lost.iter().all(of_gateway) && report.duplicated == 0 && report.unsealed > 0, "{report:?}");
    }

    /// Packets were sealed for which the other end had no key yet.
    fn settle_after_losses(&mut self) {
        let report = self.finish();
        assert!(!report.lost.is_empty() && report.duplicated == 0, "{report:?}");
    }

    fn finish(&mut self) -> TrafficReport {
        self.world.let_go();
        self.waits(secs(10));
        let report = self.world.stop_traffic();
        // Longer than anything lingers.
        self.waits(secs(240));
        self.assert_settled();
        report
    }

    /// Both ends agree; there is one of everything, and no timer without a cause.
    fn assert_settled(&mut self) {
        assert!(self.world.clients[0].driven.is_up(), "{:?}", self.world.clients[0].driven.closed());
        assert_eq!((self.nonces[0].left(), self.nonces[1].left()), (0, 0), "nonces that were not drawn");
        if let Err(why) = settled(&mut self.world) {
            panic!("{why}");
        }
    }

    /// The association is over for both ends, for these reasons, and nothing is left.
    fn assert_over(&mut self, client: CloseKind, gateway: CloseKind) {
        self.world.let_go();
        self.waits(secs(60));
        let report = self.world.stop_traffic();
        assert!(report.duplicated == 0, "{report:?}");
        let end = &self.world.clients[0].driven;
        assert_eq!(end.closed().map(|closed| closed.kind), Some(client));
        let departed: Vec<_> = self.world.listener.departed.iter().map(|(_, _, closed)| closed.kind).collect();
        assert_eq!(departed, [gateway]);
        let census = self.world.census();
        assert_eq!((census.peers, census.openers, census.deadlines, census.leases), (0, 0, 0, 0));
    }
}

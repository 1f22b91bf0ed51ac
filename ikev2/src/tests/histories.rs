//! Random histories of both ends: children and IKE SAs replaced by either, at any time, also at once. Packets of both directions
//! never stop, and none is lost; in the end one of each is left.

use std::time::{Duration, Instant};

use adit_testing::SeededRandom;
use adit_tunnel::Random;
use bytes::Bytes;

use super::{
    millis,
    pair::{Pair, Setup},
    peer::{ChildRequest, IkeRequest, Incoming, status},
    secs,
};
use crate::{
    exchange::Wanted,
    message::{
        Delete, Message,
        numbers::{ExchangeType, NotifyType, ProtocolId},
    },
};

/// The peer's own request in flight, and what RFC 7296 §2.25 makes of what comes meanwhile.
#[derive(Default)]
struct Gateway {
    pending: Option<Pending>,
    /// Collisions it has lost, and won.
    collisions: (u32, u32),
    refusals: u32,
}

struct Pending {
    sa: usize,
    sent: Instant,
    own: Own,
}

enum Own {
    Child { old: usize, request: ChildRequest, rival: Option<Bytes> },
    Ike { request: IkeRequest, rival: Option<Bytes> },
    DeleteChild(usize),
    DeleteIke(usize),
    Liveness,
}

fn lowest(a: &Message, b: &Message) -> Bytes {
    a.nonce().unwrap().clone().min(b.nonce().unwrap().clone())
}

impl Gateway {
    fn start(&mut self, pair: &Pair, sa: usize, own: Own) {
        self.pending = Some(Pending { sa, sent: pair.now, own });
    }

    /// Begins something, if nothing is going on.
    fn begin(&mut self, pair: &mut Pair, kind: u32) {
        let (sa, child) = (pair.peer.sa(), pair.peer.live_children()[0]);
        if self.pending.is_some() {
            return;
        }
        let own = match kind {
            // One that is replaced already waits for its deletion by the client.
            0 if pair.peer.live_children().len() == 1 => {
                Own::Child { old: child, request: pair.peer.rekey_child(child), rival: None }
            }
            1 if pair.peer.sas.iter().filter(|sa| sa.alive).count() == 1 => {
                Own::Ike { request: pair.peer.rekey_ike(sa), rival: None }
            }
            _ => {
                pair.peer.request(sa, ExchangeType::INFORMATIONAL, vec![]);
                Own::Liveness
            }
        };
        self.start(pair, sa, own);
    }

    /// Whatever arrived.
    fn act(&mut self, pair: &mut Pair) {
        while let Some(incoming) = pair.peer.inbox.pop_front() {
            self.answer(pair, incoming);
        }
        while let Some((_, response)) = pair.peer.responses.front().cloned() {
            let Some(Pending { own, .. }) = self.pending.take() else {
                pair.peer.responses.pop_front();
                continue;
            };
            self.go_on(pair, own, &response);
        }
        if let Some(pending) = self.pending.as_mut().filter(|pending| pair.now - pending.sent > millis(700)) {
            pending.sent = pair.now;
            pair.peer.resend(pending.sa);
        }
    }

    fn answer(&mut self, pair: &mut Pair, incoming: Incoming) {
        if let Some(why) = self.refusal(pair, &incoming) {
            self.refusals += 1;
            return pair.peer.respond(&incoming, vec![status(why, "")]);
        }
        let deletes_ike = incoming.message.deletes().any(|delete| *delete == Delete::Ike);
        if deletes_ike && self.pending.as_ref().is_some_and(|pending| pending.sa == incoming.sa) {
            // "and forget about its own" (§2.25.2).
            self.pending = None;
        }
        let exchange = incoming.message.header.exchange;
        if exchange != ExchangeType::CREATE_CHILD_SA {
            return pair.peer.answer(incoming);
        }
        let payloads = pair.peer.answer_create(&incoming);
        let answer = Message { header: incoming.message.header, payloads };
        let rekeyed = incoming.message.notify(NotifyType::REKEY_SA).and_then(crate::message::Notify::esp_spi);
        let made = || Some(lowest(&incoming.message, &answer));
        match self.pending.as_mut().map(|pending| &mut pending.own) {
            Some(Own::Child { old, rival, .. }) if rekeyed == Some(pair.peer.children[*old].spi_out) => *rival = made(),
            Some(Own::Ike { request, rival }) if request.sa() == incoming.sa => *rival = made(),
            _ => {}
        }
        pair.peer.respond(&incoming, answer.payloads);
    }

    /// What cannot be done now.
    fn refusal(&self, pair: &Pair, incoming: &Incoming) -> Option<NotifyType> {
        let message = &incoming.message;
        if message.header.exchange != ExchangeType::CREATE_CHILD_SA {
            return None;
        }
        let own = self.pending.as_ref().map(|pending| &pending.own);
        if message.sa()?.proposals[0].protocol == ProtocolId::IKE {
            let busy = matches!(own, Some(Own::Child { .. } | Own::DeleteChild(_) | Own::DeleteIke(_)));
            let newest = pair.peer.sa() == incoming.sa;
            return (busy || !newest).then_some(NotifyType::TEMPORARY_FAILURE);
        }
        if matches!(own, Some(Own::Ike { .. } | Own::DeleteIke(_))) {
            return Some(NotifyType::TEMPORARY_FAILURE);
        }
        let spi = message.notify(NotifyType::REKEY_SA)?.esp_spi()?;
        let known = pair.peer.live_children().into_iter().find(|child| pair.peer.children[*child].spi_out == spi);
        let Some(child) = known else { return Some(NotifyType::CHILD_SA_NOT_FOUND) };
        matches!(own, Some(Own::DeleteChild(deleted)) if *deleted == child).then_some(NotifyType::TEMPORARY_FAILURE)
    }

    fn has_lost(&mut self, rival: Option<Bytes>, made: &Bytes) -> bool {
        let Some(rival) = rival else { return false };
        let lost = *made < rival;
        self.collisions.0 += u32::from(lost);
        self.collisions.1 += u32::from(!lost);
        lost
    }

    fn go_on(&mut self, pair: &mut Pair, own: Own, response: &Message) {
        let sa = pair.peer.sa();
        match own {
            Own::Child { .. } | Own::Ike { .. } if response.error().is_some() => {
                self.refusals += 1;
                pair.peer.responses.pop_front();
            }
            Own::Child { old, request, rival } => {
                let made = request.nonce().clone().min(response.nonce().unwrap().clone());
                let new = pair.peer.child_rekeyed(request);
                let lost = self.has_lost(rival, &made);
                let child = if lost { new } else { old };
                pair.peer.delete_child(child);
                self.start(pair, sa, Own::DeleteChild(child));
            }
            Own::Ike { request, rival } => {
                let made = request.nonce().clone().min(response.nonce().unwrap().clone());
                let old = request.sa();
                let new = pair.peer.ike_rekeyed(request);
                let lost = self.has_lost(rival, &made);
                let sa = if lost { new } else { old };
                pair.peer.delete_ike(sa);
                self.start(pair, sa, Own::DeleteIke(sa));
            }
            Own::DeleteChild(child) => {
                pair.peer.responses.pop_front();
                pair.peer.children[child].alive = false;
            }
            Own::DeleteIke(sa) => {
                pair.peer.responses.pop_front();
                pair.peer.sas[sa].alive = false;
            }
            Own::Liveness => drop(pair.peer.responses.pop_front()),
        }
    }
}

/// Asked to delete an IKE SA, the client forgets its own rekeying of it (§2.25.2), which the peer may have answered: what the peer
/// made is left to the peer.
fn forget_what_the_client_forgot(pair: &mut Pair) {
    let known: Vec<_> = pair.client.established().unwrap().sas.iter().map(|sa| sa.ike.spis()).collect();
    let forgotten = pair.peer.sas.iter_mut().filter(|sa| !known.contains(&(sa.spi_i, sa.spi_r)));
    for sa in forgotten.filter(|sa| sa.alive && !sa.ours) {
        assert_eq!(sa.expected, 0, "it was never used");
        sa.alive = false;
    }
}

/// Time passes, and the peer reacts.
fn run(pair: &mut Pair, gateway: &mut Gateway, time: Duration) {
    let until = pair.now + time;
    while pair.now < until {
        pair.run(millis(1).min(until - pair.now));
        gateway.act(pair);
    }
}

fn history(seed: u64, lossy: bool) -> Gateway {
    let mut random = SeededRandom::new(seed);
    let mut pair = Setup::new(|setup| {
        setup.seed = seed;
        setup.settings.mobike = seed.is_multiple_of(2);
        setup.script.mobike = seed.is_multiple_of(2);
        setup.settings.retransmission.tries = 12;
    })
    .up();
    pair.peer.script.auto = false;
    let mut gateway = Gateway::default();
    if lossy {
        pair.network.loss = Some((15, millis(40), SeededRandom::new(seed)));
    } else {
        pair.start_traffic(millis(3));
    }
    for _ in 0..60 {
        let (wait, choice, kind) = (random.next_u32() % 60, random.next_u32() % 3, random.next_u32() % 4);
        // One, the other, or both at once.
        if choice != 0 {
            gateway.begin(&mut pair, kind);
        }
        if choice != 1 {
            let child = pair.client_child();
            pair.client_wants(match kind {
                0 => Wanted::RekeyChild(child),
                1 => Wanted::RekeyIke,
                2 => Wanted::Liveness,
                _ => Wanted::UpdateAddresses,
            });
        }
        let wait = if lossy { 10 * wait } else { wait };
        run(&mut pair, &mut gateway, millis(wait.into()));
        assert!(pair.log.closed.is_none(), "seed {seed}: {:?}", pair.log.closed);
    }
    // What was put off is done.
    run(&mut pair, &mut gateway, secs(10));
    if lossy {
        pair.network.loss = None;
        run(&mut pair, &mut gateway, secs(30));
        forget_what_the_client_forgot(&mut pair);
        // And the other way round: what the peer has forgotten is given up after three minutes.
        pair.peer.script.auto = true;
        pair.run(secs(200));
    } else {
        pair.stop_traffic();
        pair.assert_nothing_lost();
    }
    assert!(pair.log.closed.is_none(), "seed {seed}: {:?}", pair.log.closed);
    assert!(gateway.pending.is_none(), "seed {seed}");
    pair.assert_settled();
    let made = (pair.peer.sas.len(), pair.peer.children.len());
    assert!(made.0 > 1 && made.1 > 1, "seed {seed}: {made:?}");
    gateway
}

/// `TUNNEL_TEST_SEED` repeats one of them.
fn histories(lossy: bool) {
    if let Ok(seed) = std::env::var("TUNNEL_TEST_SEED") {
        history(seed.parse().unwrap(), lossy);
        return;
    }
    let (mut lost, mut won, mut refusals) = (0, 0, 0);
    for seed in 1..=40 {
        let _seed = Told(seed);
        let gateway = history(seed, lossy);
        (lost, won) = (lost + gateway.collisions.0, won + gateway.collisions.1);
        refusals += gateway.refusals;
    }
    assert!(lost >= 20 && won >= 20 && refusals >= 30, "{lost} lost, {won} won, {refusals} refusals");
}

#[test]
fn no_history_loses_a_packet_or_leaves_anything_behind() {
    histories(false);
}

#[test]
fn histories_over_a_bad_network_leave_nothing_behind() {
    histories(true);
}

/// Tells which history has failed.
struct Told(u64);

impl Drop for Told {
    #[expect(clippy::print_stderr, reason = "this is how a test tells its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TUNNEL_TEST_SEED={}", self.0);
        }
    }
}

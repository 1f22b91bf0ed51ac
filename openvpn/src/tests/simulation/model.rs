//! Random histories of both ends against a plain model of when they may be apart.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use adit_testing::{Conditions, Mapping, Port, SeededRandom, histories};
use adit_tunnel::{Random, Tunnel};

use super::{
    World,
    variants::{Variant, Wrap},
};
use crate::tests::{millis, secs};

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Step {
    Wait,
    WaitLong,
    ClientRenegotiates,
    ServerRenegotiates,
    BothRenegotiate,
    Rebinding(Mapping),
    Roaming,
    Blackout,
    LongBlackout,
    Loss,
    Suspended,
    LongSuspended,
    ClientSleeps,
    ClientRestarts(Port),
    ServerRestarts,
    ClientCloses,
    ServerCloses,
}

/// What a tunnel outlives.
const MILD: [Step; 15] = [
    Step::Wait,
    Step::Wait,
    Step::WaitLong,
    Step::WaitLong,
    Step::WaitLong,
    Step::ClientRenegotiates,
    Step::ClientRenegotiates,
    Step::ClientRenegotiates,
    Step::ServerRenegotiates,
    Step::ServerRenegotiates,
    Step::ServerRenegotiates,
    Step::BothRenegotiate,
    Step::BothRenegotiate,
    Step::BothRenegotiate,
    Step::BothRenegotiate,
];

/// A tunnel outlives one of these at a time.
const TROUBLE: [Step; 6] = [
    Step::Rebinding(Mapping::Alive),
    Step::Rebinding(Mapping::Dead),
    Step::Roaming,
    Step::Blackout,
    Step::Loss,
    Step::Suspended,
];

/// What may end it, or does.
const HARSH: [Step; 8] = [
    Step::LongBlackout,
    Step::LongSuspended,
    Step::ClientSleeps,
    Step::ClientRestarts(Port::Same),
    Step::ClientRestarts(Port::New),
    Step::ServerRestarts,
    Step::ClientCloses,
    Step::ServerCloses,
];

/// What may be true of a tunnel.
struct Model {
    /// From then on it must be up, and both ends agree.
    must_agree_from: Instant,
    /// From then on it must not have ended.
    must_last_from: Instant,
    /// The last trouble that a tunnel outlives if it is the only one for a while.
    troubled_until: Instant,
    /// How many have ended by themselves, and how many have come in all.
    ended: usize,
    incarnation: u32,
    /// When clients were replaced: the tunnels of those before them may live on for a while.
    replaced: Vec<Instant>,
}

impl Model {
    fn new(now: Instant) -> Self {
        let (must_agree_from, must_last_from, troubled_until) = (now, now, now);
        Self { must_agree_from, must_last_from, troubled_until, ended: 0, incarnation: 0, replaced: Vec::new() }
    }

    /// Trouble until then, which need not end a tunnel.
    fn trouble(&mut self, now: Instant, until: Instant) {
        if now < self.troubled_until + QUIET {
            self.end(until);
        }
        self.troubled_until = self.troubled_until.max(until);
        // An exchange of keys may be late: then one end seals with what the other does not have yet.
        self.must_agree_from = self.must_agree_from.max(until + HAND_WINDOW);
    }

    /// Whatever is up may end until then.
    fn end(&mut self, until: Instant) {
        self.must_agree_from = self.must_agree_from.max(until + RECOVERY);
        self.must_last_from = self.must_last_from.max(until + RECOVERY);
        self.troubled_until = self.troubled_until.max(until + RECOVERY);
    }
}

/// `ping-restart` of a client, `hand-window` of either end one after the other, and how long the next attempt may take.
const RECOVERY: Duration = secs(60 + 60 + 60 + 30);
/// `hand-window`: whatever goes on has succeeded by then, or ends the tunnel.
const HAND_WINDOW: Duration = secs(60);
/// Whatever was going on during trouble is over by then, and pings have come again.
const QUIET: Duration = secs(75);
/// What a tunnel outlives: shorter than `ping-restart` less a ping.
const SHORT: u64 = 20_000;
/// How long the tunnel of a client that is gone may live: twice `ping-restart`, and a look at the counters.
const HAUNTED: Duration = secs(130);

struct History {
    world: World,
    model: Model,
    random: SeededRandom,
    played: Vec<Step>,
    /// Steps after which both ends had to agree.
    insisted: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let wrap = [Wrap::None, Wrap::TlsAuth, Wrap::TlsCrypt, Wrap::TlsCryptV2][seed as usize % 4];
        let variant = Variant::new(|choice| {
            choice.wrap = wrap;
            choice.client.reneg_sec = secs([0, 200, 3600][seed as usize % 3]);
            choice.server.reneg_sec = secs([0, 150, 3600][(seed / 3) as usize % 3]);
            let tran_window = secs([200, 3600][seed as usize / 9 % 2]);
            (choice.client.tran_window, choice.server.tran_window) = (tran_window, tran_window);
        });
        let mut world = variant.up(seed, |setup| setup.conditions = Conditions::REORDERING);
        world.reconnect = Some(secs(1));
        let model = Model::new(world.clock.now());
        Self { world, model, random: SeededRandom::new(seed), played: Vec::new(), insisted: 0 }
    }

    fn up_to(&mut self, milliseconds: u64) -> Duration {
        millis(self.random.next_u64() % milliseconds)
    }

    fn play(&mut self) {
        let steps = match self.random.next_u32() % 32 {
            0..=1 => &HARSH[..],
            2..=4 => &TROUBLE[..],
            _ => &MILD[..],
        };
        let mut step = steps[self.random.next_u32() as usize % steps.len()];
        if self.world.clients[0].sleeps(self.world.clock.now()) && !matches!(step, Step::ClientRestarts(_)) {
            step = Step::Wait;
        }
        self.played.push(step);
        let now = self.world.clock.now();
        match step {
            Step::Wait => {}
            Step::WaitLong => {
                let time = self.up_to(500_000);
                self.world.run(time);
            }
            Step::ClientRenegotiates => self.client_renegotiates(),
            Step::ServerRenegotiates => self.server_renegotiates(),
            Step::BothRenegotiate => {
                self.client_renegotiates();
                let apart = self.up_to(60);
                self.world.run(apart);
                self.server_renegotiates();
            }
            Step::Rebinding(old) => {
                self.world.rebind(0, old);
                // Until the client's next ping.
                self.model.trouble(now, now + secs(15));
            }
            Step::Roaming => {
                self.world.roam(0);
                self.model.trouble(now, now + secs(15));
            }
            Step::Blackout => {
                let time = self.up_to(SHORT);
                self.world.blackout(0, time);
                self.model.trouble(now, now + time);
            }
            Step::LongBlackout => {
                let time = self.up_to(300_000);
                self.world.blackout(0, time);
                self.model.end(now + time);
            }
            Step::Loss => {
                let time = self.up_to(SHORT);
                self.world.conditions(Conditions::BAD);
                self.world.run(time);
                self.world.conditions(Conditions::REORDERING);
                self.model.trouble(now, now + time);
            }
            Step::Suspended => {
                let time = self.up_to(SHORT);
                self.world.suspend(time);
                self.model.trouble(now, now + time);
            }
            Step::LongSuspended => {
                let time = self.up_to(20_000_000);
                self.world.suspend(time);
                self.model.end(now + time);
            }
            Step::ClientSleeps => {
                let time = self.up_to(1_000_000);
                self.world.suspend_client(0, time);
                self.model.end(now + time);
            }
            Step::ClientRestarts(port) => {
                self.world.restart_client(0, port);
                self.model.end(now);
            }
            Step::ServerRestarts => {
                self.world.restart_listener();
                self.model.end(now);
            }
            Step::ClientCloses => {
                self.world.with_client(0, |client, now| client.close(now));
                self.model.end(now);
            }
            Step::ServerCloses => {
                for peer in self.world.listener.peers.keys().copied().collect::<Vec<_>>() {
                    self.world.with_peer(peer, |server, now| server.close(now));
                }
                self.model.end(now);
            }
        }
        let time = self.up_to(20_000);
        self.world.run(time);
    }

    fn client_renegotiates(&mut self) {
        self.world.with_client(0, |client, now| client.renegotiate_soon(now));
    }

    fn server_renegotiates(&mut self) {
        if let Some(peer) = self.world.peer_of(0) {
            self.world.with_peer(peer, |server, now| server.renegotiate_soon(now));
        }
    }

    fn check(&mut self) {
        let (now, incarnation) = (self.world.clock.now(), self.world.clients[0].incarnation);
        let former = &self.world.clients[0].former;
        for (at, closed) in &former[self.model.ended..] {
            assert!(*at < self.model.must_last_from, "it ended: {closed:?}, {}", self.told());
        }
        self.model.ended = former.len();
        let replaced = incarnation - self.model.incarnation;
        self.model.replaced.extend((0..replaced).map(|_| now));
        self.model.incarnation = incarnation;
        if now >= self.model.must_agree_from {
            self.insisted += 1;
            let agreed = self.world.agree();
            assert!(agreed.is_ok(), "{agreed:?}, {}", self.told());
        }
        self.check_bounds(now);
        self.check_causes();
    }

    fn check_bounds(&mut self, now: Instant) {
        let waking = self.model.must_last_from.max(now);
        self.model.replaced.retain(|at| *at + HAUNTED > now || waking > now + RECOVERY);
        let census = self.world.census();
        // An attempt may leave two half-open tunnels behind.
        let peers = 1 + 2 * self.model.replaced.len() + 1;
        assert!(census.peers <= peers, "{census:?}, {peers} at most, {}", self.told());
        assert!(census.leases <= census.peers && census.verdicts == 0, "{census:?}");
        for driven in self.world.listener.peers.values().map(|peer| &peer.driven) {
            assert!(driven.openers().len() <= 3 && driven.sealers().len() <= 1, "{}", self.told());
        }
        let client = &self.world.clients[0].driven;
        assert!(client.openers().len() <= 3 && client.sealers().len() <= 1, "{}", self.told());
        assert!(census.under_way < 200, "{census:?}");
    }

    /// No timer runs without a cause, and none is missing.
    fn check_causes(&self) {
        let (running, causes) = self.world.clients[0].driven.tunnel.timers_and_causes();
        assert_eq!(running, causes, "client, {}", self.told());
        for (id, peer) in &self.world.listener.peers {
            let (running, causes) = peer.driven.tunnel.timers_and_causes();
            assert_eq!(running, causes, "{id:?}, {}", self.told());
        }
    }

    fn told(&self) -> String {
        format!("after {:?}, {:?}", self.world.clock.elapsed(), self.played)
    }
}

#[test]
fn after_any_history_both_ends_agree() {
    let insisted = AtomicU64::new(0);
    let made = AtomicU64::new(0);
    histories("after_any_history_both_ends_agree", 100_000, |seed| {
        let mut history = History::new(seed);
        for _ in 0..STEPS_EACH {
            history.play();
            history.check();
        }
        // Left alone, it always comes back.
        history.world.run(secs(1000) + RECOVERY);
        history.world.assert_agree();
        assert_eq!(history.world.census().peers, 1);
        insisted.fetch_add(history.insisted, Relaxed);
        made.fetch_add(STEPS_EACH, Relaxed);
        STEPS_EACH
    });
    let (insisted, made) = (insisted.into_inner(), made.into_inner());
    assert!(
        insisted >= made / 4 || made < 1000,
        "the model insisted on agreement after {insisted} of {made} steps only"
    );
}

const STEPS_EACH: u64 = 100;

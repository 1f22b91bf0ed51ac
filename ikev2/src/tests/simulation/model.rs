//! Random histories of both ends, against a plain model of what must hold meanwhile: which association stands, whether there must be
//! a child, and where the gateway must see the client. What always holds is looked at after every step.

use std::time::{Duration, Instant};

use adit_testing::{Conditions, Mapping, Port, SeededRandom, histories};
use adit_tunnel::{KeyTag, PeerId, Random, Tunnel};

use super::{Ends, World, ensure, settled};
use crate::{
    Identity,
    established::{Established, Role},
    exchange::Wanted,
    message::IkeSpi,
    sa::Timer,
    tests::{millis, secs},
};

#[test]
fn no_history_leaves_the_ends_apart() {
    let plans = [true, false].map(|mobike| {
        let ends = Ends::new(|ends| {
            ends.both(|settings| settings.mobike = mobike);
            // Of the client before it, wherever that was.
            ends.client.local_identity = Some(Identity::Fqdn("client.example".to_owned()));
        });
        ends.plan()
    });
    histories("no_history_leaves_the_ends_apart", 100_000, |seed| {
        let mobike = seed % 2 == 0;
        let mut history = History::new(plans[usize::from(!mobike)].up(seed), seed);
        if seed % 3 == 0 {
            history.world.start_traffic(secs(2), 100);
        }
        for _ in 0..STEPS {
            let step = history.step();
            history.check(&step);
        }
        history.come_to_rest();
        STEPS
    });
}

/// Steps of one history.
const STEPS: u64 = 40;

struct History {
    world: World,
    random: SeededRandom,
    model: Model,
    /// For people: what was done.
    done: Vec<String>,
}

/// What must hold, and from when on.
struct Model {
    /// The association that stands: the client that has it, and the gateway's end. It stays unless `may_end`.
    association: (u32, Option<PeerId>),
    may_end: bool,
    /// Until then nothing need stand.
    nothing_until: Instant,
    /// Until then there need not be a child.
    childless_until: Instant,
    /// Until then one end may seal what the other no longer opens: it slept over the time that old keys are kept for.
    overslept_until: Instant,
    /// Until then the gateway need not see the client where it is. `None` as long as an old mapping may do as well.
    elsewhere_until: Option<Instant>,
    /// Until then datagrams are lost.
    dark_until: Instant,
    lossy: bool,
}

impl Model {
    /// An association has to be made anew, which takes so long on a good network.
    fn ends(&mut self, now: Instant, time: Duration) {
        self.may_end = true;
        self.is_in_doubt(now, time);
    }

    fn is_in_doubt(&mut self, now: Instant, time: Duration) {
        let time = if self.lossy || self.dark_until > now { time.max(LONG) } else { time };
        self.nothing_until = self.nothing_until.max(now.max(self.dark_until) + time);
    }

    /// Nothing gets through until then.
    fn is_dark(&mut self, now: Instant, time: Duration) {
        // Requests are sent again for 23 s; a second time so soon may be too much for one of them.
        let since_last = now.saturating_duration_since(self.dark_until);
        let harmless = time <= secs(10) && since_last > secs(30) && !self.lossy && now >= self.nothing_until;
        self.dark_until = self.dark_until.max(now + time);
        if harmless {
            self.childless_until = self.childless_until.max(self.dark_until + secs(20));
            self.elsewhere_until = self.elsewhere_until.map(|until| until.max(self.dark_until + secs(20)));
        } else {
            self.ends(now, LONG);
        }
    }
}

/// The gateway is silent, which is noticed, asked for, and believed; then it is connected to again.
const LONG: Duration = secs(180);

impl History {
    fn new(mut world: World, seed: u64) -> Self {
        world.reconnect = Some(secs(1));
        let now = world.clock.now();
        let model = Model {
            association: (0, world.peer_of(0)),
            may_end: false,
            nothing_until: now,
            childless_until: now,
            overslept_until: now,
            elsewhere_until: Some(now),
            dark_until: now,
            lossy: false,
        };
        Self { world, random: SeededRandom::new(seed ^ 0x5eed), model, done: Vec::new() }
    }

    fn draw(&mut self, below: u32) -> u32 {
        self.random.next_u32() % below
    }

    /// Something happens, and some time passes.
    fn step(&mut self) -> String {
        let what = self.act();
        let time = match self.draw(8) {
            0 | 1 => millis(u64::from(self.draw(25))),
            2 | 3 => millis(u64::from(self.draw(400))),
            4 | 5 => millis(u64::from(self.draw(5000))),
            6 => millis(u64::from(self.draw(20_000))),
            _ => secs(u64::from(self.draw(200))),
        };
        let step = format!("{what}, {time:?}");
        self.done.push(step.clone());
        self.world.run(time);
        step
    }

    fn act(&mut self) -> &'static str {
        let now = self.world.clock.now();
        match self.draw(30) {
            0..=2 => self.client_rekeys_child(),
            3..=5 => self.gateway_rekeys_child(),
            6 | 7 => {
                self.client_rekeys_child();
                self.gateway_rekeys_child();
                "both rekey the child"
            }
            8 | 9 => self.client_wants(Wanted::RekeyIke, "the client rekeys the IKE SA"),
            10 | 11 => self.gateway_wants(Wanted::RekeyIke, "the gateway rekeys the IKE SA"),
            12 => {
                self.client_wants(Wanted::RekeyIke, "");
                self.gateway_wants(Wanted::RekeyIke, "both rekey the IKE SA")
            }
            13 => self.client_deletes_child(),
            14 => self.gateway_deletes_child(),
            15 => {
                self.model.ends(now, secs(20));
                self.world.with_client(0, |client, now| client.close(now));
                "the client closes"
            }
            16 => {
                self.model.ends(now, secs(20));
                let peer = self.world.peer_of(0);
                peer.map(|peer| self.world.with_peer(peer, |tunnel, now| tunnel.close(now)));
                "the gateway closes"
            }
            17 | 18 => {
                self.world.roam(0);
                let until = now.max(self.model.dark_until) + secs(10);
                self.model.elsewhere_until = Some(self.model.elsewhere_until.unwrap_or(now).max(until));
                "the client roams"
            }
            19 => {
                self.world.rebind(0, Mapping::Alive);
                self.model.elsewhere_until = None;
                "the NAT takes another mapping"
            }
            20 => {
                // The gateway may just be asking, and gives up before the client notices.
                self.world.rebind(0, Mapping::Dead);
                self.model.ends(now, LONG);
                "the NAT forgets the mapping"
            }
            21 | 22 => {
                let time = secs(1 + u64::from(self.draw(9)));
                self.model.is_dark(now, time);
                self.world.blackout(0, time);
                "a short blackout"
            }
            23 => {
                let time = secs(u64::from(self.draw(200)));
                self.model.is_dark(now, time);
                self.world.blackout(0, time);
                "a blackout"
            }
            24 => {
                self.model.ends(now, secs(20));
                let port = if self.draw(2) == 0 { Port::Same } else { Port::New };
                self.world.restart_client(0, port);
                "the client starts again"
            }
            25 => {
                // The client asks after half a minute of silence.
                self.model.ends(now, LONG);
                self.world.restart_listener();
                "the gateway starts again"
            }
            26 => self.everything_sleeps(),
            27 => {
                let time = secs(u64::from(self.draw(400)));
                self.model.is_dark(now, time);
                self.world.suspend_client(0, time);
                "the client sleeps"
            }
            28 => {
                self.model.lossy = !self.model.lossy;
                self.world.conditions(if self.model.lossy { Conditions::BAD } else { Conditions::GOOD });
                self.model.ends(now, LONG);
                "the network changes"
            }
            _ => "nothing",
        }
    }

    fn client_wants(&mut self, wanted: Wanted, what: &'static str) -> &'static str {
        self.world.with_client(0, |client, now| client.want(now, wanted));
        what
    }

    fn gateway_wants(&mut self, wanted: Wanted, what: &'static str) -> &'static str {
        let peer = self.world.peer_of(0);
        peer.map(|peer| self.world.with_peer(peer, |tunnel, now| tunnel.want(now, wanted)));
        what
    }

    fn client_rekeys_child(&mut self) -> &'static str {
        match child_in_use(self.world.clients[0].driven.tunnel.established()) {
            Some(child) => self.client_wants(Wanted::RekeyChild(child), "the client rekeys the child"),
            None => "the client has no child",
        }
    }

    fn gateway_rekeys_child(&mut self) -> &'static str {
        match child_in_use(self.gateway()) {
            Some(child) => self.gateway_wants(Wanted::RekeyChild(child), "the gateway rekeys the child"),
            None => "the gateway has no child",
        }
    }

    fn client_deletes_child(&mut self) -> &'static str {
        let Some(child) = child_in_use(self.world.clients[0].driven.tunnel.established()) else {
            return "the client has no child";
        };
        self.childless();
        self.client_wants(Wanted::DeleteChild(child), "the client deletes the child")
    }

    fn gateway_deletes_child(&mut self) -> &'static str {
        let Some(child) = child_in_use(self.gateway()) else { return "the gateway has no child" };
        self.childless();
        // Too often, and the client leaves.
        self.model.ends(self.world.clock.now(), secs(40));
        self.gateway_wants(Wanted::DeleteChild(child), "the gateway deletes the child")
    }

    fn childless(&mut self) {
        let now = self.world.clock.now();
        // The exchange in flight, then the deletion, then the next child: each may be refused for a while.
        self.model.childless_until = now.max(self.model.dark_until) + secs(20);
        // What is still under way when this one is gone, and answered by nothing, may be given up.
        self.model.is_in_doubt(now, secs(20));
    }

    /// Nobody's timers run, and what is under way arrives late. In the middle of something, either end may give that up.
    fn everything_sleeps(&mut self) -> &'static str {
        let time = secs(u64::from(self.draw(7200)));
        let now = self.world.clock.now();
        if !self.is_quiet() || now < self.model.nothing_until || now < self.model.dark_until {
            self.model.ends(now, time + LONG);
            self.model.overslept_until = now + time + LONG;
        } else {
            self.model.childless_until = now + time + secs(20);
            self.model.elsewhere_until = self.model.elsewhere_until.map(|until| until.max(now + time + secs(60)));
        }
        self.world.suspend(time);
        "everything sleeps"
    }

    fn gateway(&mut self) -> Option<&mut Established> {
        let peer = self.world.peer_of(0)?;
        self.world.listener.peers.get_mut(&peer)?.driven.tunnel.established()
    }

    /// Neither end has anything going on.
    fn is_quiet(&mut self) -> bool {
        let quiet = |established: Option<&mut Established>| {
            established.is_some_and(|it| {
                it.sas.len() == 1 && it.children.len() == 1 && it.sas.iter().all(|sa| sa.ike.requester.is_idle())
            })
        };
        quiet(self.world.clients[0].driven.tunnel.established())
            && quiet(self.gateway())
            && self.world.census().under_way == 0
    }

    fn check(&mut self, step: &str) {
        if let Err(why) = self.find_fault() {
            let time = self.world.clock.elapsed();
            panic!("{why}; after {time:?}, {step}; history: {:#?}", self.done);
        }
    }

    fn find_fault(&mut self) -> Result<(), String> {
        always(&mut self.world)?;
        let now = self.world.clock.now();
        let (client, peer) = (self.world.clients[0].incarnation, self.world.peer_of(0));
        let linked = self.is_linked()?;
        if self.model.may_end {
            if now >= self.model.nothing_until && now >= self.model.dark_until && !self.model.lossy {
                ensure(linked, || "no association".to_owned())?;
                (self.model.association, self.model.may_end) = ((client, peer), false);
            }
        } else {
            let expected = self.model.association;
            ensure((client, peer) == expected && linked, || format!("{:?} instead of {expected:?}", (client, peer)))?;
        }
        if !linked {
            return Ok(());
        }
        let children = [child_in_use(self.world.clients[0].driven.tunnel.established()), child_in_use(self.gateway())];
        if children.iter().all(Option::is_some) {
            // However bad the network: neither end seals what the other cannot open.
            let agrees = self.world.client_agrees(0);
            ensure(agrees.is_ok() || now < self.model.overslept_until, || format!("{agrees:?}"))?;
        } else {
            let may = now < self.model.childless_until || self.model.may_end;
            ensure(may, || format!("children in use: {children:08x?}"))?;
        }
        let seen = self.world.listener.peers[&peer.ok_or("no peer")?].driven.path.remote;
        let here = self.world.clients[0].seen_as();
        let may = self.model.may_end || self.model.elsewhere_until.is_none_or(|until| now < until);
        ensure(may || seen == here, || format!("the gateway sees the client at {seen}, not at {here}"))
    }

    /// Whether both ends have the client's IKE SA, and the same keys.
    fn is_linked(&mut self) -> Result<bool, String> {
        let Some(sa) = self.world.clients[0].driven.tunnel.established().and_then(|client| client.current()) else {
            return Ok(false);
        };
        let (spis, key) = (sa.ike.spis(), sa.ike.keys.d.clone());
        let Some(gateway) = self.gateway() else { return Ok(false) };
        let Some(sa) = gateway.sas.iter().find(|sa| sa.ike.spis() == spis) else { return Ok(false) };
        ensure(sa.ike.keys.d == key, || "the keys of the IKE SA differ".to_owned())?;
        Ok(gateway.current().is_some())
    }

    /// The network is good again, and nothing else happens: one of everything is left.
    fn come_to_rest(&mut self) {
        let now = self.world.clock.now();
        self.world.conditions(Conditions::GOOD);
        self.world.stop_traffic();
        let client = &mut self.world.clients[0];
        for link in [&mut client.up, &mut client.down] {
            link.end_blackouts();
        }
        let awake = self.model.dark_until.max(now) - now;
        self.world.run(awake + secs(400));
        (self.model.lossy, self.model.elsewhere_until) = (false, self.model.elsewhere_until);
        self.check("at rest");
        if let Err(why) = settled(&mut self.world) {
            panic!("{why}; at rest; history: {:#?}", self.done);
        }
    }
}

fn child_in_use(established: Option<&mut Established>) -> Option<u32> {
    established?.children.iter().find(|child| child.is_in_use()).map(|child| child.spi_in)
}

/// What holds at any time, for both ends.
fn always(world: &mut World) -> Result<(), String> {
    let driven = &mut world.clients[0].driven;
    let (timers, openers, sealers) = (driven.tunnel.timers(), driven.openers(), driven.sealers());
    if let Some(established) = driven.tunnel.established() {
        sound(established, &timers, &openers, sealers.len()).map_err(|why| format!("client: {why}"))?;
    }
    for (peer, end) in &mut world.listener.peers {
        let driven = &mut end.driven;
        let (timers, openers, sealers) = (driven.tunnel.timers(), driven.openers(), driven.sealers());
        if let Some(established) = driven.tunnel.established() {
            sound(established, &timers, &openers, sealers.len()).map_err(|why| format!("{peer:?}: {why}"))?;
        }
    }
    Ok(())
}

/// Little of everything, one sealer at most, and no timer or opener without a cause.
fn sound(it: &Established, timers: &[Timer], openers: &[KeyTag], sealers: usize) -> Result<(), String> {
    let counts = (it.sas.len(), it.children.len(), it.wanted.len(), openers.len(), timers.len());
    let (sas, children, wanted, ..) = counts;
    ensure(sas <= 16 && children <= 8 && wanted <= 8 && timers.len() <= 48, || format!("too many: {counts:?}"))?;
    let in_use: Vec<_> = it.children.iter().filter(|child| child.is_in_use()).collect();
    ensure(in_use.len() <= 1 && sealers <= 1, || format!("{sealers} sealers, in use: {in_use:?}"))?;
    let current = it.sas.iter().filter(|sa| sa.role == Role::InUse).count();
    let closing = it.sas.iter().any(|sa| sa.role == Role::Deleting);
    ensure(current == 1 || closing, || format!("{current} IKE SAs in use"))?;
    for opener in openers {
        let of_child = it.children.iter().any(|child| child.spi_in == opener.0);
        let lingers = timers.contains(&Timer::RemoveOpener(opener.0));
        ensure(of_child != lingers, || format!("opener {opener:?} of {:?}, timers {timers:?}", it.children))?;
    }
    for child in &it.children {
        ensure(openers.contains(&KeyTag(child.spi_in)), || format!("no opener for {child:?}"))?;
        let watched = child.is_in_use() || child.is_deleting() || timers.contains(&Timer::AbandonChild(child.spi_in));
        ensure(watched, || format!("nothing ends {child:?}: {timers:?}"))?;
    }
    let sa = |spi: &IkeSpi| it.sas.iter().find(|sa| sa.ike.our_spi() == *spi);
    let child = |spi: &u32| it.children.iter().find(|child| child.spi_in == *spi);
    for timer in timers {
        let has_cause = match timer {
            Timer::Retransmit(spi) => sa(spi).is_some_and(|sa| !sa.ike.requester.is_idle()),
            Timer::RekeyChild(spi) => child(spi).is_some_and(|child| child.is_in_use()),
            Timer::AbandonChild(spi) => child(spi).is_some_and(|child| !child.is_in_use() && !child.is_deleting()),
            Timer::Abandon(spi) => sa(spi).is_some_and(|sa| sa.role != Role::InUse),
            Timer::RemoveOpener(spi) => openers.contains(&KeyTag(*spi)),
            Timer::Sample | Timer::RekeyIke => current == 1,
            // Runs out by itself, and what it was for may be gone.
            Timer::TryAgain => true,
            Timer::Close => closing || it.children.is_empty(),
            Timer::Handshake | Timer::Suspicion | Timer::Reauthenticate => false,
        };
        ensure(has_cause, || format!("{timer:?} without a cause: {:?}", it.children))?;
    }
    for sa in it.sas.iter().filter(|sa| sa.role != Role::InUse) {
        let spi = sa.ike.our_spi();
        let watched = timers.contains(&Timer::Abandon(spi)) || timers.contains(&Timer::Retransmit(spi));
        // The farewell ends everything.
        let leaving = closing && timers.contains(&Timer::Close);
        ensure(watched || leaving, || format!("nothing ends {:?} {spi:?}: {timers:?}", sa.role))?;
    }
    Ok(())
}

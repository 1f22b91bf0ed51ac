//! A bad network: passes UDP datagrams on, loses, swaps and doubles some of them, and mixes in garbage. Or a long way: passes them
//! on later. Or a NAT: from time to time all its mappings get other ports.
//!
//! The kernel's `netem` is missing on many machines, so this stands in for it. Its dice are seeded.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use super::{
    delay::{Length, Line, Way},
    http,
    http::Request,
    pattern::Numbers,
    say,
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Where clients send to; several, each with its upstream.
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    #[arg(long, required = true)]
    upstream: Vec<SocketAddr>,
    /// The address upstream sees; that of upstream itself by default.
    #[arg(long)]
    outward: Option<IpAddr>,
    /// Where `GET /` tells the counters, `GET /rebind` gives every client another port as seen by upstream, and `GET
    /// /delay/UP/DOWN` sets how long both directions are.
    #[arg(long)]
    counters: SocketAddr,
    #[arg(long)]
    seed: u64,
    /// Milliseconds from the client to upstream.
    #[arg(long, default_value_t = 0)]
    delay_up: u64,
    /// And back.
    #[arg(long, default_value_t = 0)]
    delay_down: u64,
    /// Datagrams lost of a thousand.
    #[arg(long, default_value_t = 0)]
    loss: u64,
    /// Datagrams of a thousand that the next one overtakes.
    #[arg(long, default_value_t = 0)]
    swap: u64,
    /// Datagrams of a thousand that come twice, the second time later.
    #[arg(long, default_value_t = 0)]
    double: u64,
    /// Garbage datagrams for each real one, to both sides: for ends that authenticate every packet.
    #[arg(long, default_value_t = 0)]
    garbage: u64,
    /// Copies with flipped bits of each datagram of the data channel, to both sides.
    #[arg(long, default_value_t = 0)]
    flips: u64,
    /// Datagrams to the client for each real one that look like OpenVPN, but are of no session.
    #[arg(long, default_value_t = 0)]
    noise: u64,
    /// Another address that sends the same noise.
    #[arg(long)]
    stranger: Option<SocketAddr>,
    /// Holds each soft reset back until the other end has sent its own: both start the renegotiation.
    #[arg(long)]
    cross_resets: bool,
    /// The same for requests of CREATE_CHILD_SA behind a non-ESP marker: both ends of an IKE SA rekey at once. One that is
    /// sent for the third time need not wait any longer.
    #[arg(long)]
    cross_rekeys: bool,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
    pub(crate) swapped: u64,
    pub(crate) doubled: u64,
    pub(crate) garbage: u64,
    pub(crate) flipped: u64,
    pub(crate) noise: u64,
    /// Renegotiations that the other end had begun, too.
    pub(crate) crossed: u64,
    /// What came for a mapping that is no more.
    pub(crate) stale: u64,
    /// NAT keepalives of one byte (RFC 3948 §2.3).
    pub(crate) keepalives: u64,
    /// Of the datagrams, those of the data channel.
    pub(crate) data_datagrams: u64,
    /// And their length.
    pub(crate) data_bytes: u64,
}

/// The counters of a relay.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// From the client.
    pub(crate) up: Passed,
    /// To the client.
    pub(crate) down: Passed,
}

static COUNTERS: Mutex<Counters> = Mutex::new(Counters { up: NOTHING, down: NOTHING });
/// How long the way up is, and the way down.
static UP: Length = Length::new();
static DOWN: Length = Length::new();
static DIRECTIONS: AtomicU64 = AtomicU64::new(0);
/// How often all mappings were forgotten.
static REBOUND: AtomicU64 = AtomicU64::new(0);
const NOTHING: Passed = Passed {
    datagrams: 0,
    lost: 0,
    swapped: 0,
    doubled: 0,
    garbage: 0,
    flipped: 0,
    noise: 0,
    crossed: 0,
    stale: 0,
    keepalives: 0,
    data_datagrams: 0,
    data_bytes: 0,
};

/// A datagram held back goes out after the next one, or after this time if none comes.
const PATIENCE: Duration = Duration::from_millis(30);

pub(crate) fn main(options: &Options) -> Result<()> {
    UP.set(options.delay_up);
    DOWN.set(options.delay_down);
    let counters = TcpListener::bind(options.counters)?;
    thread::spawn(move || http::listen(&counters, tell));
    ensure!(options.listen.len() == options.upstream.len(), "as many upstreams as places to listen");
    let fronts = options.listen.iter().map(|listen| {
        let front = Arc::new(UdpSocket::bind(listen).with_context(|| format!("bind {listen}"))?);
        front.set_read_timeout(Some(PATIENCE))?;
        anyhow::Ok(front)
    });
    let fronts = fronts.collect::<Result<Vec<_>>>()?;
    say("ready")?;
    thread::scope(|scope| {
        let relays: Vec<_> = fronts
            .iter()
            .zip(&options.upstream)
            .map(|(front, upstream)| scope.spawn(|| relay(front, *upstream, options)))
            .collect();
        relays.into_iter().try_for_each(|relay| relay.join().map_err(|_| anyhow!("a relay panicked"))?)
    })
}

/// The way to the server that one client has.
struct Mapping {
    back: Way,
    line: Line,
    link: Link,
    /// [`REBOUND`] when it was made.
    made: u64,
}

fn relay(front: &Arc<UdpSocket>, upstream: SocketAddr, options: &Options) -> Result<()> {
    let mut clients: BTreeMap<SocketAddr, Mapping> = BTreeMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match front.recv_from(&mut buffer) {
            Ok((length, client)) => {
                let made = REBOUND.load(Relaxed);
                let mapping = match clients.entry(client) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let (resets, rekeys) = (Arc::default(), Arc::default());
                        let link = Link::new(options, true, resets, rekeys);
                        let back = connect(front, client, upstream, &link)?;
                        new.insert(Mapping { back, line: Line::new(&UP), link, made })
                    }
                };
                if mapping.made != made {
                    mapping.back = connect(front, client, upstream, &mapping.link)?;
                    mapping.made = made;
                }
                mapping.link.pass(&buffer[..length], |datagram| mapping.line.send(&mapping.back, datagram));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                for Mapping { back, line, link, .. } in clients.values_mut() {
                    link.flush(|datagram| line.send(back, datagram));
                }
            }
            // A client that has gone answers with "port unreachable".
            Err(error) => tracing::debug!("front: {error}"),
        }
    }
}

/// Opens the way to the server for a client, and starts the way back, whose other direction is `up`.
fn connect(front: &Arc<UdpSocket>, client: SocketAddr, upstream: SocketAddr, up: &Link) -> Result<Way> {
    let options = &up.options;
    let back = Arc::new(UdpSocket::bind(SocketAddr::new(options.outward.unwrap_or_else(|| upstream.ip()), 0))?);
    back.connect(upstream)?;
    back.set_read_timeout(Some(PATIENCE))?;
    let mut link = Link::new(options, false, Arc::clone(&up.resets), Arc::clone(&up.rekeys));
    let (forth, receiver) = (Way { socket: Arc::clone(front), to: Some(client) }, Arc::clone(&back));
    if let Some(address) = options.stranger {
        let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
        socket.connect(client)?;
        link.stranger = Some(socket);
    }
    let made = REBOUND.load(Relaxed);
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let line = Line::new(&DOWN);
        loop {
            let mut send = |datagram: &[u8]| line.send(&forth, datagram);
            match receiver.recv(&mut buffer) {
                // As with a NAT: the sender hears nothing of it.
                Ok(_) if REBOUND.load(Relaxed) != made => link.count(|passed| passed.stale += 1),
                Ok(length) => link.pass(&buffer[..length], &mut send),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    link.flush(&mut send)
                }
                Err(error) => tracing::debug!("back: {error}"),
            }
        }
    });
    Ok(Way { socket: back, to: None })
}

/// The keys whose soft resets each end has sent last.
#[derive(Debug, Default)]
struct Resets {
    up: Option<u8>,
    down: Option<u8>,
}

/// The requests of CREATE_CHILD_SA that wait for one of the other end, and those that have met one.
#[derive(Debug, Default)]
struct Rekeys {
    up: Waiting,
    down: Waiting,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    #[default]
    Nothing,
    Alone,
    Met,
}

/// One direction of one client.
struct Link {
    options: Options,
    up: bool,
    dice: Numbers,
    held: Vec<Vec<u8>>,
    resets: Arc<Mutex<Resets>>,
    held_reset: Option<Vec<u8>>,
    rekeys: Arc<Mutex<Rekeys>>,
    held_rekey: Option<Vec<u8>>,
    /// How often it was sent.
    rekey_sent: u32,
    /// The last request that was let through, and so is when it is sent again.
    crossed_rekey: Option<Vec<u8>>,
    stranger: Option<UdpSocket>,
}

impl Link {
    fn new(options: &Options, up: bool, resets: Arc<Mutex<Resets>>, rekeys: Arc<Mutex<Rekeys>>) -> Self {
        let number = DIRECTIONS.fetch_add(1, Relaxed);
        Self {
            options: options.clone(),
            up,
            dice: Numbers::new(options.seed ^ (number << 32)),
            held: Vec::new(),
            resets,
            held_reset: None,
            rekeys,
            held_rekey: None,
            rekey_sent: 0,
            crossed_rekey: None,
            stranger: None,
        }
    }

    fn pass(&mut self, datagram: &[u8], mut send: impl FnMut(&[u8]) -> std::io::Result<()>) {
        let (opcode, key) = datagram.first().map_or((0, 0), |first| (first >> 3, first & 7));
        let is_data = matches!(opcode, DATA_V1 | DATA_V2);
        self.count(|passed| {
            passed.datagrams += 1;
            passed.keepalives += u64::from(datagram == NAT_KEEPALIVE);
            if is_data {
                passed.data_datagrams += 1;
                passed.data_bytes += datagram.len() as u64;
            }
        });
        // What came first goes first: the answer to the other end's request must not overtake our own request.
        self.flush_rekey(&mut send);
        self.disturb(datagram, is_data, &mut send);
        if self.options.cross_resets && opcode == SOFT_RESET {
            self.sent_reset(key);
            // What is sent again meanwhile takes its place.
            self.held_reset = Some(datagram.to_vec());
            self.flush(&mut send);
            return;
        }
        if self.options.cross_rekeys && is_rekey(datagram) && self.crossed_rekey.as_deref() != Some(datagram) {
            self.hold_rekey(datagram);
            self.flush(&mut send);
            return;
        }
        if self.dice.happens(self.options.loss) {
            self.count(|passed| passed.lost += 1);
        } else if self.dice.happens(self.options.swap) {
            self.count(|passed| passed.swapped += 1);
            self.held.push(datagram.to_vec());
            return;
        } else {
            deliver(&mut send, datagram);
        }
        self.flush(&mut send);
        if self.dice.happens(self.options.double) {
            self.count(|passed| passed.doubled += 1);
            self.held.push(datagram.to_vec());
        }
    }

    fn flush(&mut self, mut send: impl FnMut(&[u8]) -> std::io::Result<()>) {
        if let Some(reset) = self.held_reset.take_if(|reset| other_reset(&self.resets, self.up) == key_of(reset)) {
            self.count(|passed| passed.crossed += 1);
            deliver(&mut send, &reset);
        }
        self.flush_rekey(&mut send);
        for datagram in self.held.drain(..) {
            deliver(&mut send, &datagram);
        }
    }

    fn flush_rekey(&mut self, send: &mut impl FnMut(&[u8]) -> std::io::Result<()>) {
        let Some((rekey, met)) = self.released_rekey() else { return };
        self.count(|passed| passed.crossed += u64::from(met));
        deliver(send, &rekey);
        self.crossed_rekey = Some(rekey);
    }

    /// The first of two waits; with the second both may go.
    fn hold_rekey(&mut self, datagram: &[u8]) {
        let again = self.held_rekey.as_deref() == Some(datagram);
        self.rekey_sent = if again { self.rekey_sent + 1 } else { 1 };
        self.held_rekey = Some(datagram.to_vec());
        let mut rekeys = self.rekeys.lock().unwrap_or_else(PoisonError::into_inner);
        let Rekeys { up, down } = &mut *rekeys;
        let (ours, theirs) = if self.up { (up, down) } else { (down, up) };
        *ours = Waiting::Alone;
        if *theirs == Waiting::Alone {
            (*ours, *theirs) = (Waiting::Met, Waiting::Met);
        }
    }

    /// The request held here, if it may go, and whether it has met one of the other end.
    fn released_rekey(&mut self) -> Option<(Vec<u8>, bool)> {
        let mut rekeys = self.rekeys.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = if self.up { &mut rekeys.up } else { &mut rekeys.down };
        let met = *ours == Waiting::Met;
        if !met && self.rekey_sent < PATIENT_SENDINGS {
            return None;
        }
        let rekey = self.held_rekey.take()?;
        *ours = Waiting::Nothing;
        Some((rekey, met))
    }

    fn sent_reset(&self, key: u8) {
        let mut resets = self.resets.lock().unwrap_or_else(PoisonError::into_inner);
        *(if self.up { &mut resets.up } else { &mut resets.down }) = Some(key);
    }

    /// What goes out beside a real datagram.
    fn disturb(&mut self, model: &[u8], is_data: bool, send: &mut impl FnMut(&[u8]) -> std::io::Result<()>) {
        for _ in 0..self.options.garbage {
            let garbage = self.garbage(model);
            self.count(|passed| passed.garbage += 1);
            deliver(send, &garbage);
        }
        for _ in 0..if is_data { self.options.flips } else { 0 } {
            let flipped = self.flipped(model);
            self.count(|passed| passed.flipped += 1);
            deliver(send, &flipped);
        }
        for _ in 0..if self.up { 0 } else { self.options.noise } {
            let noise = self.noise();
            self.count(|passed| passed.noise += 1);
            deliver(send, &noise);
            if let Some(stranger) = &self.stranger {
                deliver(&mut |datagram: &[u8]| stranger.send(datagram).map(drop), &noise);
            }
        }
    }

    /// Some bits of one byte changed.
    fn flipped(&mut self, model: &[u8]) -> Vec<u8> {
        let mut bytes = model.to_vec();
        let (place, bits) = (self.dice.next() % model.len().max(1) as u64, 1 + self.dice.next() % 255);
        if let Some(byte) = usize::try_from(place).ok().and_then(|place| bytes.get_mut(place)) {
            *byte ^= bits as u8;
        }
        bytes
    }

    /// Any opcode and key id with a session id nobody has; half of it laid out as a control packet.
    fn noise(&mut self) -> Vec<u8> {
        let roll = self.dice.next();
        let mut bytes = vec![0; 32 + usize::try_from(roll >> 16).unwrap_or_default() % 1300];
        self.dice.fill(&mut bytes);
        let opcode = 1 + (roll >> 8) as u8 % 11;
        bytes[0] = opcode << 3 | (roll & 7) as u8;
        if roll & 8 == 0 {
            // No acknowledgements, then a small packet id.
            bytes[9..14].copy_from_slice(&[0, 0, 0, 0, (roll >> 4) as u8 & 3]);
        }
        bytes
    }

    /// Half of it random from the first byte on, half of it real datagrams with some bytes changed.
    fn garbage(&mut self, model: &[u8]) -> Vec<u8> {
        let roll = self.dice.next();
        if roll & 1 == 0 {
            let mut bytes = vec![0; usize::try_from(roll >> 8).unwrap_or_default() % 1400];
            self.dice.fill(&mut bytes);
            return bytes;
        }
        let mut bytes = model.to_vec();
        for _ in 0..=(roll >> 8) % 4 {
            let (place, value) = (self.dice.next(), self.dice.next());
            if let Some(byte) = usize::try_from(place).ok().and_then(|place| bytes.get_mut(place % model.len().max(1)))
            {
                *byte ^= 1 + (value % 255) as u8;
            }
        }
        bytes
    }

    fn count(&self, change: impl FnOnce(&mut Passed)) {
        let mut counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
        change(if self.up { &mut counters.up } else { &mut counters.down });
    }
}

/// The key whose soft reset the other end has sent last.
fn other_reset(resets: &Mutex<Resets>, up: bool) -> Option<u8> {
    let resets = resets.lock().unwrap_or_else(PoisonError::into_inner);
    if up { resets.down } else { resets.up }
}

/// Whether this is a request of CREATE_CHILD_SA behind a non-ESP marker (RFC 7296 §3.1). Its type is not encrypted.
fn is_rekey(datagram: &[u8]) -> bool {
    const CREATE_CHILD_SA: u8 = 36;
    const RESPONSE: u8 = 0x20;
    let header = datagram.strip_prefix(&[0; 4]).and_then(|message| message.first_chunk::<28>());
    header.is_some_and(|header| header[18] == CREATE_CHILD_SA && header[19] & RESPONSE == 0)
}

/// After so many the other end has had time enough.
const PATIENT_SENDINGS: u32 = 3;
/// RFC 3948 §2.3.
const NAT_KEEPALIVE: [u8; 1] = [0xff];
/// Opcodes, in the upper five bits of the first byte.
const SOFT_RESET: u8 = 3;
const DATA_V1: u8 = 6;
const DATA_V2: u8 = 9;

fn key_of(datagram: &[u8]) -> Option<u8> {
    datagram.first().map(|first| first & 7)
}

fn deliver(send: &mut impl FnMut(&[u8]) -> std::io::Result<()>, datagram: &[u8]) {
    // An end that has gone answers with "port unreachable"; that is the network's business, not ours.
    if let Err(error) = send(datagram) {
        tracing::debug!("not delivered: {error}");
    }
}

fn tell(request: Request) -> Result<()> {
    if request.path == "/rebind" {
        REBOUND.fetch_add(1, Relaxed);
    }
    if let Some((up, down)) = request.path.strip_prefix("/delay/").and_then(|both| both.split_once('/')) {
        UP.set(up.parse()?);
        DOWN.set(down.parse()?);
    }
    let counters = *COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    request.answer("200 OK", &serde_json::to_string(&counters)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(args: &[&str], up: bool, resets: &Arc<Mutex<Resets>>) -> Link {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            options: Options,
        }
        let fixed = "relay --listen 127.0.0.1:1 --upstream 127.0.0.1:2 --counters 127.0.0.1:3 --seed 7";
        let cli = <Cli as clap::Parser>::parse_from(fixed.split(' ').chain(args.iter().copied()));
        Link::new(&cli.options, up, Arc::clone(resets), Arc::default())
    }

    fn passed(link: &mut Link, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        link.pass(datagram, |datagram| {
            out.push(datagram.to_vec());
            Ok(())
        });
        out
    }

    #[test]
    fn a_soft_reset_waits_for_that_of_the_other_end() {
        let resets = Arc::default();
        let (mut up, mut down) = (link(&["--cross-resets"], true, &resets), link(&["--cross-resets"], false, &resets));
        for key in [1, 2] {
            let (reset, data) = (vec![SOFT_RESET << 3 | key, 9], vec![DATA_V2 << 3, 1]);
            assert!(passed(&mut down, &reset).is_empty());
            assert_eq!(passed(&mut down, &data), vec![data.clone()]);
            assert_eq!(passed(&mut up, &reset), vec![reset.clone()]);
            assert_eq!(passed(&mut down, &data), [data, reset]);
        }
    }

    #[test]
    fn rekeys_of_both_ends_meet_and_may_be_sent_again() {
        let rekeys = Arc::default();
        let side = |up| Link { rekeys: Arc::clone(&rekeys), ..link(&["--cross-rekeys"], up, &Arc::default()) };
        let (mut up, mut down) = (side(true), side(false));
        let request = |id: u8, flags: u8| [&[0; 4][..], &[1; 18], &[36, flags, 0, 0, 0, id], &[9; 40]].concat();
        let other = [&[0; 4][..], &[1; 18], &[37, 8, 0, 0, 0, 7], &[9; 40]].concat();
        for id in [1, 2] {
            let (ours, theirs, answer) = (request(id, 8), request(id, 0), request(id, 0x20));
            assert!(passed(&mut up, &ours).is_empty());
            assert!(passed(&mut up, &ours).is_empty());
            assert_eq!(passed(&mut down, &theirs), vec![theirs.clone()]);
            assert_eq!(passed(&mut up, &other), vec![ours.clone(), other.clone()]);
            assert_eq!(passed(&mut up, &ours), [ours]);
            assert_eq!(passed(&mut down, &answer), [answer]);
        }
        let alone = request(3, 8);
        let sent: Vec<usize> = (0..4).map(|_| passed(&mut up, &alone).len()).collect();
        assert_eq!(sent, [0, 0, 1, 1]);
    }

    #[test]
    fn copies_of_data_differ_and_noise_goes_down_only() {
        let resets = Arc::default();
        let args = ["--flips", "2", "--noise", "3"];
        let (mut up, mut down) = (link(&args, true, &resets), link(&args, false, &resets));
        let (data, control) = ([[DATA_V2 << 3; 40].as_slice()].concat(), vec![4 << 3; 40]);
        let out = passed(&mut up, &data);
        assert_eq!((out.len(), out.iter().filter(|sent| **sent == data).count()), (3, 1));
        assert_eq!(passed(&mut up, &control), vec![control.clone()]);
        let out = passed(&mut down, &control);
        assert_eq!((out.len(), out.iter().filter(|sent| **sent == control).count()), (4, 1));
        assert!(out.iter().all(|sent| (1..=11).contains(&(sent[0] >> 3))));
    }
}

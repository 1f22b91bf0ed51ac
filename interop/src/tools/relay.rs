//! A bad network: passes UDP datagrams on, loses, swaps and doubles some of them, and mixes in garbage.
//!
//! The kernel's `netem` is missing on many machines, so this stands in for it. Its dice are seeded.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{http, http::Request, pattern::Numbers, say};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    /// Where `GET /` tells the counters.
    #[arg(long)]
    counters: SocketAddr,
    #[arg(long)]
    seed: u64,
    /// Datagrams lost of a thousand.
    #[arg(long, default_value_t = 0)]
    loss: u64,
    /// Datagrams of a thousand that the next one overtakes.
    #[arg(long, default_value_t = 0)]
    swap: u64,
    /// Datagrams of a thousand that come twice, the second time later.
    #[arg(long, default_value_t = 0)]
    double: u64,
    /// Garbage datagrams for each real one, to both sides.
    #[arg(long, default_value_t = 0)]
    garbage: u64,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Passed {
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
    pub(crate) swapped: u64,
    pub(crate) doubled: u64,
    pub(crate) garbage: u64,
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
static DIRECTIONS: AtomicU64 = AtomicU64::new(0);
const NOTHING: Passed =
    Passed { datagrams: 0, lost: 0, swapped: 0, doubled: 0, garbage: 0, data_datagrams: 0, data_bytes: 0 };

/// A datagram held back goes out after the next one, or after this time if none comes.
const PATIENCE: Duration = Duration::from_millis(30);

pub(crate) fn main(options: &Options) -> Result<()> {
    let counters = TcpListener::bind(options.counters)?;
    thread::spawn(move || http::listen(&counters, tell));
    let front = Arc::new(UdpSocket::bind(options.listen).with_context(|| format!("bind {}", options.listen))?);
    front.set_read_timeout(Some(PATIENCE))?;
    say("ready")?;
    relay(&front, options)
}

fn relay(front: &Arc<UdpSocket>, options: &Options) -> Result<()> {
    let mut clients: BTreeMap<SocketAddr, (Arc<UdpSocket>, Link)> = BTreeMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match front.recv_from(&mut buffer) {
            Ok((length, client)) => {
                let (back, link) = match clients.entry(client) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert((connect(front, client, options)?, Link::new(options, true))),
                };
                link.pass(&buffer[..length], |datagram| back.send(datagram).map(drop));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                for (back, link) in clients.values_mut() {
                    link.flush(|datagram| back.send(datagram).map(drop));
                }
            }
            // A client that has gone answers with "port unreachable".
            Err(error) => tracing::debug!("front: {error}"),
        }
    }
}

/// Opens the way to the server for a new client, and starts the way back.
fn connect(front: &Arc<UdpSocket>, client: SocketAddr, options: &Options) -> Result<Arc<UdpSocket>> {
    let back = Arc::new(UdpSocket::bind(SocketAddr::new(options.upstream.ip(), 0))?);
    back.connect(options.upstream)?;
    back.set_read_timeout(Some(PATIENCE))?;
    let (front, receiver, mut link) = (Arc::clone(front), Arc::clone(&back), Link::new(options, false));
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        loop {
            let mut send = |datagram: &[u8]| front.send_to(datagram, client).map(drop);
            match receiver.recv(&mut buffer) {
                Ok(length) => link.pass(&buffer[..length], &mut send),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    link.flush(&mut send)
                }
                Err(error) => tracing::debug!("back: {error}"),
            }
        }
    });
    Ok(back)
}

/// One direction of one client.
struct Link {
    options: Options,
    up: bool,
    dice: Numbers,
    held: Vec<Vec<u8>>,
}

impl Link {
    fn new(options: &Options, up: bool) -> Self {
        let number = DIRECTIONS.fetch_add(1, Relaxed);
        Self { options: options.clone(), up, dice: Numbers::new(options.seed ^ (number << 32)), held: Vec::new() }
    }

    fn pass(&mut self, datagram: &[u8], mut send: impl FnMut(&[u8]) -> std::io::Result<()>) {
        self.count(|passed| {
            passed.datagrams += 1;
            if matches!(datagram.first().map(|first| first >> 3), Some(6 | 9)) {
                passed.data_datagrams += 1;
                passed.data_bytes += datagram.len() as u64;
            }
        });
        for _ in 0..self.options.garbage {
            let garbage = self.garbage(datagram);
            self.count(|passed| passed.garbage += 1);
            deliver(&mut send, &garbage);
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
        for datagram in self.held.drain(..) {
            deliver(&mut send, &datagram);
        }
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

fn deliver(send: &mut impl FnMut(&[u8]) -> std::io::Result<()>, datagram: &[u8]) {
    // An end that has gone answers with "port unreachable"; that is the network's business, not ours.
    if let Err(error) = send(datagram) {
        tracing::debug!("not delivered: {error}");
    }
}

fn tell(request: Request) -> Result<()> {
    let counters = *COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    request.answer("200 OK", &serde_json::to_string(&counters)?)
}

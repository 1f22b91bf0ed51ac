//! The handle of a gateway.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Instant};

use adit_tunnel::{IpNet, Listener, PeerId, Transport};
use tokio::sync::broadcast;
use tracing::Instrument;

use super::{
    Options, TunOptions, WayOut,
    env::{Env, Out, Shared},
    outer,
    ready::Ready,
    task::Task,
};
use crate::{error::Failure, sink::Sealed, tun};

/// A running gateway. Cheap to clone; when the last clone is dropped, every tunnel is closed.
#[derive(Clone)]
pub struct Gateway {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.request_close();
    }
}

impl Gateway {
    /// Binds the sockets, opens the way out, and starts to answer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a socket cannot be bound, or the TUN device not be made; `InvalidInput` when nothing is to be listened to.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start<L>(listener: L, mut options: Options) -> io::Result<Self>
    where
        L: Listener<Tunnel: Send> + Send + 'static,
    {
        let ready = Arc::new(Ready::default());
        let (receivers, outer) = outer::bind(&options.listen, &ready)?;
        let (out, device) = match &options.exit {
            WayOut::Sockets(exit) => {
                let limit = &mut options.limits.all_connections;
                *limit = within_descriptors(*limit, descriptors());
                (Out::Sockets(Arc::clone(exit)), None)
            }
            WayOut::Tun(TunOptions { name, mtu }) => {
                let own: Vec<_> = options.pool.own_addresses().collect();
                let (reader, writer) = tun::open(name.as_deref(), *mtu, &own)?;
                (Out::Tun(Box::new(writer)), Some(reader))
            }
        };
        let name = match &out {
            Out::Sockets(_) => None,
            Out::Tun(writer) => Some(writer.name().to_owned()),
        };
        let shared = Arc::new(Shared::new(receivers.local_addresses(), name, ready));
        for (transport, address) in &shared.addresses {
            tracing::debug!("listening to {transport} {address}");
        }
        let env = Env::new(options, out, outer, Arc::clone(&shared));
        // Whoever starts it says in a span which gateway speaks.
        tokio::spawn(Task::new(listener, receivers, device, env).run().in_current_span());
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// What is listened to, with the ports that were free.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        self.shared().addresses.clone()
    }

    /// The name of the TUN device, if there is one.
    #[must_use]
    pub fn device(&self) -> Option<String> {
        self.shared().device.clone()
    }

    /// What happens to peers from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.shared().subscribe() }
    }

    /// The peers whose tunnels are up, in no order.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.shared().peers()
    }

    /// Numbers since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Resets the inner connections, says goodbye to every peer and waits until that is sent, no longer than
    /// [`super::Limits::close_timeout`].
    pub async fn close(&self) {
        self.shared().request_close();
        // The sender lives in what we hold: waiting cannot fail.
        drop(self.shared().ended.subscribe().wait_for(|ended| *ended).await);
    }

    /// Why it has ended, or is about to, without having been told to: its TUN device is gone. Its peers are told goodbye
    /// before [`Events::next`] says that it has ended.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.shared().failure()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

/// How many connections of peers there may be, so that the process keeps descriptors for all else.
fn within_descriptors(wanted: usize, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors.and_then(|most| usize::try_from(most).ok()) else { return wanted };
    let room = descriptors - descriptors / 4;
    if room < wanted {
        tracing::info!(
            "no more than {room} connections of all peers at the same time, instead of {wanted}: this process may have \
             {descriptors} open files (`ulimit -n`, or `LimitNOFILE=` of systemd)"
        );
    }
    room.min(wanted)
}

/// How many descriptors the process may have, where the system tells and bounds them.
#[cfg(target_os = "linux")]
fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(target_os = "linux"))]
fn descriptors() -> Option<u64> {
    None
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("addresses", &self.shared().addresses).finish_non_exhaustive()
    }
}

/// A peer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name while it lives; may be another's afterwards.
    pub id: PeerId,
    /// Who it is: the identity it has proved (the name of its certificate), or else the user of its login. `None` while that
    /// is not known.
    pub identity: Option<String>,
    /// Its addresses inside the tunnel, while it is up.
    pub addresses: Vec<IpNet>,
    /// How its datagrams travel.
    pub transport: Transport,
    /// Where they come from.
    pub remote: SocketAddr,
    /// Since when its tunnel is up.
    pub since: Option<Instant>,
}

/// What happened to a peer.
#[derive(Debug, Clone)]
pub enum Event {
    /// Its tunnel is up.
    Up(Peer),
    /// Its datagrams come from elsewhere now.
    Moved(Peer),
    /// Its tunnel has ended, or it was not let in; [`Failure::was_up`] says whether it had been up.
    Down(Peer, Failure),
}

/// What happens to peers, in order.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; `None` when the gateway is gone. A reader that falls far behind misses the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Numbers since the gateway was started. Bytes of datagrams are those of what UDP or the frames of a TCP stream carry, as in the
/// [`crate::Stats`] of a client: what it counts as sent is counted here as received, and the other way round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams received, of whatever kind.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets of peers that were opened.
    pub opened_packets: u64,
    /// Datagrams sent, of whatever kind: with packets, of the control channel, keepalives.
    pub sent_datagrams: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets sealed and sent.
    pub sealed_packets: u64,
    /// Bytes of the datagrams they became.
    pub sealed_bytes: u64,
    /// Datagrams dropped that are of no protocol, of no peer, or of more peers than there may be.
    pub dropped_foreign: u64,
    /// Datagrams dropped for want of their key.
    pub dropped_unknown_key: u64,
    /// Datagrams dropped as malformed, forged or replayed.
    pub dropped_refused: u64,
    /// Packets dropped because their source was not the peer's own address.
    pub dropped_spoofed: u64,
    /// Packets dropped because no key took them, or nobody has their destination.
    pub dropped_unsealed: u64,
    /// Datagrams dropped because their socket took no more.
    pub dropped_unsent: u64,
    /// Peers now, up or not.
    pub peers: usize,
    /// Peers now whose tunnels are up.
    pub peers_up: usize,
    /// How often a tunnel came up.
    pub times_up: u64,
    /// Peers that were not let in.
    pub refused: u64,
    /// Addresses of the pool in use.
    pub addresses: usize,
    /// Inner TCP connections open now.
    pub connections: usize,
    /// Inner UDP associations open now.
    pub associations: usize,
    /// TCP streams now, with a peer or not.
    pub streams: usize,
    /// Deadlines kept for peers: at most one each.
    pub timers: usize,
}

impl Stats {
    pub(super) fn add(&mut self, sealed: Sealed) {
        self.sealed_packets += sealed.packets;
        self.sealed_bytes += sealed.bytes;
        self.dropped_unsealed += sealed.dropped;
        self.sent_datagrams += sealed.packets;
        self.sent_bytes += sealed.bytes;
    }

    /// A datagram of the control channel, or what is sent as one.
    pub(super) const fn on_sent(&mut self, bytes: usize) {
        self.sent_datagrams += 1;
        self.sent_bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_descriptors_is_left_for_the_rest() {
        assert_eq!(within_descriptors(4096, Some(1024)), 768);
        assert_eq!(within_descriptors(4096, Some(65_536)), 4096);
        assert_eq!(within_descriptors(100, Some(1024)), 100);
        assert_eq!(within_descriptors(4096, None), 4096);
    }
}

//! When our own address towards the gateway changes: another network, another lease, a link that was gone and is back.
//!
//! A UDP socket that is bound to no address sends from whatever address the system chooses for each datagram, so it outlives
//! such a change; but the gateway must hear of it.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::options::after;

/// Which address the system would send from to this one.
pub(crate) type SourceAddress = Arc<dyn Fn(SocketAddr) -> io::Result<IpAddr> + Send + Sync>;

/// While datagrams cannot leave, the address is looked at this often.
const TROUBLED_INTERVAL: Duration = Duration::from_millis(500);

/// Looks at our address every now and then. No operating system tells of it in the same way as another.
pub(crate) struct Roaming {
    source: SourceAddress,
    interval: Duration,
    looked: Instant,
    /// The last one there was.
    address: Option<IpAddr>,
    /// There is none now.
    gone: bool,
}

impl Roaming {
    pub(crate) fn new(source: SourceAddress, interval: Duration, address: Option<IpAddr>, now: Instant) -> Self {
        Self { source, interval, looked: now, address, gone: address.is_none() }
    }

    /// When to look next. `troubled` says that datagrams cannot leave.
    pub(crate) fn deadline(&self, troubled: bool) -> Instant {
        after(self.looked, if troubled { self.interval.min(TROUBLED_INTERVAL) } else { self.interval })
    }

    /// Looks, if it is time: our address, if it is another than before, or there was none in between.
    pub(crate) fn look(&mut self, now: Instant, troubled: bool, remote: SocketAddr) -> Option<IpAddr> {
        if now < self.deadline(troubled) {
            return None;
        }
        self.looked = now;
        match (self.source)(remote) {
            Ok(address) => {
                let same = self.address == Some(address) && !self.gone;
                self.gone = false;
                self.address = Some(address);
                (!same).then_some(address)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.gone, true) {
                    tracing::info!("no way to {remote}: {error}");
                }
                None
            }
        }
    }
}

impl fmt::Debug for Roaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roaming").field("address", &self.address).field("gone", &self.gone).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn another_address_is_told_once_and_one_that_was_gone_is_told_again() {
        let current = Arc::new(Mutex::new(Some([10, 0, 0, 1])));
        let source = Arc::clone(&current);
        let start = Instant::now();
        let source: SourceAddress = Arc::new(move |_| {
            let address = source.lock().unwrap().map(IpAddr::from);
            address.ok_or_else(|| io::ErrorKind::NetworkUnreachable.into())
        });
        let interval = Duration::from_secs(3);
        let mut roaming = Roaming::new(source, interval, Some([10, 0, 0, 1].into()), start);
        let mut at = start;
        let mut look = |address: Option<[u8; 4]>| {
            *current.lock().unwrap() = address;
            at += interval;
            roaming.look(at, false, "192.0.2.1:500".parse().unwrap())
        };
        let (one, two) = (Some([10, 0, 0, 1]), Some([10, 0, 0, 2]));
        assert_eq!([look(one), look(two), look(two)], [None, two.map(IpAddr::from), None]);
        assert_eq!([look(None), look(None), look(two), look(two)], [None, None, two.map(IpAddr::from), None]);
    }

    #[test]
    fn it_looks_more_often_while_nothing_can_be_sent() {
        let start = Instant::now();
        let source: SourceAddress = Arc::new(|_| Ok([10, 0, 0, 2].into()));
        let mut roaming = Roaming::new(source, Duration::from_secs(3), Some([10, 0, 0, 1].into()), start);
        let (remote, soon) = ("192.0.2.1:500".parse().unwrap(), start + Duration::from_millis(600));
        assert_eq!(roaming.look(soon, false, remote), None);
        assert_eq!(roaming.look(soon, true, remote), Some([10, 0, 0, 2].into()));
    }
}

//! Datagrams that came while the tunnel was down: kept for as long as their forward waits for one.

use std::{collections::VecDeque, future::pending, io, time::Duration};

use adit_driver::Way;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::counters::ForwardCounters;

/// Datagrams that wait, of all senders and of one, and their bytes: the older ones go.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 16;
const MOST_BYTES: usize = 256 * 1024;

/// One of them. `S` is whose it is.
#[derive(Debug)]
pub(super) struct Datagram<S> {
    pub(super) of: S,
    pub(super) bytes: Vec<u8>,
    /// Until when it is of use.
    pub(super) until: Instant,
}

/// All of a forward, the oldest first.
#[derive(Debug)]
pub(super) struct Parked<S> {
    datagrams: VecDeque<Datagram<S>>,
    bytes: usize,
    /// Waits for the tunnel; one at most, for as long as there is a datagram.
    tunnel: JoinSet<io::Result<()>>,
}

/// What became of them.
#[derive(Debug)]
enum Unparked<S> {
    /// The tunnel is up.
    Up(VecDeque<Datagram<S>>),
    /// It was waited for long enough for so many.
    Dropped(usize, io::Error),
}

impl<S> Default for Parked<S> {
    fn default() -> Self {
        Self { datagrams: VecDeque::new(), bytes: 0, tunnel: JoinSet::new() }
    }
}

impl<S: PartialEq> Parked<S> {
    /// Keeps a datagram that came without a tunnel, if it may wait. What is dropped is counted.
    pub(super) fn park(&mut self, way: &Way, counters: &ForwardCounters, datagram: Datagram<S>) {
        if datagram.until <= Instant::now() {
            return counters.on_dropped(1, &down());
        }
        let dropped = self.push(way, datagram);
        counters.on_dropped(dropped, &too_many());
    }

    /// All of them, once the tunnel is up; never, while there are none. What was waited for in vain is counted. May be dropped and called
    /// again.
    pub(super) async fn ready(&mut self, counters: &ForwardCounters) -> VecDeque<Datagram<S>> {
        loop {
            match self.next().await {
                Unparked::Up(all) => return all,
                Unparked::Dropped(count, error) => counters.on_dropped(count, &error),
            }
        }
    }

    /// Keeps a datagram; how many were dropped to make room.
    fn push(&mut self, way: &Way, datagram: Datagram<S>) -> usize {
        let before = self.datagrams.len() + 1;
        if self.datagrams.iter().filter(|known| known.of == datagram.of).count() >= MOST_OF_ONE
            && let Some(oldest) = self.datagrams.iter().position(|known| known.of == datagram.of)
        {
            self.remove(oldest);
        }
        self.bytes += datagram.bytes.len();
        self.datagrams.push_back(datagram);
        while self.datagrams.len() > MOST || self.bytes > MOST_BYTES {
            self.remove(0);
        }
        if self.datagrams.is_empty() {
            self.tunnel.abort_all();
        } else if self.tunnel.is_empty() {
            self.tunnel.spawn(up(way.clone()));
        }
        before - self.datagrams.len()
    }

    /// The next that happens to them; never, while there are none. May be dropped and called again.
    async fn next(&mut self) -> Unparked<S> {
        let Some(first) = self.datagrams.front() else { return pending().await };
        let ended = tokio::select! {
            Some(ended) = self.tunnel.join_next() => ended.unwrap_or_else(|error| Err(io::Error::other(error))),
            () = sleep_until(first.until) => {
                let now = Instant::now();
                let before = self.datagrams.len();
                while self.datagrams.front().is_some_and(|first| first.until <= now) {
                    self.remove(0);
                }
                if self.datagrams.is_empty() {
                    self.tunnel = JoinSet::new();
                }
                return Unparked::Dropped(before - self.datagrams.len(), down());
            }
        };
        self.bytes = 0;
        let all = std::mem::take(&mut self.datagrams);
        match ended {
            Ok(()) => Unparked::Up(all),
            Err(error) => Unparked::Dropped(all.len(), error),
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(datagram) = self.datagrams.remove(index) {
            self.bytes -= datagram.bytes.len();
        }
    }
}

/// Why a datagram is not sent.
fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the tunnel is down")
}

/// What is said of datagrams that had to make room for others.
fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "too many datagrams wait for the tunnel")
}

/// Waits until there is a tunnel, or none is to be expected.
async fn up(way: Way) -> io::Result<()> {
    loop {
        let begin = Instant::now();
        match way.bind_udp().await {
            Ok(_) => return Ok(()),
            // It has waited; those that came later wait on.
            Err(error) if error.kind() == io::ErrorKind::NotConnected && has_waited(&way, begin) => {}
            Err(error) => return Err(error),
        }
    }
}

fn has_waited(way: &Way, begin: Instant) -> bool {
    way.wait() > Duration::ZERO && begin.elapsed() >= way.wait()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::tunnel, *};

    fn datagram(of: usize, length: usize, until: Instant) -> Datagram<usize> {
        Datagram { of, bytes: vec![7; length], until }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_no_sender_takes_the_place_of_all() {
        let (_far, client) = tunnel().await;
        let way = Way::from(client);
        let until = Instant::now() + Duration::from_secs(60);
        let mut parked = Parked::default();
        parked.push(&way, datagram(0, 1, until));
        let dropped: usize = (0..2 * MOST_OF_ONE).map(|_| parked.push(&way, datagram(1, 1, until))).sum();
        assert_eq!((dropped, parked.datagrams.len(), parked.bytes), (MOST_OF_ONE, MOST_OF_ONE + 1, MOST_OF_ONE + 1));
        let dropped: usize = (2..2 + MOST).map(|of| parked.push(&way, datagram(of, 1, until))).sum();
        assert_eq!((dropped, parked.datagrams.len(), parked.bytes), (MOST_OF_ONE + 1, MOST, MOST));
        assert_eq!(parked.push(&way, datagram(9, MOST_BYTES, until)), MOST);
        assert_eq!((parked.datagrams.len(), parked.bytes), (1, MOST_BYTES));
        assert_eq!(parked.push(&way, datagram(9, MOST_BYTES + 1, until)), 2);
        assert_eq!((parked.datagrams.len(), parked.bytes), (0, 0));
    }

    #[tokio::test]
    async fn each_waits_until_its_own_time() {
        let (_far, client) = tunnel().await;
        let way = Way::from(client);
        let now = Instant::now();
        let mut parked = Parked::default();
        parked.push(&way, datagram(1, 1, now));
        parked.push(&way, datagram(2, 1, now));
        parked.push(&way, datagram(3, 1, now + Duration::from_secs(3600)));
        // As if there were no tunnel.
        parked.tunnel = JoinSet::new();
        parked.tunnel.spawn(pending());
        let Unparked::Dropped(2, error) = parked.next().await else { panic!("{parked:?}") };
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        parked.tunnel = JoinSet::new();
        parked.tunnel.spawn(up(way));
        let Unparked::Up(all) = parked.next().await else { panic!("{parked:?}") };
        assert_eq!(all.iter().map(|datagram| datagram.of).collect::<Vec<_>>(), [3]);
        assert_eq!(parked.bytes, 0);
    }
}

//! One direction of a long way: each datagram goes on some time after it came, in the order they came in.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long one direction is, in milliseconds; may be changed at any time.
#[derive(Debug, Default)]
pub(crate) struct Length(AtomicU64);

impl Length {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn set(&self, milliseconds: u64) {
        self.0.store(milliseconds, Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Relaxed))
    }
}

/// Where a datagram goes.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) socket: Arc<UdpSocket>,
    /// None where the socket is connected.
    pub(crate) to: Option<SocketAddr>,
}

impl Way {
    pub(crate) fn send(&self, datagram: &[u8]) -> std::io::Result<()> {
        match self.to {
            Some(to) => self.socket.send_to(datagram, to).map(drop),
            None => self.socket.send(datagram).map(drop),
        }
    }
}

/// The queue of one direction. Ends with its handle, once it is empty.
#[derive(Debug)]
pub(crate) struct Line {
    length: &'static Length,
    queue: Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    way: Way,
    datagram: Vec<u8>,
}

impl Line {
    pub(crate) fn new(length: &'static Length) -> Self {
        let (queue, waiting) = channel();
        thread::spawn(move || forward(&waiting));
        Self { length, queue }
    }

    /// Takes a datagram; one that takes no time is sent at once.
    pub(crate) fn send(&self, way: &Way, datagram: &[u8]) -> std::io::Result<()> {
        let length = self.length.get();
        if length.is_zero() {
            return way.send(datagram);
        }
        let waiting = Waiting { due: Instant::now() + length, way: way.clone(), datagram: datagram.to_vec() };
        self.queue.send(waiting).map_err(std::io::Error::other)
    }
}

/// One after the other: none overtakes another, even if the way has become shorter meanwhile.
fn forward(waiting: &Receiver<Waiting>) {
    for Waiting { due, way, datagram } in waiting {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // An end that has gone answers with "port unreachable"; that is the network's business, not ours.
        if let Err(error) = way.send(&datagram) {
            tracing::debug!("not delivered: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_later_and_in_their_order_also_when_the_way_becomes_shorter() {
        static LENGTH: Length = Length::new();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let way = Way { socket, to: Some(receiver.local_addr().unwrap()) };
        let line = Line::new(&LENGTH);
        let started = Instant::now();
        for (number, length) in [60, 60, 1, 1].into_iter().enumerate() {
            LENGTH.set(length);
            line.send(&way, &[number as u8]).unwrap();
        }
        let mut buffer = [0; 10];
        for number in 0..4 {
            assert_eq!((receiver.recv(&mut buffer).unwrap(), buffer[0]), (1, number));
            assert!(started.elapsed() >= Duration::from_millis(60));
        }
        LENGTH.set(0);
        line.send(&way, b"now").unwrap();
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 3);
    }
}

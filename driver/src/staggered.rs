//! Connections to the addresses of a name, a stagger apart (RFC 8305 §5): the first that is there is used, the others are dropped.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::options::after;

/// What the first attempt that succeeds leads to. One that fails brings the next one forward; while none fails, the next begins
/// `stagger` after the one before, and all go on side by side.
///
/// # Errors
/// That of the attempt that failed last; the first that is `final_for_all`, at once; `NotFound` without addresses.
pub(crate) async fn first<T, F>(
    addresses: Vec<SocketAddr>,
    stagger: Duration,
    final_for_all: fn(&io::Error) -> bool,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let mut next_start = Instant::now();
    loop {
        if running.is_empty() || Instant::now() >= next_start {
            match waiting.next() {
                None if running.is_empty() => return Err(last),
                None => {}
                Some(address) => {
                    running.push(Box::pin(attempt(address)));
                    next_start = after(Instant::now().into_std(), stagger).into();
                }
            }
        }
        let ended = poll_fn(|cx| poll_any(cx, &mut running));
        tokio::select! {
            biased;
            ended = ended => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) if final_for_all(&error) => return Err(error),
                Err(error) => {
                    last = error;
                    next_start = Instant::now();
                }
            },
            () = sleep_until(next_start), if waiting.len() > 0 => {}
        }
    }
}

/// The first of them that has ended, which is then no longer among them.
fn poll_any<F: Future>(cx: &mut Context<'_>, running: &mut Vec<Pin<Box<F>>>) -> Poll<F::Output> {
    for index in 0..running.len() {
        let Some(attempt) = running.get_mut(index) else { break };
        if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
            drop(running.remove(index));
            return Poll::Ready(output);
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    const STAGGER: Duration = Duration::from_millis(250);

    /// What becomes of an attempt, by the last number of its address.
    async fn outcome(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.port() {
            REFUSES => Err(io::ErrorKind::ConnectionRefused.into()),
            LOST => Err(io::ErrorKind::NotConnected.into()),
            SILENT => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Err(io::ErrorKind::TimedOut.into())
            }
            port => {
                tokio::time::sleep(Duration::from_millis(port.into())).await;
                Ok(address)
            }
        }
    }

    const REFUSES: u16 = 1;
    const LOST: u16 = 2;
    const SILENT: u16 = 3;

    fn lost(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotConnected
    }

    /// The port that was connected to, when each attempt began, and when it was over, in milliseconds.
    async fn tried(addresses: &[&str]) -> (Result<u16, io::ErrorKind>, Vec<u128>, u128) {
        let (started, begun) = (Instant::now(), Mutex::new(Vec::new()));
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let result = first(addresses, STAGGER, lost, |address| {
            begun.lock().unwrap().push(started.elapsed().as_millis());
            outcome(address)
        });
        let result = result.await.map(|address: SocketAddr| address.port()).map_err(|error| error.kind());
        (result, begun.into_inner().unwrap(), started.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_has_its_turn_a_stagger_later_and_the_first_that_connects_is_used() {
        // IPv6 and IPv4 as they take turns; each port is how long it takes.
        assert_eq!(tried(&["[fd00::1]:3", "192.0.2.1:40"]).await, (Ok(40), vec![0, 250], 290));
        assert_eq!(tried(&["[fd00::1]:200", "192.0.2.1:40"]).await, (Ok(200), vec![0], 200));
        assert_eq!(tried(&["[fd00::1]:900", "192.0.2.1:40"]).await, (Ok(40), vec![0, 250], 290));
        // One that was slow wins all the same, if those after it are slower.
        assert_eq!(tried(&["[fd00::1]:400", "192.0.2.1:300"]).await, (Ok(400), vec![0, 250], 400));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_brings_the_next_forward() {
        assert_eq!(tried(&["[fd00::1]:1", "192.0.2.1:40"]).await, (Ok(40), vec![0, 0], 40));
        assert_eq!(tried(&["[fd00::1]:3", "192.0.2.1:1", "[fd00::2]:50"]).await, (Ok(50), vec![0, 250, 250], 300));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_told_and_a_lost_tunnel_ends_all_attempts() {
        assert_eq!(tried(&["[fd00::1]:3", "192.0.2.1:1"]).await, (Err(io::ErrorKind::TimedOut), vec![0, 250], 30_000));
        assert_eq!(tried(&["192.0.2.1:2", "192.0.2.1:40"]).await, (Err(io::ErrorKind::NotConnected), vec![0], 0));
        assert_eq!(tried(&[]).await, (Err(io::ErrorKind::NotFound), vec![], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_are_no_longer_needed_are_dropped() {
        struct Guard<'a>(&'a AtomicUsize);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let alive = AtomicUsize::new(0);
        let addresses = ["[fd00::1]:3", "192.0.2.1:3", "192.0.2.2:7"].map(|text| text.parse().unwrap()).into();
        let connected = first(addresses, STAGGER, lost, |address| {
            alive.fetch_add(1, Relaxed);
            let guard = Guard(&alive);
            async move {
                let result = outcome(address).await;
                drop(guard);
                result
            }
        });
        assert_eq!(connected.await.unwrap().port(), 7);
        assert_eq!(alive.load(Relaxed), 0);
    }
}

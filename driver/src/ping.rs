//! Echo requests through a tunnel.

use std::{future::poll_fn, io, net::IpAddr, sync::Arc, task::Poll, time::Duration};

use adit_netstack::PingId;

use crate::{
    active::now,
    connection::store,
    inside::{Inside, Ping},
    udp_socket::udp_error,
};

/// One that waits for its answer.
struct Pending {
    inside: Arc<Inside>,
    id: PingId,
}

/// Sends one, and says how long the answer took.
pub(crate) async fn ping(
    inside: Arc<Inside>,
    address: IpAddr,
    payload: &[u8],
    timeout: Duration,
) -> io::Result<Duration> {
    let pending = {
        let mut inner = inside.lock();
        inner.check()?;
        inner.reach.check(address)?;
        let id = inner.stack.ping(now(), address, payload).map_err(udp_error)?;
        inner.pings.insert(id, Ping::default());
        inner.wake_driver();
        drop(inner);
        Pending { inside, id }
    };
    let answered = poll_fn(|cx| {
        let mut inner = pending.inside.lock();
        if let Err(error) = inner.check() {
            return Poll::Ready(Err(error));
        }
        match inner.pings.get_mut(&pending.id) {
            Some(Ping { rtt: Some(rtt), .. }) => Poll::Ready(Ok(*rtt)),
            Some(ping) => {
                store(&mut ping.waiter, cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    });
    match tokio::time::timeout(timeout, answered).await {
        Ok(answered) => answered,
        Err(_) => {
            let text = format!("{address} does not answer within {} ms", timeout.as_millis());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut inner = self.inside.lock();
        inner.stack.forget_ping(self.id);
        inner.pings.remove(&self.id);
    }
}

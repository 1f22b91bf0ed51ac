//! The driver against a toy protocol, whose far end runs on the loopback interface.

mod answering;
mod answering_ikev2;
mod answering_openvpn;
mod answering_peers;
#[cfg(target_os = "linux")]
mod answering_tun;
mod far;
mod gateways;
mod life;
mod listening;
#[cfg(target_os = "linux")]
mod namespace;
mod paths;
#[cfg(target_os = "linux")]
mod probing;
mod redundancy;
mod toy;
mod toy_gateway;
mod traffic;

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use adit_tunnel::Transport;

use crate::{Builder, Client, Options, Remote};
use far::Far;
use toy::Toy;

/// Nothing here takes long; a test that hangs must fail.
const LIMIT: Duration = Duration::from_secs(30);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn remote(far: &Far) -> Remote {
    Remote {
        host: far.address.ip().to_string(),
        port: far.address.port(),
        transport: far.transport,
        family: None,
        timeout: Duration::from_secs(5),
    }
}

fn options() -> Options {
    // Nothing looks around: no timer is to hide a waker that was forgotten.
    Options { connect_timeout: Duration::from_secs(10), address_check: None, ..Options::default() }
}

/// What is logged by this thread, which is all there is to a test of one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on, while the guard lives.
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        static ALL: Once = Once::new();
        // A line of the program that is first reached by a thread without a log would else be silent for all while there is no more than
        // one log.
        ALL.call_once(|| {
            let all = tracing_subscriber::fmt().with_writer(io::sink).finish();
            tracing::subscriber::set_global_default(all).expect("the first");
        });
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).without_time();
        let guard = tracing::subscriber::set_default(subscriber.with_target(false).finish());
        (log, guard)
    }

    /// The lines with this in them.
    fn lines(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).map(|line| line.trim().to_owned()).collect()
    }
}

async fn connect(transport: Transport) -> (Far, Client) {
    let far = Far::start(transport).await;
    let client = soon(Builder::new(Toy::new([remote(&far)])).options(options()).connect()).await.expect("connected");
    (far, client)
}

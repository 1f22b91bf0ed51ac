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
mod redundancy;
mod toy;
mod toy_gateway;
mod traffic;

use std::{future::Future, time::Duration};

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

async fn connect(transport: Transport) -> (Far, Client) {
    let far = Far::start(transport).await;
    let client = soon(Builder::new(Toy::new([remote(&far)])).options(options()).connect()).await.expect("connected");
    (far, client)
}

//! Several gateways of one connection.

mod choosing;
#[cfg(target_os = "linux")]
mod device;
mod failing_back;
mod failing_over;
mod probing;
mod refusing;
mod updating;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adit_tunnel::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Log,
    far::{ECHO, Far, HOST},
    options, remote, soon,
    toy::Toy,
};
use crate::{
    Connection, NoPrompts, Way,
    redundancy::{RedundancyEvent, RedundancyEvents, RedundancyOptions, Redundant, Spec},
};

fn echo() -> SocketAddr {
    (HOST, ECHO).into()
}

/// A gateway of that name.
fn spec(name: &str, far: &Far) -> Spec {
    let remote = remote(far);
    Spec::new(name, move || Toy::new([remote.clone()]))
}

fn redundancy_options() -> RedundancyOptions {
    RedundancyOptions { tunnel: crate::Options { first_rounds: None, ..options() }, ..RedundancyOptions::default() }
}

fn start(specs: Vec<Spec>, options: RedundancyOptions) -> Redundant {
    Redundant::of(specs, options, Arc::new(NoPrompts))
}

async fn gateways<const N: usize>() -> [Far; N] {
    let mut fars = Vec::new();
    for _ in 0..N {
        fars.push(Far::start(Transport::Udp).await);
    }
    fars.try_into().unwrap_or_else(|_| panic!("as many"))
}

async fn says(connection: &mut Connection, word: &[u8]) {
    connection.write_all(word).await.unwrap();
    let mut answer = vec![0; word.len()];
    soon(connection.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, word);
}

/// Through whichever gateway: a connection that works.
async fn connection(way: &Way) -> Connection {
    let mut connection = soon(way.dial(echo())).await.unwrap();
    says(&mut connection, b"hello").await;
    connection
}

/// Waits for such an event.
async fn event(events: &mut RedundancyEvents, mut what: impl FnMut(&RedundancyEvent) -> bool) -> RedundancyEvent {
    soon(async {
        loop {
            let event = events.next().await.expect("it goes on");
            if what(&event) {
                return event;
            }
        }
    })
    .await
}

/// No wait for a tunnel.
const AT_ONCE: Duration = Duration::ZERO;
/// As long as a test lasts.
const PATIENT: Duration = Duration::from_secs(20);

/// Waits until that gateway is up.
async fn up(redundant: &Redundant, name: &str) {
    let is_up = || redundant.status().gateways.iter().any(|gateway| gateway.name == name && gateway.network.is_some());
    soon(async {
        while !is_up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn states(redundant: &Redundant) -> Vec<crate::redundancy::GatewayState> {
    redundant.status().gateways.iter().map(|gateway| gateway.state).collect()
}

//! Questions through a tunnel, to see that it carries.

use std::{io, net::IpAddr, time::Duration};

use tokio::sync::mpsc;

use super::{
    Probe, ProbeTarget,
    member::{Note, What},
};
use crate::{
    active::now,
    client::{Client, Target},
    connection::Connection,
    inside::Tie,
};

/// How long the answer took, or why there is none.
pub(super) type Answered = Result<Duration, String>;

impl Probe {
    /// Whether an answer that never came says anything about the tunnel. A gateway need not answer echo requests.
    pub(super) const fn is_told_apart(&self) -> bool {
        !matches!(self.target, ProbeTarget::Gateway)
    }
}

/// Asks again and again.
pub(super) async fn run(run: u64, client: Client, probe: Probe, notes: mpsc::UnboundedSender<Note>) {
    let interval = probe.interval.max(SHORTEST);
    loop {
        let next = now() + interval;
        let sooner = now() + interval.min(probe.timeout.max(SHORTEST));
        let answered = ask(&client, &probe).await;
        // Without an answer it is asked again as soon as the time for one is over.
        let next = if answered.is_err() { sooner } else { next };
        if notes.send(Note { run, what: What::Probe(probe.clone(), answered) }).is_err() {
            return;
        }
        tokio::time::sleep_until(next.into()).await;
    }
}

/// One question.
async fn ask(client: &Client, probe: &Probe) -> Answered {
    let before = now();
    let asked = async {
        match &probe.target {
            ProbeTarget::Tcp(target) => match dial(client, target).await {
                Ok(connection) => {
                    drop(connection);
                    Ok(now().saturating_duration_since(before))
                }
                // Somebody said so, at the other end of the tunnel.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    Ok(now().saturating_duration_since(before))
                }
                Err(error) => Err(format!("{target}: {error}")),
            },
            ProbeTarget::Icmp(address) => echo(client, *address, probe.timeout).await,
            ProbeTarget::Gateway => match gateway(client) {
                Some(address) => echo(client, address, probe.timeout).await,
                None => Err("it told no address of its own".to_owned()),
            },
        }
    };
    match tokio::time::timeout(probe.timeout, asked).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("{}: no answer within {} ms", probe.target, probe.timeout.as_millis())),
    }
}

/// The connection ends as soon as it is there.
async fn dial(client: &Client, target: &Target) -> io::Result<Connection> {
    let network = client.up().await?;
    client.dial_on(target.clone(), &network, Tie::Probe).await
}

async fn echo(client: &Client, address: IpAddr, timeout: Duration) -> Answered {
    client.ping(address, b"adit", timeout).await.map_err(|error| format!("{address}: {error}"))
}

/// The gateway's own address inside the tunnel.
fn gateway(client: &Client) -> Option<IpAddr> {
    let network = client.network()?;
    network.gateway4.map(IpAddr::from).or_else(|| network.gateway6.map(IpAddr::from))
}

/// Nobody needs to be asked more often.
const SHORTEST: Duration = Duration::from_millis(50);

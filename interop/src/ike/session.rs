//! A strongSwan gateway and a client with a tunnel between them, and a host behind.

use anyhow::{Result, ensure};

use super::{
    charon::{Charon, Counters},
    setup::{IkeClient, Setup},
};
use crate::{client::Client, net::Place, process::Process, rig::Rig};

/// What a case works with once the tunnel is up.
pub(crate) struct IkeSession<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) lan: Process,
    pub(crate) gateway: Charon,
    pub(crate) client: Client,
    before: Counters,
}

impl<'a> IkeSession<'a> {
    /// Proves that the target cannot be reached, then sets up the tunnel.
    pub(crate) fn open(rig: &'a Rig, setup: &Setup) -> Result<Self> {
        Self::open_with(rig, || Charon::start(rig, Place::Gateway, &setup.gateway), &setup.client)
    }

    /// The same with a gateway started in another way.
    pub(crate) fn open_with(
        rig: &'a Rig,
        gateway: impl FnOnce() -> Result<Charon>,
        client: &IkeClient,
    ) -> Result<Self> {
        let lan = rig.start_lan()?;
        rig.prove_unreachable()?;
        let gateway = gateway()?;
        let client = Client::start_ike(rig, client)?;
        client.wait_up()?;
        let before = gateway.counters()?;
        Ok(Self { rig, lan, gateway, client, before })
    }

    /// The Hello World, a megabyte down and a quarter up; then the gateway's counters must show it.
    pub(crate) fn exchange(&mut self) -> Result<()> {
        self.rig.hello(self.client.web())?;
        self.rig.download(self.client.web(), 1 << 20)?;
        self.rig.upload(self.client.web(), 1 << 18)?;
        self.check_counters(1 << 18, 1 << 20)
    }

    /// The gateway's own counters must have grown by at least so much since they were looked at last.
    pub(crate) fn check_counters(&mut self, received: u64, sent: u64) -> Result<()> {
        let now = self.gateway.counters()?;
        ensure!(now.sas == 1 && now.children == 1, "strongSwan has {now:?}, expected one of each");
        let grown = (now.received.saturating_sub(self.before.received), now.sent.saturating_sub(self.before.sent));
        ensure!(
            grown.0 >= received && grown.1 >= sent,
            "strongSwan counted {grown:?} bytes received and sent, expected at least {:?}",
            (received, sent)
        );
        self.before = now;
        Ok(())
    }

    /// The gateway has begun to count anew: with another CHILD_SA, or after a restart.
    pub(crate) fn recount(&mut self) -> Result<()> {
        self.before = self.gateway.counters()?;
        Ok(())
    }

    /// Ends the client, which must leave nothing behind, neither here nor at the gateway.
    pub(crate) fn close(self) -> Result<()> {
        self.client.interrupt()?;
        self.rig.prove_gone()?;
        let left = self.gateway.counters()?;
        ensure!(left.sas == 0, "the gateway still has {left:?}: nobody told it that the client leaves");
        Ok(())
    }
}

//! Who is let in, and with which address.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use adit_tunnel::{Applicant, IpNet, NetworkConfig, PeerId, Verdict};

use super::Setup;

/// What a [`Policy`] decides.
#[derive(Debug, Clone)]
pub enum Judgement {
    /// Welcome, with the next address of the pool.
    Admit,
    /// Exactly this.
    Say(Verdict),
    /// Decided after this time.
    After(Duration, Box<Self>),
    /// Never answered.
    Silence,
}

/// Decides about applicants.
pub type Policy = Box<dyn FnMut(PeerId, &Applicant) -> Judgement>;

/// The inner addresses, 10.8.0.0/16 and fd00:8::/64; the first of each belongs to the network behind the listener.
#[derive(Debug)]
pub(super) struct Pool {
    template: NetworkConfig,
    ipv6: bool,
    taken: BTreeSet<u16>,
}

impl Pool {
    pub(super) fn new(setup: &Setup) -> Self {
        Self { template: setup.network.clone(), ipv6: setup.ipv6, taken: BTreeSet::new() }
    }

    /// The lowest that is free.
    ///
    /// # Panics
    /// If there is none: nothing gives addresses back.
    pub(super) fn lease(&mut self) -> u16 {
        let lease = (FIRST..u16::MAX).find(|lease| !self.taken.contains(lease)).expect("the pool has a free address");
        self.taken.insert(lease);
        lease
    }

    pub(super) fn give_back(&mut self, lease: u16) {
        self.taken.remove(&lease);
    }

    pub(super) fn clear(&mut self) {
        self.taken.clear();
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// What the holder is told.
    pub(super) fn network(&self, lease: u16) -> NetworkConfig {
        let [high, low] = lease.to_be_bytes();
        let mut addresses = vec![net(Ipv4Addr::new(10, 8, high, low).into(), 16)];
        if self.ipv6 {
            addresses.push(net(Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, lease).into(), 64));
        }
        let gateway6 = self.ipv6.then_some(HOST6);
        NetworkConfig { addresses, gateway4: Some(HOST4), gateway6, ..self.template.clone() }
    }
}

fn net(address: IpAddr, prefix: u8) -> IpNet {
    IpNet::new(address, prefix).expect("the prefix fits")
}

/// A host behind the listener.
pub(super) const HOST4: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
/// The same in IPv6.
pub(super) const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 8, 0, 0, 0, 0, 0, 1);
const FIRST: u16 = 2;

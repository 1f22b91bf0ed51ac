//! Which peer the packets for an address go to.

use std::{collections::HashMap, net::IpAddr};

use adit_tunnel::{IpNet, PeerId};

/// Those who are up, by address: the newest last.
#[derive(Debug, Default)]
pub(super) struct Owners {
    by_address: HashMap<IpAddr, Vec<PeerId>>,
}

impl Owners {
    /// The addresses of a peer are others now. Those that stay are not taken back from a newer tunnel.
    pub(super) fn change(&mut self, id: PeerId, old: &[IpNet], new: &[IpNet]) {
        let is_in = |nets: &[IpNet], address| nets.iter().any(|net| net.address() == address);
        for address in old.iter().map(IpNet::address).filter(|address| !is_in(new, *address)) {
            self.disown(address, id);
        }
        for address in new.iter().map(IpNet::address).filter(|address| !is_in(old, *address)) {
            self.by_address.entry(address).or_default().push(id);
        }
    }

    /// Whose packets for this address are.
    pub(super) fn newest(&self, address: IpAddr) -> Option<PeerId> {
        self.by_address.get(&address)?.last().copied()
    }

    /// Packets go to the one before, if there is still one.
    fn disown(&mut self, address: IpAddr, id: PeerId) {
        if let Some(owners) = self.by_address.get_mut(&address) {
            owners.retain(|other| *other != id);
            if owners.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pool::tests::net, *};

    #[test]
    fn the_newest_has_the_packets_until_it_goes() {
        let [one, two] = [net("10.8.0.2/24"), net("10.8.0.3/24")];
        let [old, new] = [PeerId(1), PeerId(2)];
        let mut owners = Owners::default();
        owners.change(old, &[], &[one]);
        owners.change(new, &[], &[one]);
        assert_eq!(owners.newest(one.address()), Some(new));
        // As after a change of the MTU alone.
        owners.change(old, &[one], &[one]);
        assert_eq!(owners.newest(one.address()), Some(new), "it is not taken back");
        owners.change(old, &[one], &[one, two]);
        assert_eq!((owners.newest(one.address()), owners.newest(two.address())), (Some(new), Some(old)));
        owners.change(new, &[one], &[]);
        assert_eq!(owners.newest(one.address()), Some(old), "the one before");
        owners.change(old, &[one, two], &[]);
        assert!(owners.by_address.is_empty());
    }
}

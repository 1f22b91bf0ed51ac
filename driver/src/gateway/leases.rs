//! The addresses in use: who has which, and for how long.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use adit_tunnel::IpNet;

use super::pool::{Pool, address};

/// What a peer asks the pool for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) identity: Option<&'a str>,
    /// Addresses it asks for itself; unspecified ones mean any of their family. None at all: one of each family.
    pub(super) asked: &'a [IpAddr],
    /// Addresses it must get.
    pub(super) fixed: &'a [IpAddr],
    /// The older tunnels of this identity are about to end: it inherits their addresses.
    pub(super) inherits: bool,
    /// Where it is outside.
    pub(super) remote: SocketAddr,
}

/// The addresses in use.
#[derive(Debug)]
pub(super) struct Leases {
    pool: Pool,
    /// By address: whose, and how many tunnels hold it.
    held: HashMap<IpAddr, Holders>,
    /// What an identity had last, the oldest first to be forgotten.
    last: HashMap<Box<str>, Vec<IpAddr>>,
    order: VecDeque<Box<str>>,
    /// By network of the pool: where the search for a free address goes on.
    next: Vec<u128>,
}

#[derive(Debug)]
struct Holders {
    identity: Option<Box<str>>,
    count: usize,
    /// Where the one that was last heard of is outside.
    remote: SocketAddr,
}

/// The pool has no address that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAddress;

/// How many identities are remembered with their addresses after they have left.
const REMEMBERED: usize = 4096;

impl Leases {
    pub(super) fn new(pool: Pool) -> Self {
        let next = pool.networks.iter().map(|network| network.first).collect();
        Self { pool, held: HashMap::new(), last: HashMap::new(), order: VecDeque::new(), next }
    }

    /// Addresses for a peer, each with the prefix of its network; to be given back by [`Self::release`].
    pub(super) fn take(&mut self, wish: Wish<'_>) -> Result<Vec<IpNet>, NoAddress> {
        let mut chosen = Vec::new();
        for is_v4 in [true, false] {
            if !wish.wants(is_v4) || !self.pool.networks.iter().any(|network| network.is_v4() == is_v4) {
                continue;
            }
            chosen.push(self.choose(&wish, is_v4).ok_or(NoAddress)?);
        }
        let nets: Option<Vec<IpNet>> =
            chosen.iter().map(|address| IpNet::new(*address, self.pool.network_of(*address)?.net.prefix())).collect();
        let nets = nets.filter(|nets| !nets.is_empty()).ok_or(NoAddress)?;
        for address in &chosen {
            let new = || Holders { identity: wish.identity.map(Into::into), count: 0, remote: wish.remote };
            let holders = self.held.entry(*address).or_insert_with(new);
            holders.count += 1;
            holders.remote = wish.remote;
        }
        if let Some(identity) = wish.identity {
            self.remember(identity, chosen);
        }
        Ok(nets)
    }

    /// One tunnel less holds these.
    pub(super) fn release(&mut self, addresses: &[IpNet]) {
        for address in addresses.iter().map(IpNet::address) {
            let Some(holders) = self.held.get_mut(&address) else { continue };
            holders.count -= 1;
            if holders.count == 0 {
                self.held.remove(&address);
            }
        }
    }

    /// Who holds these is somewhere else outside from now on.
    pub(super) fn moved(&mut self, addresses: &[IpNet], remote: SocketAddr) {
        for address in addresses.iter().map(IpNet::address) {
            if let Some(holders) = self.held.get_mut(&address) {
                holders.remote = remote;
            }
        }
    }

    /// How many addresses are in use.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn choose(&mut self, wish: &Wish<'_>, is_v4: bool) -> Option<IpAddr> {
        let of_family = |addresses: &[IpAddr]| addresses.iter().copied().find(|a| a.is_ipv4() == is_v4);
        if let Some(fixed) = of_family(wish.fixed) {
            return Some(fixed).filter(|address| self.may_have(wish, *address, true));
        }
        let of_family = |addresses: &[IpAddr]| of_family(addresses).filter(|address| !self.is_reserved(address));
        let last = wish.identity.and_then(|identity| of_family(self.last.get(identity)?));
        if let Some(last) = last.filter(|address| self.may_have(wish, *address, wish.inherits)) {
            return Some(last);
        }
        // Who asks, from where the tunnel comes that holds it, for the very address that its identity has is about to replace that
        // tunnel (RFC 7296 §2.8.3: a new IKE SA, then the old one is deleted). From elsewhere it is another device of that user.
        let replaces = |address: &IpAddr| self.held.get(address).is_some_and(|holders| holders.remote == wish.remote);
        let may_have = |address: &IpAddr| self.may_have(wish, *address, wish.inherits || replaces(address));
        if let Some(asked) = of_family(wish.asked).filter(may_have) {
            return Some(asked);
        }
        let indexes = 0..self.pool.networks.len();
        indexes.into_iter().find_map(|index| self.next_free(index, is_v4))
    }

    fn is_reserved(&self, address: &IpAddr) -> bool {
        self.pool.reserved.contains(address)
    }

    /// Whether the address is of the pool, and free, or, where that is allowed, held by the same identity.
    fn may_have(&self, wish: &Wish<'_>, address: IpAddr, shared: bool) -> bool {
        let same =
            |holders: &Holders| shared && wish.identity.is_some() && holders.identity.as_deref() == wish.identity;
        self.pool.network_of(address).is_some() && self.held.get(&address).is_none_or(same)
    }

    /// Among one address more than there are holders and reserved ones, one is free.
    fn next_free(&mut self, index: usize, is_v4: bool) -> Option<IpAddr> {
        let network = self.pool.networks.get(index).filter(|network| network.is_v4() == is_v4)?;
        let next = self.next.get_mut(index)?;
        for _ in 0..=self.held.len() + self.pool.reserved.len() {
            let candidate = address(*next, is_v4);
            *next = if *next >= network.last { network.first } else { *next + 1 };
            if !self.held.contains_key(&candidate) && !self.pool.reserved.contains(&candidate) {
                return Some(candidate);
            }
        }
        None
    }

    fn remember(&mut self, identity: &str, addresses: Vec<IpAddr>) {
        if self.last.insert(identity.into(), addresses).is_some() {
            return;
        }
        self.order.push_back(identity.into());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
    }
}

impl Wish<'_> {
    fn wants(&self, is_v4: bool) -> bool {
        let any = |addresses: &[IpAddr]| addresses.iter().any(|address| address.is_ipv4() == is_v4);
        self.asked.is_empty() || any(self.asked) || any(self.fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pool::tests::net, *};

    fn leases(networks: &[&str]) -> Leases {
        Leases::new(Pool::new(networks.iter().map(|text| net(text))).unwrap())
    }

    fn wish(identity: Option<&str>) -> Wish<'_> {
        Wish { identity, asked: &[], fixed: &[], inherits: false, remote: "198.51.100.7:4500".parse().unwrap() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_address_is_the_gateways_and_the_last_of_ipv4_is_nobodys() {
        let mut leases = leases(&["10.8.0.77/30", "10.9.0.0/29"]);
        let own: Vec<_> = leases.pool.own_addresses().collect();
        assert_eq!(own, [net("10.8.0.77/30"), net("10.9.0.1/29")]);
        let taken: Vec<_> = (0..6).map(|_| leases.take(wish(None)).unwrap()[0]).collect();
        let expected = ["10.8.0.78/30", "10.9.0.2/29", "10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29", "10.9.0.6/29"];
        assert_eq!(taken, expected.map(net));
        assert_eq!(leases.take(wish(None)), Err(NoAddress));
        leases.release(&taken[3..4]);
        assert_eq!(leases.take(wish(None)).unwrap(), [taken[3]]);
    }

    #[test]
    fn a_peer_gets_the_families_it_asks_for() {
        let mut leases = leases(&["10.8.0.0/24", "fd00:8::/64"]);
        assert_eq!(leases.take(wish(None)).unwrap(), [net("10.8.0.2/24"), net("fd00:8::2/64")]);
        let v6 = [ip("::")];
        assert_eq!(leases.take(Wish { asked: &v6, ..wish(None) }).unwrap(), [net("fd00:8::3/64")]);
        let both = [ip("::"), ip("0.0.0.0")];
        let taken = leases.take(Wish { asked: &both, ..wish(None) }).unwrap();
        assert_eq!(taken, [net("10.8.0.3/24"), net("fd00:8::4/64")]);
        let mut only4 = self::leases(&["10.8.0.0/24"]);
        assert_eq!(only4.take(Wish { asked: &v6, ..wish(None) }), Err(NoAddress));
        assert_eq!(only4.take(Wish { asked: &both, ..wish(None) }).unwrap(), [net("10.8.0.2/24")]);
    }

    #[test]
    fn an_identity_gets_its_address_again_while_it_is_free() {
        let mut leases = leases(&["10.8.0.0/24"]);
        let ann = leases.take(wish(Some("ann"))).unwrap();
        let bob = leases.take(wish(Some("bob"))).unwrap();
        leases.release(&ann);
        let carl = leases.take(wish(Some("carl"))).unwrap();
        assert!(carl != ann && carl != bob);
        assert_eq!(leases.take(wish(Some("ann"))).unwrap(), ann);
        let second = leases.take(wish(Some("ann"))).unwrap();
        assert!(second != ann && second != bob && second != carl, "a second device has one of its own");
    }

    #[test]
    fn whoever_asks_for_an_address_gets_it_unless_another_identity_has_it() {
        let mut leases = leases(&["10.8.0.0/24"]);
        let asked = [ip("10.8.0.50")];
        let first = leases.take(Wish { asked: &asked, ..wish(Some("ann")) }).unwrap();
        assert_eq!(first, [net("10.8.0.50/24")]);
        let other = leases.take(Wish { asked: &asked, ..wish(Some("bob")) }).unwrap();
        let nameless = leases.take(Wish { asked: &asked, ..wish(None) }).unwrap();
        assert!(other != first && nameless != first && nameless != other);
        assert_eq!(leases.take(Wish { asked: &asked, ..wish(Some("ann")) }).unwrap(), first, "replaces the tunnel");
        leases.release(&first);
        assert_eq!(leases.held.get(&first[0].address()).unwrap().count, 1, "the lease ends with the last");
        leases.release(&first);
        assert_eq!(leases.take(Wish { asked: &asked, ..wish(Some("bob")) }).unwrap(), first, "it is free again");
        for outside in ["10.8.0.0", "10.8.0.1", "10.8.0.255", "10.9.0.1"].map(ip) {
            let got = leases.take(Wish { asked: &[outside], ..wish(None) }).unwrap();
            assert_ne!(got[0].address(), outside);
        }
    }

    #[test]
    fn another_device_of_a_user_gets_no_address_that_is_in_use() {
        let mut leases = leases(&["10.8.0.0/24"]);
        let (here, there) = (wish(Some("ann")).remote, "198.51.100.8:4500".parse().unwrap());
        let first = leases.take(wish(Some("ann"))).unwrap();
        let asked = [first[0].address()];
        let second = leases.take(Wish { asked: &asked, remote: there, ..wish(Some("ann")) }).unwrap();
        assert_ne!(second, first, "both are to be reached");
        leases.moved(&first, there);
        let again = Wish { asked: &asked, ..wish(Some("ann")) };
        assert_ne!(leases.take(Wish { remote: here, ..again }).unwrap(), first, "it has moved away from here");
        assert_eq!(leases.take(Wish { remote: there, ..again }).unwrap(), first, "and replaces its tunnel there");
        let alone = Wish { remote: here, inherits: true, ..again };
        assert_eq!(leases.take(alone).unwrap(), first, "the others are about to end");
    }

    #[test]
    fn one_that_is_alone_inherits_the_address_of_the_tunnels_it_ends() {
        let mut leases = leases(&["10.8.0.0/24"]);
        let old = leases.take(wish(Some("ann"))).unwrap();
        let new = leases.take(Wish { inherits: true, ..wish(Some("ann")) }).unwrap();
        assert_eq!(new, old);
        leases.release(&old);
        assert_eq!(leases.len(), 1);
        leases.release(&new);
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn a_fixed_address_is_given_or_nothing_is() {
        let mut leases = leases(&["10.8.0.0/24", "fd00:8::/64"]);
        let fixed = [ip("10.8.0.9")];
        let taken = leases.take(Wish { fixed: &fixed, ..wish(Some("ann")) }).unwrap();
        assert_eq!(taken, [net("10.8.0.9/24"), net("fd00:8::2/64")]);
        assert_eq!(leases.take(Wish { fixed: &fixed, ..wish(Some("bob")) }), Err(NoAddress));
        assert_eq!(
            leases.take(Wish { fixed: &[ip("10.8.0.1")], ..wish(Some("bob")) }),
            Err(NoAddress),
            "the gateway's"
        );
        assert_eq!(leases.len(), 2, "nothing is held by those who got nothing");
    }

    #[test]
    fn a_reserved_address_is_for_whom_it_is_fixed() {
        let pool = Pool::new([net("10.8.0.0/29")]).unwrap();
        let mut leases = Leases::new(pool.reserving(["10.8.0.2", "10.8.0.4"].map(ip)));
        let [fixed, other] = [[ip("10.8.0.2")], [ip("10.8.0.4")]];
        let asked = leases.take(Wish { asked: &fixed, ..wish(Some("bob")) }).unwrap();
        assert_eq!(asked, [net("10.8.0.3/29")], "asking is not enough");
        let taken: Vec<_> = (0..2).map(|_| leases.take(wish(None)).unwrap()[0]).collect();
        assert_eq!(taken, ["10.8.0.5/29", "10.8.0.6/29"].map(net));
        assert_eq!(leases.take(wish(None)), Err(NoAddress), "the pool keeps them");
        let ann = leases.take(Wish { fixed: &fixed, ..wish(Some("ann")) }).unwrap();
        assert_eq!(ann, [net("10.8.0.2/29")]);
        leases.release(&ann);
        assert_eq!(leases.take(wish(Some("ann"))), Err(NoAddress), "what it had last is no longer its own");
        assert_eq!(leases.take(Wish { fixed: &other, ..wish(Some("ann")) }).unwrap(), [net("10.8.0.4/29")]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut leases = leases(&["fd00::/64"]);
        for number in 0..10_000 {
            let identity = number.to_string();
            let taken = leases.take(wish(Some(&identity))).unwrap();
            leases.release(&taken);
        }
        assert_eq!((leases.len(), leases.last.len(), leases.order.len()), (0, REMEMBERED, REMEMBERED));
    }
}

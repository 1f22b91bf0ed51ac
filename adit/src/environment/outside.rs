//! What leads to destinations that a gateway does not carry: such a connection can never work, and that is said before anybody tries.

use std::net::IpAddr;

use adit_driver::{Target, redundancy::GatewayStatus};
use adit_tunnel::{IpNet, RouteVia};

use super::task::Task;
use crate::{
    plan::{ConnectionPlan, ForwardKind, ForwardPlan},
    up::Routing,
};

/// What was said about the tunnels of now: the gateway, which of its tunnels, and what leads outside.
#[derive(Debug, Default)]
pub(super) struct Outside(Vec<(String, u64, String)>);

/// The destinations of a gateway.
enum Known {
    /// It has agreed to carry these alone: traffic selectors of IKEv2. All else is dropped.
    Agreed(Vec<IpNet>),
    /// It has named these, and may carry more: routes of OpenVPN.
    Told(Vec<IpNet>),
}

impl Task {
    /// Says what leads outside of the networks of a gateway that is up, once for each tunnel.
    pub(super) fn look_outside(&mut self) {
        let Some(running) = &self.running else { return };
        let gateways = running.redundant.status().gateways;
        let is_now = |name: &str, attempts| gateways.iter().any(|now| now.name == name && now.attempts == attempts);
        self.outside.0.retain(|(gateway, attempts, _)| is_now(gateway, *attempts));
        for gateway in &gateways {
            let Some(known) = known(gateway) else { continue };
            for what in outside(&self.plan, &gateway.name, &known) {
                let said = (gateway.name.clone(), gateway.attempts, what);
                if !self.outside.0.contains(&said) {
                    say(&gateway.name, &known, &said.2);
                    self.outside.0.push(said);
                }
            }
        }
    }
}

fn say(gateway: &str, known: &Known, what: &str) {
    match known {
        Known::Agreed(networks) => {
            let (networks, hint) = (names(networks), CURE);
            tracing::warn!(
                hint,
                "{what}, which gateway {gateway} does not carry: it agreed to {networks}; what is sent there fails at once"
            );
        }
        Known::Told(networks) => {
            let networks = names(networks);
            tracing::info!(
                "{what}, which gateway {gateway} has not named: it told of {networks}; it may carry it nevertheless"
            );
        }
    }
}

/// What is known of where the tunnel leads, while it is up. Nothing where everything may go there.
fn known(gateway: &GatewayStatus) -> Option<Known> {
    let network = gateway.network.as_ref()?;
    if let Some(networks) = &gateway.carries {
        return Some(Known::Agreed(networks.to_vec()));
    }
    let tunnel = network.routes.iter().filter(|route| route.via == RouteVia::Tunnel);
    let mut networks: Vec<IpNet> = tunnel.map(|route| route.destination).collect();
    if networks.is_empty() || network.redirect4 || network.redirect6 {
        return None;
    }
    networks.extend_from_slice(&network.addresses);
    networks.extend(network.gateway4.map(IpNet::host));
    networks.extend(network.gateway6.map(IpNet::host));
    Some(Known::Told(networks))
}

/// What of the plan leads elsewhere through this gateway, a clause each.
fn outside(plan: &ConnectionPlan, gateway: &str, known: &Known) -> Vec<String> {
    let (Known::Agreed(networks) | Known::Told(networks)) = known;
    let carries = |address: IpAddr| networks.iter().any(|network| network.contains(address.to_canonical()));
    let forwards = plan.forwards.iter().filter(|forward| forward.gateway.as_deref().is_none_or(|pin| pin == gateway));
    let destinations = forwards.filter_map(|forward| Some((forward, destination(forward)?)));
    let mut found: Vec<String> = destinations
        .filter(|(_, address)| !carries(address.ip()))
        .map(|(forward, address)| format!("forward {} leads to {address}", forward.name))
        .collect();
    if let (Some(tun), Known::Agreed(_)) = (&plan.tun, known) {
        let routed = match &tun.routing {
            Routing::Only(routes) => routes.clone(),
            Routing::Full => IpNet::new([0; 4], 0).into_iter().collect(),
            // These are the gateway's own.
            Routing::Pushed | Routing::Split => Vec::new(),
        };
        let lost = routed.iter().filter(|route| !covers(networks, **route));
        found.extend(lost.map(|route| format!("the device takes {route}")));
    }
    found
}

/// The address that a forward leads to, if it is always the same. Names are known only once they are asked for.
fn destination(forward: &ForwardPlan) -> Option<std::net::SocketAddr> {
    match &forward.kind {
        ForwardKind::Local { to, .. } | ForwardKind::Stdio { to } => match to {
            Target::Address(address) => Some(*address),
            Target::Name(..) => None,
        },
        ForwardKind::Reverse { .. } | ForwardKind::Socks { .. } | ForwardKind::HttpProxy { .. } => None,
    }
}

/// Whether the networks have every address of this one, perhaps only together.
fn covers(networks: &[IpNet], net: IpNet) -> bool {
    if networks.iter().any(|other| other.prefix() <= net.prefix() && other.contains(net.address())) {
        return true;
    }
    if !networks.iter().any(|other| other.prefix() > net.prefix() && net.contains(other.address())) {
        return false;
    }
    halves(net).is_some_and(|halves| halves.into_iter().all(|half| covers(networks, half)))
}

/// Both halves of a network; none of a single address.
fn halves(net: IpNet) -> Option<[IpNet; 2]> {
    let prefix = net.prefix() + 1;
    let addresses: [IpAddr; 2] = match net.address() {
        IpAddr::V4(address) => {
            let bit = 1u32.checked_shl(32u32.checked_sub(prefix.into())?)?;
            let address = u32::from(address);
            [(address & !bit).to_be_bytes().into(), (address | bit).to_be_bytes().into()]
        }
        IpAddr::V6(address) => {
            let bit = 1u128.checked_shl(128u32.checked_sub(prefix.into())?)?;
            let address = u128::from(address);
            [(address & !bit).to_be_bytes().into(), (address | bit).to_be_bytes().into()]
        }
    };
    Some([IpNet::new(addresses[0], prefix)?, IpNet::new(addresses[1], prefix)?])
}

fn names(networks: &[IpNet]) -> String {
    let mut names: Vec<String> = networks.iter().take(NAMED).map(ToString::to_string).collect();
    if networks.len() > NAMED {
        names.push(format!("{} more", networks.len() - NAMED));
    }
    names.join(", ")
}

/// So many networks are named.
const NAMED: usize = 8;
const CURE: &str = "correct the destination, have the gateway offer that network (traffic selectors, `local_ts` of strongSwan), or pin what \
                    leads there to another gateway";

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        let (address, prefix) = text.split_once('/').unwrap();
        IpNet::new(address.parse::<IpAddr>().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn networks_cover_what_they_have_alone_or_together() {
        let covers = |networks: &[&str], of: &str| {
            let networks: Vec<IpNet> = networks.iter().map(|network| net(network)).collect();
            covers(&networks, net(of))
        };
        assert!(covers(&["10.0.0.0/8"], "10.1.0.0/16"));
        assert!(covers(&["10.1.0.0/16"], "10.1.0.0/16"));
        assert!(!covers(&["10.1.0.0/16"], "10.0.0.0/8"));
        assert!(covers(&["10.0.0.0/9", "10.128.0.0/9"], "10.0.0.0/8"));
        assert!(covers(&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"], "0.0.0.0/0"));
        assert!(!covers(&["0.0.0.0/1", "128.0.0.0/2", "224.0.0.0/3"], "0.0.0.0/0"));
        assert!(!covers(&["10.0.0.1/32"], "10.0.0.0/31"));
        assert!(covers(&["2001:db8::/33", "2001:db8:8000::/33"], "2001:db8::/32"));
        assert!(!covers(&["0.0.0.0/0"], "::/0"));
        assert!(!covers(&["::1/128"], "::/0"));
    }
}

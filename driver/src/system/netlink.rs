//! Links, addresses, routes and rules of the kernel: one request, one answer, on a socket that stays in its namespace.

use std::{io, net::IpAddr};

use adit_tunnel::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::plan::{Change, Target};

/// A socket of the namespace it was opened in.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What is done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Add,
    Remove,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings the device up, with this MTU.
    pub(super) fn bring_up(&mut self, index: u32, mtu: u16) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::Mtu(mtu.into()));
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Adds or removes an address, a route or a rule. `false` if it was so already.
    ///
    /// # Errors
    /// The kernel's. `InvalidInput` for a change of another kind.
    pub(super) fn change(&mut self, index: u32, change: &Change, action: Action) -> io::Result<bool> {
        let message = message(index, change, action)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a change of the kernel's tables"))?;
        let flags = match (action, change) {
            // The same for every full tunnel: each has its own, or the first to end would take it from the others.
            (Action::Add, Change::RuleSpecific { .. }) => NLM_F_CREATE,
            (Action::Add, _) => NLM_F_CREATE | NLM_F_EXCL,
            (Action::Remove, _) => 0,
        };
        match self.request(message, flags) {
            Ok(()) => Ok(true),
            Err(error) if is_done_already(&error, action) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            if let NetlinkPayload::Error(error) = answer.payload {
                return match error.code {
                    None => Ok(()),
                    Some(_) => Err(error.to_io()),
                };
            }
        }
    }
}

/// Whether there was nothing to do: it exists, or it does not, or its device is gone with all that was on it.
fn is_done_already(error: &io::Error, action: Action) -> bool {
    use rustix::io::Errno;
    let done: &[Errno] = match action {
        Action::Add => &[Errno::EXIST],
        Action::Remove => &[Errno::SRCH, Errno::NOENT, Errno::ADDRNOTAVAIL, Errno::NODEV],
    };
    done.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The request for a change; `None` for one that is not the kernel's business here.
fn message(index: u32, change: &Change, action: Action) -> Option<RouteNetlinkMessage> {
    let add = action == Action::Add;
    Some(match change {
        Change::Address(net) => {
            let message = address(index, net.0);
            if add { RouteNetlinkMessage::NewAddress(message) } else { RouteNetlinkMessage::DelAddress(message) }
        }
        Change::Route { to, table, target, metric } => {
            let message = route(index, to.0, *table, *target, *metric);
            if add { RouteNetlinkMessage::NewRoute(message) } else { RouteNetlinkMessage::DelRoute(message) }
        }
        Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } => {
            let message = rule(change)?;
            if add { RouteNetlinkMessage::NewRule(message) } else { RouteNetlinkMessage::DelRule(message) }
        }
        Change::Dns(_) => return None,
    })
}

fn address(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.address().is_ipv6());
    message.header.prefix_len = net.prefix();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    // There is nobody on this link who could have the same one.
    if net.address().is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Local(net.address()));
    message.attributes.push(AddressAttribute::Address(net.address()));
    message
}

fn route(index: u32, to: IpNet, table: u32, target: Target, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(to.address().is_ipv6());
    header.destination_prefix_length = to.prefix();
    header.protocol = RouteProtocol::Static;
    header.kind = match target {
        Target::Device => RouteType::Unicast,
        Target::Unreachable => RouteType::Unreachable,
        Target::Throw => RouteType::Throw,
    };
    header.scope = match target {
        Target::Device if to.address().is_ipv4() => RouteScope::Link,
        Target::Device | Target::Unreachable | Target::Throw => RouteScope::Universe,
    };
    header.table = RouteHeader::RT_TABLE_UNSPEC;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(table));
    if to.prefix() > 0 {
        attributes.push(RouteAttribute::Destination(match to.address() {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        }));
    }
    if target == Target::Device {
        attributes.push(RouteAttribute::Oif(index));
    }
    if metric > 0 {
        attributes.push(RouteAttribute::Priority(metric));
    }
    message
}

fn rule(change: &Change) -> Option<RuleMessage> {
    let (v6, table, priority) = match change {
        Change::RuleSpecific { v6, table, priority } | Change::RuleUnmarked { v6, table, priority, .. } => {
            (*v6, *table, *priority)
        }
        Change::Address(_) | Change::Route { .. } | Change::Dns(_) => return None,
    };
    let mut message = RuleMessage::default();
    message.header.family = family(v6);
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(priority));
    message.attributes.push(RuleAttribute::Table(table));
    if let Change::RuleUnmarked { mark, .. } = change {
        message.header.flags = RuleFlags::Invert;
        message.attributes.push(RuleAttribute::FwMark(*mark));
    } else {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    Some(message)
}

fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

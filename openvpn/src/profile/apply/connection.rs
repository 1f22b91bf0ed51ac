//! Gateways and the outer sockets.

use std::time::Duration;

use adit_tunnel::Transport;

use super::{
    super::draft::{Proto, RemoteLine, Trouble},
    APPLIED, Applied, Context, HARMLESS, lossy, no_arguments, one, wrong_count,
};
use crate::{
    config::{Family, Mssfix},
    options::parse::{exit_notify, number, socket_buffer},
};

/// `remote HOST [PORT [PROTO]]`.
pub(in super::super) fn remote(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (host, port, proto) = match arguments {
        [host] => (host, None, None),
        [host, port] => (host, Some(super::port(port)?), None),
        [host, port, proto] => (host, Some(super::port(port)?), Some(parse_proto(proto)?)),
        [] => return Err("the gateway is missing; write `remote HOST PORT`".into()),
        _ => return Err(wrong_count()),
    };
    if host.is_empty() || host.len() > 255 || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("the gateway is neither a name nor an address".into());
    }
    if cx.connection.remotes.len() == MAX_REMOTES {
        return Err(format!("there are more than {MAX_REMOTES} gateways").into());
    }
    cx.connection.remotes.push(RemoteLine { host: (*host).to_owned(), port, proto });
    APPLIED
}

pub(in super::super) fn proto(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.connection.proto = parse_proto(one(arguments)?)?;
    APPLIED
}

fn parse_proto(word: &str) -> Result<Proto, Trouble> {
    let (transport, family) = match word {
        "udp" => (Transport::Udp, None),
        "udp4" => (Transport::Udp, Some(Family::V4)),
        "udp6" => (Transport::Udp, Some(Family::V6)),
        "tcp" | "tcp-client" => (Transport::Tcp, None),
        "tcp4" | "tcp4-client" => (Transport::Tcp, Some(Family::V4)),
        "tcp6" | "tcp6-client" => (Transport::Tcp, Some(Family::V6)),
        "tcp-server" | "tcp4-server" | "tcp6-server" => return Err("this is for servers; write `tcp-client`".into()),
        _ => return Err("the protocol is unknown; write udp, udp4, udp6, tcp, tcp4 or tcp6".into()),
    };
    Ok(Proto { transport, family })
}

pub(in super::super) fn proto_force(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.proto_force = Some(parse_proto(one(arguments)?)?.transport);
    APPLIED
}

pub(in super::super) fn port(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.connection.port = super::port(one(arguments)?)?;
    APPLIED
}

pub(in super::super) fn lport(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    // Zero lets the system choose.
    let port = number(one(arguments)?, 0..=u16::MAX.into())?;
    let port = u16::try_from(port).ok().filter(|&port| port != 0);
    if cx.in_block {
        return lossy("the local port is the same for all gateways");
    }
    cx.connection.local_port = port;
    APPLIED
}

pub(in super::super) fn local(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let address = one(arguments)?.parse().map_err(|_| "an address of this machine is expected")?;
    if cx.in_block {
        return lossy("the local address is the same for all gateways");
    }
    cx.connection.local = Some(address);
    APPLIED
}

pub(in super::super) fn nobind(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    cx.connection.nobind = true;
    HARMLESS
}

pub(in super::super) fn connect_timeout(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    // Zero would give up at once.
    cx.connection.connect_timeout = Duration::from_secs(number(one(arguments)?, 1..=i32::MAX as u32)?.into());
    APPLIED
}

/// `connect-retry N [MAX]`.
pub(in super::super) fn connect_retry(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (first, max) = match arguments {
        [first] => (first, None),
        [first, max] => (first, Some(max)),
        _ => return Err(wrong_count()),
    };
    // OpenVPN takes 0 as 1.
    let seconds = |word: &str| Ok::<_, Trouble>(Duration::from_secs(number(word, 0..=86400)?.max(1).into()));
    let (first, max) = (seconds(first)?, max.map(|max| seconds(max)).transpose()?);
    if cx.in_block {
        return lossy("the wait between attempts is the same for all gateways");
    }
    let settings = &mut cx.draft.settings;
    settings.connect_retry = first;
    settings.connect_retry_max_wait = max.unwrap_or(settings.connect_retry_max_wait).max(first);
    APPLIED
}

pub(in super::super) fn connect_retry_max(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let rounds = match one(arguments)? {
        "unlimited" => None,
        rounds => Some(number(rounds, 0..=u32::MAX)?).filter(|&rounds| rounds > 0),
    };
    if cx.in_block {
        return lossy("the number of attempts is the same for all gateways");
    }
    cx.draft.settings.connect_retry_max = rounds;
    APPLIED
}

pub(in super::super) fn remote_random(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    cx.draft.settings.remote_random = true;
    APPLIED
}

pub(in super::super) fn sndbuf(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.socket_buffers.1 = socket_buffer(one(arguments)?)?;
    APPLIED
}

pub(in super::super) fn rcvbuf(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.socket_buffers.0 = socket_buffer(one(arguments)?)?;
    APPLIED
}

pub(in super::super) fn explicit_exit_notify(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.connection.explicit_exit_notify = Some(exit_notify(arguments)?).filter(|&count| count > 0);
    APPLIED
}

/// `mssfix [N [mtu|fixed]]`.
pub(in super::super) fn mssfix(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let size = |word| -> Result<u16, Trouble> {
        let size = number(word, 0..=u16::MAX.into())?;
        if (1..MIN_MSSFIX).contains(&size) {
            return Err(format!("no TCP fits into it; write 0, or a number from {MIN_MSSFIX} to {}", u16::MAX).into());
        }
        u16::try_from(size).map_err(|_| "its value is too large".into())
    };
    cx.connection.mssfix = match arguments {
        [] => Mssfix::OuterIp(1492),
        [size_word, ..] if size(size_word)? == 0 => Mssfix::Off,
        [word] => Mssfix::Payload(size(word)?),
        [word, "mtu"] => Mssfix::OuterIp(size(word)?),
        [word, "fixed"] => {
            size(word)?;
            return lossy("`fixed` is not supported; the default `1492 mtu` is used");
        }
        _ => return Err("write `mssfix N` or `mssfix N mtu`".into()),
    };
    APPLIED
}

/// `tun-mtu N [M]`; M is only compared with the server's.
pub(in super::super) fn tun_mtu(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let ([word] | [word, _]) = arguments else { return Err(wrong_count()) };
    let mtu = number(word, MIN_TUN_MTU..=u16::MAX.into())?;
    cx.connection.tun_mtu = u16::try_from(mtu).map_err(|_| "its value is too large")?;
    APPLIED
}

/// OpenVPN 2.6 allows 154 to 2048.
pub(in super::super) fn max_packet_size(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let size = number(one(arguments)?, 154..=2048)?;
    if cx.in_block {
        return lossy("the size of control packets is the same for all gateways");
    }
    cx.connection.max_packet_size = u16::try_from(size).map_err(|_| "its value is too large")?;
    APPLIED
}

const MAX_REMOTES: usize = super::super::MAX_REMOTES;

/// Headers of IPv6, TCP, OpenVPN and CBC, and a little to carry; our judgement.
const MIN_MSSFIX: u32 = 200;

/// OpenVPN 2.6 `mtu.h`, `TUN_MTU_MIN`.
const MIN_TUN_MTU: u32 = 100;

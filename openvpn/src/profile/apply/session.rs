//! The session: mode, timers, data channel.

use std::time::Duration;

use super::{
    super::draft::Trouble, APPLIED, Applied, Context, HARMLESS, lossy, no_arguments, one, seconds, wrong_count,
};
use crate::{
    algorithms::{Cipher, Digest},
    options::parse::{self, number},
};

pub(in super::super) fn client(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    (cx.draft.tls, cx.draft.pull) = (true, true);
    APPLIED
}

pub(in super::super) fn tls_client(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    cx.draft.tls = true;
    APPLIED
}

pub(in super::super) fn pull(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    cx.draft.pull = true;
    APPLIED
}

pub(in super::super) fn mode(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "p2p" => HARMLESS,
        "server" => Err("this is the configuration of a server; ask for that of a client".into()),
        _ => Err("the mode is unknown; remove it".into()),
    }
}

pub(in super::super) fn dev(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let name = one(arguments)?;
    if name.starts_with("tap") { Err(TAP.into()) } else { HARMLESS }
}

pub(in super::super) fn dev_type(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "tun" => HARMLESS,
        "tap" => Err(TAP.into()),
        _ => Err("the type is unknown; write tun".into()),
    }
}

/// `setenv NAME [VALUE]`; `setenv opt` is handled before.
pub(in super::super) fn setenv(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let (name, value) = match arguments {
        [name] => (*name, ""),
        [name, value] => (*name, *value),
        _ => return Err(wrong_count()),
    };
    match name {
        "FORWARD_COMPATIBLE" => {
            cx.draft.forward_compatible |= value != "0";
            APPLIED
        }
        "GENERIC_CONFIG" => Err("this is not a profile but a template; ask for one of your own".into()),
        "IV_GUI_VER" => peer_info(cx, name, value),
        name if name.starts_with("UV_") && cx.push_peer_info => peer_info(cx, name, value),
        _ => HARMLESS,
    }
}

fn peer_info(cx: &mut Context<'_>, name: &str, value: &str) -> Applied {
    let peer_info = &mut cx.draft.settings.peer_info;
    let fine = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !fine {
        return Err("a name has only letters, digits and `_`".into());
    }
    peer_info.retain(|(known, _)| known != name);
    if peer_info.len() == MAX_PEER_INFO {
        return Err(format!("there are more than {MAX_PEER_INFO} variables for the server").into());
    }
    peer_info.push((name.to_owned(), value.to_owned()));
    APPLIED
}

pub(in super::super) fn push_peer_info(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    no_arguments(arguments)?;
    cx.draft.settings.push_peer_info = true;
    APPLIED
}

pub(in super::super) fn ignore_unknown_option(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.ignorable.extend(arguments.iter().map(|&name| name.trim_start_matches("--").to_owned()));
    APPLIED
}

pub(in super::super) fn tls_timeout(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.tls_timeout = positive(arguments)?;
    APPLIED
}

pub(in super::super) fn hand_window(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.hand_window = positive(arguments)?;
    APPLIED
}

pub(in super::super) fn tran_window(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.tran_window = positive(arguments)?;
    APPLIED
}

/// `reneg-sec MAX [MIN]`; a client uses MAX.
pub(in super::super) fn reneg_sec(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let ([max] | [max, _]) = arguments else { return Err(wrong_count()) };
    cx.draft.settings.reneg_sec = seconds(&[max])?;
    APPLIED
}

pub(in super::super) fn reneg_bytes(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.reneg_bytes = count(arguments)?;
    APPLIED
}

pub(in super::super) fn reneg_packets(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.reneg_packets = count(arguments)?;
    APPLIED
}

/// `keepalive INTERVAL TIMEOUT`: for a client, `ping` and `ping-restart`.
pub(in super::super) fn keepalive(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let [interval, timeout] = arguments else { return Err("write `keepalive INTERVAL TIMEOUT`".into()) };
    let (interval, timeout) = (positive(&[interval])?, positive(&[timeout])?);
    if timeout < interval * 2 {
        return Err("the timeout must be at least twice the interval".into());
    }
    let settings = &mut cx.draft.settings;
    (settings.ping, settings.ping_restart, settings.ping_exit) = (Some(interval), Some(timeout), None);
    APPLIED
}

pub(in super::super) fn ping(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.ping = parse::seconds(one(arguments)?)?;
    APPLIED
}

/// Zero is kept: it means "never", where nothing said means "not before the server has said so".
pub(in super::super) fn ping_restart(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let settings = &mut cx.draft.settings;
    (settings.ping_restart, settings.ping_exit) = (Some(seconds(arguments)?), None);
    APPLIED
}

pub(in super::super) fn ping_exit(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let settings = &mut cx.draft.settings;
    (settings.ping_exit, settings.ping_restart) = (Some(seconds(arguments)?), None);
    APPLIED
}

pub(in super::super) fn inactive(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.inactive = parse::inactive(arguments)?;
    APPLIED
}

pub(in super::super) fn session_timeout(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.session_timeout = parse::seconds(one(arguments)?)?;
    APPLIED
}

pub(in super::super) fn cipher(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(cipher) = known_cipher(one(arguments)?)? else {
        return lossy("the cipher is old and not supported; it works if the server negotiates one of `data-ciphers`");
    };
    cx.draft.cipher = Some(cipher);
    APPLIED
}

pub(in super::super) fn data_ciphers_fallback(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let Some(cipher) = known_cipher(one(arguments)?)? else {
        return lossy("the cipher is old and not supported; it works if the server negotiates one of `data-ciphers`");
    };
    cx.draft.data_ciphers_fallback = Some(cipher);
    APPLIED
}

/// `data-ciphers A:B:?C`. OpenVPN 2.7 knows `DEFAULT` as well.
pub(in super::super) fn data_ciphers(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let mut ciphers: Vec<Cipher> = Vec::new();
    let mut left_out = Vec::new();
    for name in one(arguments)?.split(':').filter(|name| !name.is_empty()) {
        let found = match name.strip_prefix('?').unwrap_or(name) {
            "DEFAULT" => Cipher::DEFAULT.to_vec(),
            plain => match known_cipher(plain)? {
                Some(cipher) => vec![cipher],
                None => {
                    left_out.push(name);
                    continue;
                }
            },
        };
        for cipher in found {
            if !ciphers.contains(&cipher) {
                ciphers.push(cipher);
            }
        }
    }
    if ciphers.is_empty() {
        return Err("none of these ciphers is supported; add AES-256-GCM here and on the server".into());
    }
    cx.draft.data_ciphers = Some(ciphers);
    // A question mark means that the author does not mind.
    left_out.retain(|name| !name.starts_with('?'));
    if left_out.is_empty() { APPLIED } else { lossy(format!("not supported: {}", super::clean(&left_out.join(", ")))) }
}

/// `None` for ciphers we will never use.
fn known_cipher(name: &str) -> Result<Option<Cipher>, Trouble> {
    if name.eq_ignore_ascii_case("none") {
        return Err("packets would not be encrypted; write AES-256-GCM here and on the server".into());
    }
    Ok(Cipher::from_name(name))
}

pub(in super::super) fn auth(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let name = one(arguments)?;
    if name.eq_ignore_ascii_case("none") {
        return Err("packets could be forged; write SHA256 here and on the server".into());
    }
    let digest = Digest::from_name(name).ok_or("the digest is not supported; write SHA256 here and on the server")?;
    cx.draft.settings.auth = digest;
    APPLIED
}

pub(in super::super) fn key_method(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "2" => HARMLESS,
        _ => Err("only key method 2 is secure; remove it here and on the server".into()),
    }
}

/// `replay-window PACKETS [SECONDS]`.
pub(in super::super) fn replay_window(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let ([packets] | [packets, _]) = arguments else { return Err("write `replay-window PACKETS`".into()) };
    // Zero asks for strict order, which only TCP can give.
    cx.draft.settings.replay_window = number(packets, 0..=MAX_REPLAY_WINDOW)?.max(1);
    APPLIED
}

/// `compress [ALGORITHM]`, `comp-lzo [MODE]`.
pub(in super::super) fn compress(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    cx.draft.settings.framing = parse::framing(cx.name, arguments)
        .map_err(|e| format!("{e}; if the server does not compress, write `comp-lzo no`, else switch it off there"))?;
    APPLIED
}

pub(in super::super) fn allow_compression(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match one(arguments)? {
        "no" | "asym" => HARMLESS,
        "yes" => lossy("packets are never compressed, for that would betray their content"),
        _ => Err("write no, asym or yes".into()),
    }
}

pub(in super::super) fn fragment(_: &mut Context<'_>, arguments: &[&str]) -> Applied {
    match arguments {
        ["0", ..] => HARMLESS,
        _ => Err("fragments are not supported; remove it here and on the server, and use `mssfix`".into()),
    }
}

pub(in super::super) fn tun_mtu_max(cx: &mut Context<'_>, arguments: &[&str]) -> Applied {
    let max = number(one(arguments)?, 576..=u16::MAX.into())?;
    cx.draft.settings.tun_mtu_max = u16::try_from(max).map_err(|_| "its value is too large")?;
    APPLIED
}

fn positive(arguments: &[&str]) -> Result<Duration, Trouble> {
    Ok(Duration::from_secs(number(one(arguments)?, 1..=i32::MAX as u32)?.into()))
}

fn count(arguments: &[&str]) -> Result<u64, Trouble> {
    one(arguments)?.parse().map_err(|_| format!("its value must be a number from 0 to {}", u64::MAX).into())
}

const TAP: &str = "the tunnel carries IP packets, not Ethernet frames; write `dev tun` here and on the server";

/// OpenVPN 2.6 `packet_id.h`, `MAX_SEQ_BACKTRACK`.
const MAX_REPLAY_WINDOW: u32 = 65536;

/// Most variables told to the server: all must fit into one message; our judgement.
const MAX_PEER_INFO: usize = 64;

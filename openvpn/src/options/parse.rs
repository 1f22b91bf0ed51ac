//! Values of single options.

use std::{borrow::Cow, ops::RangeInclusive, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{algorithms::Cipher, config::Framing};

/// What is wrong with an option's values.
pub(crate) type Malformed = Cow<'static, str>;

/// The only argument.
pub(crate) fn one<'a>(arguments: &[&'a str]) -> Result<&'a str, Malformed> {
    match arguments {
        [argument] => Ok(argument),
        [] => Err("its value is missing".into()),
        _ => Err("it has too many values".into()),
    }
}

/// A decimal number within bounds.
pub(crate) fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, Malformed> {
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("its value must be a number from {} to {}", range.start(), range.end()).into())
}

/// Seconds; zero switches off.
pub(crate) fn seconds(text: &str) -> Result<Option<Duration>, Malformed> {
    let seconds = number(text, 0..=MAX_SECONDS)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

pub(super) fn cipher(name: &str) -> Result<Cipher, Malformed> {
    Cipher::from_name(name).ok_or(Malformed::Borrowed("the cipher is not supported"))
}

pub(super) fn key_derivation(name: &str) -> Result<bool, Malformed> {
    if name == "tls-ekm" { Ok(true) } else { Err("the key derivation is unknown".into()) }
}

/// `compress [ALGORITHM]`, `comp-lzo [MODE]`: the framing they mean, if it is one without LZO.
pub(crate) fn framing(name: &str, arguments: &[&str]) -> Result<Framing, Malformed> {
    match (name, arguments) {
        ("comp-lzo", ["no"]) => Ok(Framing::V1),
        ("comp-lzo", [] | ["yes" | "adaptive"]) | ("compress", ["lzo"]) => {
            Err("LZO compression is not supported".into())
        }
        ("compress", [] | ["stub" | "lz4"]) => Ok(Framing::V1Swap),
        ("compress", ["stub-v2" | "lz4-v2"]) => Ok(Framing::V2),
        // `migrate` is for servers; a 2.x client that gets it uses no framing either.
        ("compress", ["migrate"]) => Ok(Framing::None),
        _ => Err("the compression is unknown".into()),
    }
}

/// `tun-mtu N [M]`; M is the largest value, which only a profile says.
pub(super) fn tun_mtu(arguments: &[&str], max: u16) -> Result<u16, Malformed> {
    let mtu = arguments.first().ok_or("its value is missing")?;
    let mtu = number(mtu, MIN_TUN_MTU.into()..=u32::from(max))
        .map_err(|e| Malformed::Owned(format!("{e}; `tun-mtu-max` in the profile raises the limit")))?;
    u16::try_from(mtu).map_err(|_| "its value is too large".into())
}

/// `inactive SECONDS [BYTES]`.
pub(crate) fn inactive(arguments: &[&str]) -> Result<Option<(Duration, u64)>, Malformed> {
    let (time, bytes) = match arguments {
        [time] => (time, 0),
        [time, bytes] => (
            time,
            bytes.parse().map_err(|_| "its second value, bytes, must be a number from 0 to 18446744073709551615")?,
        ),
        _ => return Err("it has the wrong number of values".into()),
    };
    Ok(seconds(time)?.map(|time| (time, bytes)))
}

/// `explicit-exit-notify [N]`.
pub(crate) fn exit_notify(arguments: &[&str]) -> Result<u32, Malformed> {
    match arguments {
        [] => Ok(1),
        [count] => number(count, 0..=MAX_EXIT_NOTIFY),
        _ => Err("it has too many values".into()),
    }
}

/// Bytes of a socket buffer; zero leaves the system's own.
pub(crate) fn socket_buffer(text: &str) -> Result<Option<u32>, Malformed> {
    let bytes = number(text, 0..=MAX_SOCKET_BUFFER)?;
    Ok((bytes > 0).then_some(bytes))
}

pub(super) fn base64_text(text: &str) -> Result<String, Malformed> {
    let bytes = STANDARD.decode(text).map_err(|_| "it is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    if text.chars().any(char::is_control) { Err("it contains control characters".into()) } else { Ok(text) }
}

/// Longest time in seconds, 68 years: what OpenVPN's `int` can hold.
const MAX_SECONDS: u32 = i32::MAX as u32;

/// Smallest inner packet size a server may push: what every IPv4 host must accept (RFC 791 §3.1).
const MIN_TUN_MTU: u16 = 576;

/// Goodbyes are sent once a second, so more would only delay the end; our judgement.
const MAX_EXIT_NOTIFY: u32 = 60;

/// OpenVPN 2.6 `socket.h`, `SOCKET_SND_RCV_BUF_MAX`.
const MAX_SOCKET_BUFFER: u32 = 1_000_000;

//! Where to listen and where to connect to, as text.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use adit_driver::Target;

use super::{draft::Given, problems::Problems};
use crate::{
    error::Error,
    plan::{Listen, LocalTarget},
    spec::{ProxySpec, TargetSpec, TransportKind},
};

/// `PORT`, `ADDRESS:PORT`, or `unix:PATH`; `mode` is that of the socket, in octal digits.
pub(super) fn listen(
    text: &Given<String>,
    transport: TransportKind,
    mode: Option<&Given<String>>,
    problems: &mut Problems,
) -> Option<Listen> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        let mode = mode.and_then(|mode| problems.catch(bits(mode)));
        if transport == TransportKind::Udp {
            let error = text.error("a unix socket takes no datagrams");
            problems.error(error.hint("listen on ADDRESS:PORT, or leave `transport` away"));
        }
        if !path.starts_with('/') || path.len() > MAX_SOCKET_PATH {
            let error = text.error(format!("a unix socket has an absolute path of at most {MAX_SOCKET_PATH} bytes"));
            problems.error(error.hint("write unix:/run/adit/NAME.sock"));
            return None;
        }
        let folder = Path::new(path).parent().filter(|folder| problems.looks_around() && !folder.is_dir());
        if let Some(folder) = folder {
            let warning = text.error(format!("there is no folder {} on this machine", folder.display()));
            problems
                .warning(warning.hint("make it, or have systemd make it (`RuntimeDirectory=`): `adit run` does not"));
        }
        return Some(Listen::Unix(PathBuf::from(path), mode));
    }
    if let Some(mode) = mode {
        problems.error(mode.error("only a unix socket has a mode").hint("leave it away, or listen on unix:PATH"));
    }
    let address = problems.catch(socket_address(text))?;
    Some(match transport {
        TransportKind::Tcp => Listen::Tcp(address),
        TransportKind::Udp => Listen::Udp(address),
    })
}

/// What Linux takes, without the zero behind it; others take a few less.
const MAX_SOCKET_PATH: usize = 107;

/// `PORT` of 127.0.0.1, or `ADDRESS:PORT`.
pub(super) fn socket_address(text: &Given<String>) -> Result<SocketAddr, Error> {
    match text.value.parse() {
        Ok(ProxySpec(Listen::Tcp(address) | Listen::Udp(address))) => Ok(address),
        Ok(ProxySpec(Listen::Unix(..))) | Err(_) => {
            let error = text.error(format!("`{}` is no address to listen on", text.value.escape_debug()));
            Err(error.hint(
                "write PORT, or ADDRESS:PORT such as 127.0.0.1:33000 or [::1]:33000; a forward may have unix:PATH",
            ))
        }
    }
}

/// Permissions such as `0660`.
fn bits(text: &Given<String>) -> Result<u32, Error> {
    let bits = u32::from_str_radix(&text.value, 8).ok().filter(|bits| *bits <= 0o777 && !text.value.starts_with('+'));
    bits.ok_or_else(|| text.error("this is no mode of a file").hint("write it as in `mode = \"0660\"`"))
}

/// `HOST:PORT` behind the gateway.
pub(super) fn target(text: &Given<String>) -> Result<Target, Error> {
    let parsed = text.value.parse().map(|TargetSpec(target)| target);
    parsed.map_err(|_| no_target(text, "write HOST:PORT, such as 192.168.100.30:8080 or [fd00::30]:8080"))
}

/// `HOST:PORT` or `unix:PATH` on this side.
pub(super) fn local_target(text: &Given<String>) -> Result<LocalTarget, Error> {
    if let Some(path) = text.value.strip_prefix("unix:").filter(|path| (1..=MAX_SOCKET_PATH).contains(&path.len())) {
        return Ok(LocalTarget::Unix(path.into()));
    }
    match text.value.parse() {
        Ok(TargetSpec(Target::Address(address))) => Ok(LocalTarget::Address(address.ip().to_string(), address.port())),
        Ok(TargetSpec(Target::Name(host, port))) => Ok(LocalTarget::Address(host, port)),
        Err(_) => Err(no_target(text, "write HOST:PORT, such as 127.0.0.1:22, or unix:PATH")),
    }
}

fn no_target(text: &Given<String>, hint: &str) -> Error {
    text.error(format!("`{}` is nothing to connect to", text.value.escape_debug())).hint(hint)
}

/// Whether both want the same port, on an address they share.
pub(super) fn overlap(one: SocketAddr, two: SocketAddr) -> bool {
    let shared = one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified();
    one.port() == two.port() && one.port() != 0 && shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given<String> {
        Given::new(text.to_owned(), "here")
    }

    #[test]
    fn every_place_to_listen_on_is_understood() {
        for (text, expected) in [
            ("33000", "127.0.0.1:33000"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("*:80", "0.0.0.0:80"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(socket_address(&given(text)).unwrap().to_string(), expected);
        }
        for text in ["", ":80", "vpn:80", "::1:80", "80:", "+80", "65536", "[::1]", "127.0.0.1", "unix:/x"] {
            assert!(socket_address(&given(text)).is_err(), "{text}");
        }
        let mut problems = Problems::default();
        let unix = listen(&given("unix:/run/x"), TransportKind::Tcp, Some(&given("0660")), &mut problems).unwrap();
        assert_eq!(unix, Listen::Unix("/run/x".into(), Some(0o660)));
        for (text, transport, mode) in [
            ("unix:/run/x", TransportKind::Udp, None),
            ("unix:", TransportKind::Tcp, None),
            ("unix:/x", TransportKind::Tcp, Some("rw")),
            ("unix:/x", TransportKind::Tcp, Some("1777")),
            ("80", TransportKind::Tcp, Some("0660")),
        ] {
            let mut problems = Problems::default();
            drop(listen(&given(text), transport, mode.map(given).as_ref(), &mut problems));
            let [error] = &problems.sorted()[..] else { panic!("{text}: {problems:?}") };
            assert!(error.to_string().starts_with("here: ") && error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn every_target_is_understood() {
        for text in ["192.168.100.30:8080", "[fd00::30]:80", "db.corp.example:5432", "intranet:80"] {
            assert_eq!(target(&given(text)).unwrap().to_string(), text);
            assert!(local_target(&given(text)).is_ok());
        }
        for text in ["", "80", "host:0", "host:65536", "fd00::30:80", "192.168.1:80", "a b:80", "host", "unix:/x"] {
            assert!(target(&given(text)).is_err(), "{text}");
        }
        assert_eq!(local_target(&given("unix:/run/x")).unwrap(), LocalTarget::Unix("/run/x".into()));
    }
}

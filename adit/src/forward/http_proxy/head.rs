//! The head of a request (RFC 9112 §2 to §5), and what becomes of it when it is passed on.

use adit_driver::Target;

use crate::spec;

/// Bytes of a head, and its header lines.
pub(super) const MOST_BYTES: usize = 32 * 1024;
const MOST_LINES: usize = 200;
/// RFC 9110 §7.6.1: what is meant for the proxy alone.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "host",
];
/// The port of `http://` addresses.
const HTTP: u16 = 80;

/// A request without its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    /// `HTTP/1.1` or `HTTP/1.0`.
    version: &'a str,
    /// Names as they are written, values without the spaces around.
    headers: Vec<(&'a str, &'a [u8])>,
}

/// A request for an `http://` address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) to: Target,
    /// As the server is to get it.
    pub(super) head: Vec<u8>,
    /// Bytes of the body.
    pub(super) length: u64,
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It breaks a rule.
    Malformed(&'static str),
    /// It does not begin as HTTP does.
    NotHttp,
    /// A line that ends otherwise than RFC 9112 §2.1 says: where one reader sees two lines, another may see one.
    LineFeed,
    /// A body whose length is told on the way.
    LengthRequired,
    /// It is not meant for a proxy.
    NotForProxy,
    /// Something else than `http://`.
    Scheme,
}

/// Bytes of the head at the beginning, with the empty line at its end; `None` if that has not come yet.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

/// What is wrong already with the first bytes of a head that has not come to its end, so that nobody waits for the rest.
pub(super) fn already_wrong(bytes: &[u8]) -> Option<Wrong> {
    let method = bytes.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).next().unwrap_or_default();
    // Such as the first byte of TLS, and of SOCKS.
    if !bytes.is_empty() && !std::str::from_utf8(method).is_ok_and(is_token) {
        return Some(Wrong::NotHttp);
    }
    has_lone_line_feed(bytes).then_some(Wrong::LineFeed)
}

fn has_lone_line_feed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'\n') || bytes.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r')
}

/// The head, which ends with an empty line.
pub(super) fn parse(bytes: &[u8]) -> Result<Head<'_>, Wrong> {
    let text = bytes.strip_suffix(b"\r\n\r\n").ok_or(Wrong::Malformed("its head has no end"))?;
    if has_lone_line_feed(text) {
        return Err(Wrong::LineFeed);
    }
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let first = std::str::from_utf8(first).map_err(|_| Wrong::Malformed("its first line"))?;
    let words: Vec<_> = first.split(' ').collect();
    let &[method, target, version] = words.as_slice() else { return Err(Wrong::Malformed("its first line")) };
    let visible = target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || target.is_empty() || !visible || !["HTTP/1.1", "HTTP/1.0"].contains(&version) {
        return Err(Wrong::Malformed("its first line"));
    }
    let headers: Vec<_> = lines.map(header).collect::<Result<_, _>>()?;
    if headers.len() > MOST_LINES {
        return Err(Wrong::Malformed("too many header lines"));
    }
    Ok(Head { method, target, version, headers })
}

fn header(line: &[u8]) -> Result<(&str, &[u8]), Wrong> {
    let wrong = Wrong::Malformed("a header line");
    let colon = line.iter().position(|byte| *byte == b':').ok_or(wrong)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let name = std::str::from_utf8(name).ok().filter(|name| is_token(name)).ok_or(wrong)?;
    // A lone carriage return is a line's end to some servers.
    let is_clean = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if is_clean { Ok((name, value)) } else { Err(wrong) }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special.contains(&byte))
}

impl Head<'_> {
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The target of a CONNECT.
    pub(super) fn authority(&self) -> Result<Target, Wrong> {
        let wrong = Wrong::Malformed("its target is no HOST:PORT");
        self.target.parse::<spec::TargetSpec>().map(|spec| spec.0).map_err(|_| wrong)
    }

    /// What a server gets of a request for an `http://` address. It is the only one of its connection: both ends are told to
    /// close, so that a later one, which may be for another server, never reaches this one.
    pub(super) fn plain(&self) -> Result<Plain, Wrong> {
        let Some((scheme, rest)) = self.target.split_once("://") else { return Err(Wrong::NotForProxy) };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(Wrong::Scheme);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if path.contains('#') || authority.contains('@') {
            return Err(Wrong::Malformed("its target"));
        }
        let to = target(authority)?;
        let length = self.body_length()?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let Self { method, version, .. } = self;
        let mut head = format!("{method} {slash}{path} {version}\r\nHost: {authority}\r\n").into_bytes();
        let named: Vec<String> = self
            .values("connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
            .collect();
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            if HOP_BY_HOP.contains(&lower.as_str()) || (named.contains(&lower) && lower != "content-length") {
                continue;
            }
            head.extend(name.as_bytes());
            head.extend(b": ");
            head.extend(*value);
            head.extend(b"\r\n");
        }
        head.extend(b"Via: 1.1 adit\r\nConnection: close\r\n\r\n");
        Ok(Plain { to, head, length })
    }

    /// RFC 9112 §6.3.
    fn body_length(&self) -> Result<u64, Wrong> {
        if self.values("transfer-encoding").next().is_some() {
            return Err(Wrong::LengthRequired);
        }
        let mut lengths = self.values("content-length").map(|value| {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(value).ok().filter(|_| digits).and_then(|value| value.parse().ok())
        });
        let wrong = Wrong::Malformed("its Content-Length");
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(0),
            (Some(Some(length)), None) => Ok(length),
            // Two of them are an attempt to have two readers disagree.
            _ => Err(wrong),
        }
    }
}

/// `HOST[:PORT]`.
fn target(authority: &str) -> Result<Target, Wrong> {
    let wrong = Wrong::Malformed("its target");
    let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    let with_port = if has_port { authority.to_owned() } else { format!("{authority}:{HTTP}") };
    with_port.parse::<spec::TargetSpec>().map(|spec| spec.0).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> Result<Plain, Wrong> {
        parse(text.as_bytes())?.plain()
    }

    #[test]
    fn a_request_for_an_address_is_passed_on_as_its_server_expects_it() {
        let request = "POST http://Intranet:8080/a?b=c HTTP/1.1\r\nHost: other\r\nX-Hop: 1\r\nAccept: */*\r\n\
            Proxy-Authorization: Basic eA==\r\nproxy-connection: keep-alive\r\nConnection: close, x-hop\r\n\
            Content-Length: 3\r\nCookie:  a=\u{e9}  \r\n\r\n";
        let plain = plain(request).unwrap();
        assert_eq!((plain.to.to_string(), plain.length), ("Intranet:8080".to_owned(), 3));
        assert_eq!(
            String::from_utf8(plain.head).unwrap(),
            "POST /a?b=c HTTP/1.1\r\nHost: Intranet:8080\r\nAccept: */*\r\nContent-Length: 3\r\nCookie: a=\u{e9}\r\n\
             Via: 1.1 adit\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn every_form_of_an_address_is_understood() {
        for (target, to, line) in [
            ("http://h", "h:80", "GET / HTTP/1.0\r\nHost: h\r\n"),
            ("HTTP://10.0.0.1?x", "10.0.0.1:80", "GET /?x HTTP/1.0\r\nHost: 10.0.0.1\r\n"),
            ("http://[fd00::1]/y", "[fd00::1]:80", "GET /y HTTP/1.0\r\nHost: [fd00::1]\r\n"),
            ("http://[fd00::1]:81/", "[fd00::1]:81", "GET / HTTP/1.0\r\nHost: [fd00::1]:81\r\n"),
        ] {
            let plain = plain(&format!("GET {target} HTTP/1.0\r\n\r\n")).unwrap();
            assert_eq!(plain.to.to_string(), to);
            assert!(String::from_utf8(plain.head).unwrap().starts_with(line), "{target}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let malformed = |request: &str| matches!(plain(request), Err(Wrong::Malformed(_)));
        for wrong in [
            "GET http://h/\r\n\r\n",
            "GET  http://h/ HTTP/1.1\r\n\r\n",
            "GET http://h/ HTTP/2.0\r\n\r\n",
            "G(T http://h/ HTTP/1.1\r\n\r\n",
            "GET http://h/\u{e9} HTTP/1.1\r\n\r\n",
            "GET http://h/#x HTTP/1.1\r\n\r\n",
            "GET http://user@h/ HTTP/1.1\r\n\r\n",
            "GET http:///x HTTP/1.1\r\n\r\n",
            "GET http://h:0/ HTTP/1.1\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nNo colon\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nSpace : x\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\n folded\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nX: a\rY: b\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert!(malformed(wrong), "{wrong:?}");
        }
        assert!(malformed(&format!("GET http://h/ HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_LINES + 1))));
        let chunked = "POST http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(plain(chunked), Err(Wrong::LengthRequired));
        assert_eq!(plain("GET / HTTP/1.1\r\n\r\n"), Err(Wrong::NotForProxy));
        assert_eq!(plain("GET ftp://h/ HTTP/1.1\r\n\r\n"), Err(Wrong::Scheme));
    }

    #[test]
    fn what_cannot_become_a_request_is_known_by_its_first_bytes() {
        // The records of TLS, both versions of SOCKS, and lines of others.
        for wrong in [&b"\x16\x03\x01\x02\0"[..], b"\x05\x01\0", b"\x04", b" ", b"\r\n", b"\n", b"GE\xe9T"] {
            assert_eq!(already_wrong(wrong), Some(Wrong::NotHttp), "{wrong:?}");
        }
        for wrong in ["GET http://h/ HTTP/1.1\n", "GET http://h/ HTTP/1.1\r\nHost: h\n", "GET\n"] {
            assert_eq!(already_wrong(wrong.as_bytes()), Some(Wrong::LineFeed), "{wrong:?}");
        }
        let right = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n";
        for end in 0..=right.len() {
            assert_eq!(already_wrong(&right[..end]), None, "{end}");
        }
    }

    #[test]
    fn the_target_of_connect_has_a_port() {
        let authority = |target: &str| {
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            parse(request.as_bytes()).unwrap().authority().map(|target| target.to_string())
        };
        for target in ["db.corp.example:443", "10.0.0.1:443", "[fd00::1]:443"] {
            assert_eq!(authority(target).unwrap(), target);
        }
        for target in ["host", "host:0", "http://h/", "user@h:1", "fd00::1:443"] {
            assert!(matches!(authority(target), Err(Wrong::Malformed(_))), "{target}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_client_sends_panics_or_breaks_a_line(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            line in "(GET|POST) http://[a-z:@?#/\\[\\]0-9]{0,20} HTTP/1.1",
            headers in "([a-zA-Z-]{0,9}[: ]{0,2}[ -~\r\t]{0,9}(\r\n|\n|\r)){0,6}",
        ) {
            drop(parse(&bytes));
            let request = format!("{line}\r\n{headers}\r\n\r\n");
            let Some(length) = length(request.as_bytes()) else { return Ok(()) };
            if let Ok(plain) = parse(&request.as_bytes()[..length]).and_then(|head| head.plain()) {
                let text = String::from_utf8(plain.head).unwrap();
                let lines: Vec<_> = text.split("\r\n").collect();
                prop_assert!(!lines.iter().any(|line| line.contains(['\r', '\n'])));
                // One end, and it is at the end.
                prop_assert_eq!(lines.iter().position(|line| line.is_empty()), Some(lines.len() - 2));
            }
        }
    }
}

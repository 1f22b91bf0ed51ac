//! `adit healthcheck`: for `HEALTHCHECK` of a container file, and for probes that run a program.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    arguments::Healthcheck,
    locate::{Located, locate},
    say,
};
use crate::{
    error::{Error, Exit},
    status::Readiness,
};

/// Whoever runs us waits no longer either.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES: u64 = 64 * 1024;

pub(super) fn run(arguments: &Healthcheck) -> Result<Exit, Error> {
    let readiness = match arguments.admin {
        Some(address) => over_http(address, arguments)?,
        None => by_location(&locate(&arguments.process)?, arguments)?,
    };
    if readiness.ready {
        say("ok\n")?;
        return Ok(Exit::Ok);
    }
    say(&(readiness.reasons.join("\n") + "\n"))?;
    Ok(Exit::Other)
}

/// Over the control socket, or else over the admin port, if the configuration has one.
fn by_location(located: &Located, arguments: &Healthcheck) -> Result<Readiness, Error> {
    #[cfg(unix)]
    let failed = match over_socket(located, arguments) {
        Ok(readiness) => return Ok(readiness),
        Err(error) => error,
    };
    #[cfg(not(unix))]
    let failed = Error::new(Exit::Usage, "this system has no control socket").hint("give the admin port with --admin");
    match located.admin {
        Some(address) => over_http(address, arguments),
        None => Err(failed),
    }
}

#[cfg(unix)]
fn over_socket(located: &Located, arguments: &Healthcheck) -> Result<Readiness, Error> {
    use crate::control::Request;
    let (connection, forward) = (arguments.connection().cloned(), arguments.forward.clone());
    let answer = located.client()?.ask(&Request::Ready { connection, forward })?;
    answer.readiness.ok_or_else(|| Error::new(Exit::Other, "an answer without readiness"))
}

fn over_http(address: SocketAddr, arguments: &Healthcheck) -> Result<Readiness, Error> {
    let asked = [("connection", arguments.connection()), ("forward", arguments.forward.as_ref())];
    let query: Vec<_> =
        asked.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", escaped(value?)))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let answer = get(address, &format!("/readyz{query}")).map_err(|error| unanswered(address, &error))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(Readiness { ready: true, reasons: Vec::new() }),
        Some("503") => Ok(Readiness { ready: false, reasons: body.lines().map(str::to_owned).collect() }),
        _ => Err(Error::new(Exit::Other, format!("{address} is no admin port of adit"))),
    }
}

fn unanswered(address: SocketAddr, error: &io::Error) -> Error {
    // What a read says that ran out of time.
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        let seconds = PATIENCE.as_secs();
        let text = format!("no answer at {address} for {seconds} s; the process hangs, or is stopped");
        return Error::new(Exit::Other, text).hint("let it go on (`kill -CONT PID`), or end and start it again");
    }
    Error::new(Exit::Other, format!("no answer at {address}: {error}"))
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// For a query (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

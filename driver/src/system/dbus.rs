//! As much of D-Bus as it takes to call four methods: one connection, one call at a time.
//!
//! The connection outlives a change of user: the bus goes by who opened it.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

/// A connection to the system's bus.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// When the bus has not answered the call of now.
    until: Instant,
    patience: Duration,
}

/// A method to call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
}

/// Arguments, little-endian, each at its alignment (D-Bus Specification, "Marshaling").
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) signature: &'static str,
    pub(super) bytes: Vec<u8>,
}

const SOCKET: &str = "/run/dbus/system_bus_socket";
/// How long a call may take, with all its messages: a service may have to be started first.
const PATIENCE: Duration = Duration::from_secs(25);
/// The longest message a bus passes on.
const MAX_MESSAGE: usize = 128 << 20;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

impl Connection {
    /// Where the system's bus listens.
    pub(super) fn socket() -> PathBuf {
        let address = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
        let path = address.split(';').find_map(|one| one.strip_prefix("unix:path="));
        path.map_or(SOCKET, |path| path.split(',').next().unwrap_or(path)).into()
    }

    /// Connects to the system's bus.
    pub(super) fn system() -> io::Result<Self> {
        Self::new(UnixStream::connect(Self::socket())?, rustix::process::getuid().as_raw(), PATIENCE)
    }

    /// Introduces itself as this user.
    fn new(stream: UnixStream, user: u32, patience: Duration) -> io::Result<Self> {
        stream.set_write_timeout(Some(patience))?;
        let mut this = Self { stream, serial: 0, until: Instant::now() + patience, patience };
        let hex: String = user.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        this.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let answer = this.line()?;
        if !answer.starts_with("OK ") {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("the bus refuses us: {answer}")));
        }
        this.stream.write_all(b"BEGIN\r\n")?;
        let bus = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            name: "Hello",
        };
        this.call(bus, &Body::default())?;
        Ok(this)
    }

    /// Calls a method and waits for its answer, whose content nobody here needs.
    ///
    /// # Errors
    /// What the other side says, with its name for it.
    pub(super) fn call(&mut self, method: Method<'_>, body: &Body) -> io::Result<()> {
        self.serial += 1;
        self.until = Instant::now() + self.patience;
        self.stream.write_all(&encode(self.serial, method, body))?;
        loop {
            let (kind, fields, body) = self.message()?;
            if reply_serial(&fields) != Some(self.serial) {
                continue;
            }
            match kind {
                RETURN => return Ok(()),
                ERROR => return Err(failure(&fields, &body)),
                _ => {}
            }
        }
    }

    /// A line of the authentication.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 512 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no D-Bus"));
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// The next message: its type, its header fields and its body.
    fn message(&mut self) -> io::Result<(u8, Vec<u8>, Vec<u8>)> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a message of D-Bus");
        let mut head = [0; 16];
        self.fill(&mut head)?;
        // Everybody sends in the byte order of the machine; a bus passes on what it gets.
        if head[0] != b'l' {
            return Err(wrong());
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (body_len, fields_len) = (number(4), number(12));
        if body_len.saturating_add(fields_len) > MAX_MESSAGE {
            return Err(wrong());
        }
        let mut fields = vec![0; fields_len.next_multiple_of(8)];
        self.fill(&mut fields)?;
        fields.truncate(fields_len);
        let mut body = vec![0; body_len];
        self.fill(&mut body)?;
        Ok((head[1], fields, body))
    }

    /// Reads that much, until the time of the call is over.
    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let silent = || {
                let text = format!("the bus has not answered within {} s", self.patience.as_secs_f32());
                io::Error::new(io::ErrorKind::TimedOut, text)
            };
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(silent());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes = bytes.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(silent());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Body {
    pub(super) fn new(signature: &'static str) -> Self {
        Self { signature, bytes: Vec::new() }
    }

    pub(super) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.number(flag.into());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements are aligned so.
    pub(super) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment);
        let start = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn field(&mut self, code: u8, kind: u8, value: &str) {
        self.align(8);
        self.bytes.extend([code, 1, kind, 0]);
        if kind == b'g' {
            self.bytes.push(value.len() as u8);
            self.bytes.extend(value.as_bytes());
            self.bytes.push(0);
        } else {
            self.string(value);
        }
    }
}

/// A call (D-Bus Specification, "Message Format").
fn encode(serial: u32, method: Method<'_>, body: &Body) -> Vec<u8> {
    let mut message = Body::default();
    message.bytes.extend([b'l', CALL, 0, 1]);
    message.number(body.bytes.len() as u32);
    message.number(serial);
    message.array(8, |fields| {
        fields.field(1, b'o', method.path);
        fields.field(2, b's', method.interface);
        fields.field(3, b's', method.name);
        fields.field(6, b's', method.destination);
        if !body.signature.is_empty() {
            fields.field(8, b'g', body.signature);
        }
    });
    message.align(8);
    message.bytes.extend(&body.bytes);
    message.bytes
}

/// The value of a header field, from its first byte on: what is behind the signature of its variant.
fn field(fields: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut at = 0_usize;
    // Every turn takes at least four bytes away, so the walk ends.
    while at < fields.len() {
        at = at.next_multiple_of(8);
        let (code, kind) = (*fields.get(at)?, *fields.get(at + 2)?);
        let value = fields.get(at + 4..)?;
        if code == wanted {
            return Some(value);
        }
        at += 4 + match kind {
            b'g' => usize::from(*value.first()?) + 2,
            b'u' => 4,
            _ => 4 + long(value)? as usize + 1,
        };
    }
    None
}

fn reply_serial(fields: &[u8]) -> Option<u32> {
    field(fields, 5).and_then(long)
}

fn failure(fields: &[u8], body: &[u8]) -> io::Error {
    let name = field(fields, 4).and_then(text).unwrap_or_default();
    let said =
        if field(fields, 8).is_some_and(|signature| signature.get(1) == Some(&b's')) { text(body) } else { None };
    let kind = match name.rsplit('.').next().unwrap_or_default() {
        "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => io::ErrorKind::PermissionDenied,
        "ServiceUnknown" | "NameHasNoOwner" => io::ErrorKind::NotFound,
        "NoSuchLink" => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("{}: {name}", said.unwrap_or_default()))
}

fn text(bytes: &[u8]) -> Option<String> {
    let length = long(bytes)? as usize;
    Some(String::from_utf8_lossy(bytes.get(4..4_usize.checked_add(length)?)?).into_owned())
}

fn long(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use std::thread;

    use super::*;

    /// Member, signature and body of a call.
    pub(in crate::system) type Called = (String, String, Vec<u8>);

    /// A bus with nobody behind it, which answers calls by these errors; `None` is a return. Gives the connection, and what
    /// was called.
    pub(in crate::system) fn double(
        answers: Vec<Option<&'static str>>,
    ) -> (Connection, thread::JoinHandle<Vec<Called>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bus = thread::spawn(move || {
            let until = Instant::now() + PATIENCE;
            let mut bus = Connection { stream: theirs, serial: 100, until, patience: PATIENCE };
            let mut nul = [1];
            bus.fill(&mut nul).unwrap();
            assert_eq!(nul, [0]);
            // 0 is 30 in hexadecimal ASCII.
            assert_eq!(bus.line().unwrap(), "AUTH EXTERNAL 30");
            bus.stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
            assert_eq!(bus.line().unwrap(), "BEGIN");
            let mut calls = Vec::new();
            for answer in std::iter::once(None).chain(answers) {
                let (kind, fields, body) = bus.message().unwrap();
                assert_eq!(kind, CALL);
                let signature = field(&fields, 8).map_or(String::new(), |value| {
                    String::from_utf8(value[1..=usize::from(value[0])].to_vec()).unwrap()
                });
                calls.push((text(field(&fields, 3).unwrap()).unwrap(), signature, body));
                bus.signal();
                bus.answer(calls.len() as u32, answer);
            }
            calls.remove(0);
            calls
        });
        (Connection::new(ours, 0, PATIENCE).unwrap(), bus)
    }

    impl Connection {
        fn answer(&mut self, serial: u32, error: Option<&str>) {
            let mut message = Body::default();
            let text = "as the case wants it";
            message.bytes.extend([b'l', if error.is_some() { ERROR } else { RETURN }, 1, 1]);
            message.number(if error.is_some() { 4 + text.len() as u32 + 1 } else { 0 });
            message.number(7);
            message.array(8, |fields| {
                fields.align(8);
                fields.bytes.extend([5, 1, b'u', 0]);
                fields.bytes.extend(serial.to_le_bytes());
                fields.field(7, b's', "org.freedesktop.DBus");
                if let Some(error) = error {
                    fields.field(4, b's', error);
                    fields.field(8, b'g', "s");
                }
            });
            message.align(8);
            if error.is_some() {
                message.string(text);
            }
            self.stream.write_all(&message.bytes).unwrap();
        }

        /// What is for nobody in particular.
        fn signal(&mut self) {
            let method = Method { destination: ":1.5", path: "/", interface: "a.b", name: "NameAcquired" };
            let mut signal = encode(9, method, &Body::default());
            signal[1] = 4;
            self.stream.write_all(&signal).unwrap();
        }
    }

    #[test]
    fn a_call_is_written_as_the_specification_has_it() {
        let method = Method { destination: "a.b", path: "/c", interface: "d.e", name: "F" };
        let mut body = Body::new("iay");
        body.number(3);
        body.array(1, |bytes| bytes.bytes.extend([1, 2]));
        let expected: &[u8] = &[
            b'l', 1, 0, 1, 10, 0, 0, 0, 5, 0, 0, 0, 73, 0, 0, 0, // type, lengths, serial
            1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'c', 0, 0, 0, 0, 0, 0, // path
            2, 1, b's', 0, 3, 0, 0, 0, b'd', b'.', b'e', 0, 0, 0, 0, 0, // interface
            3, 1, b's', 0, 1, 0, 0, 0, b'F', 0, 0, 0, 0, 0, 0, 0, // member
            6, 1, b's', 0, 3, 0, 0, 0, b'a', b'.', b'b', 0, 0, 0, 0, 0, // destination
            8, 1, b'g', 0, 3, b'i', b'a', b'y', 0, 0, 0, 0, 0, 0, 0, 0, // signature
            3, 0, 0, 0, 2, 0, 0, 0, 1, 2,
        ];
        assert_eq!(encode(5, method, &body), expected);
    }

    #[test]
    fn a_bus_that_says_much_but_no_answer_is_waited_for_no_longer_than_a_call_may_take() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let bus = thread::spawn(move || {
            theirs.write_all(b"OK 0123456789abcdef\r\n").unwrap();
            let method = Method { destination: ":1.5", path: "/", interface: "a.b", name: "Noise" };
            let mut signal = encode(9, method, &Body::default());
            signal[1] = 4;
            // Until nobody listens any more.
            while theirs.write_all(&signal).is_ok() {}
        });
        let error = Connection::new(ours, 0, Duration::from_millis(200)).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().contains("within 0.2 s")),
            (io::ErrorKind::TimedOut, true),
            "{error}"
        );
        bus.join().unwrap();
    }

    #[test]
    fn an_error_comes_with_its_name() {
        let (mut connection, bus) = double(vec![None, Some("org.freedesktop.DBus.Error.AccessDenied"), None]);
        let method = Method { destination: "a.b", path: "/c", interface: "d.e", name: "F" };
        connection.call(method, &Body::default()).unwrap();
        let error = connection.call(method, &Body::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(error.to_string(), "as the case wants it: org.freedesktop.DBus.Error.AccessDenied");
        connection.call(method, &Body::default()).unwrap();
        assert_eq!(bus.join().unwrap().len(), 3);
    }
}

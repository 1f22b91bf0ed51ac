//! The client under test, `adit`, as a user without any rights; or `openvpn` in its place, to prove the rig itself.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    config::Lines,
    ike::{charon::Charon, setup::IkeClient},
    net::{ECHO, Place, WEB, WEB_V6},
    pki::CLIENT_UID,
    process::{Line, Process, Stream},
    rig::Rig,
};

/// How long a tunnel may take to come up.
pub(crate) const UP: Duration = Duration::from_secs(20);

/// The forwards every client opens.
const FORWARDS: [(u16, SocketAddr, &str); 3] = [(33000, WEB, "tcp"), (33001, ECHO, "udp"), (33002, WEB_V6, "tcp")];

/// What a client is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientConfig {
    pub(crate) profile: Lines,
    /// User and password, given in a file.
    pub(crate) user: Option<(String, String)>,
    /// Further arguments.
    pub(crate) args: Vec<String>,
    /// What is typed: standard input.
    pub(crate) input: Option<String>,
    /// Bits of IV_PROTO not announced.
    pub(crate) withhold_iv_proto: u32,
    /// Announce no ciphers.
    pub(crate) withhold_ncp: bool,
    /// Logs the details, too.
    pub(crate) verbose: bool,
    /// Runs with the whole file system read-only.
    pub(crate) read_only: bool,
}

impl ClientConfig {
    pub(crate) fn new(profile: Lines) -> Self {
        Self { profile, ..Self::default() }
    }

    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }
}

/// A running client.
pub(crate) struct Client {
    pub(crate) process: Process,
    reference: bool,
    /// strongSwan in our place; `process` is what told it to connect.
    charon: Option<Charon>,
}

impl Client {
    /// Starts the client; it is not connected yet.
    pub(crate) fn start(rig: &Rig, config: &ClientConfig) -> Result<Self> {
        let name = rig.process_name("client");
        let profile = client_file(&rig.dir.join(format!("{name}.ovpn")), &config.profile.text())?;
        let mut command = if rig.reference {
            ensure!(
                config.withhold_iv_proto == 0 && !config.withhold_ncp,
                "openvpn cannot withhold features; this case needs adit"
            );
            reference_command(rig, &profile, config)?
        } else {
            adit_command(rig, &profile, config)?
        };
        let process = Process::spawn_with_input(&name, &rig.dir, &mut command, config.input.as_deref())?;
        Ok(Self { process, reference: rig.reference, charon: None })
    }

    /// Starts the client of an IKEv2 case, or strongSwan's own in its place; it is not connected yet.
    pub(crate) fn start_ike(rig: &Rig, config: &IkeClient) -> Result<Self> {
        if rig.reference {
            return Self::start_strongswan(rig, config);
        }
        let name = rig.process_name("client");
        let mut command = unprivileged(rig, false);
        command.arg(&rig.adit).args(["forward", "--log-format", "json"]);
        if config.verbose {
            command.arg("--verbose");
        }
        command.args(config.source(rig, &name)?);
        add_forwards(&mut command);
        command.args(&config.args).envs(config.env.iter().cloned());
        let process = Process::spawn_with_input(&name, &rig.dir, &mut command, config.input.as_deref())?;
        Ok(Self { process, reference: false, charon: None })
    }

    /// Starts strongSwan's own client.
    pub(crate) fn start_strongswan(rig: &Rig, config: &IkeClient) -> Result<Self> {
        let charon = Charon::start(rig, Place::Client, &config.reference)?;
        let mut command = charon.swanctl_command(&["--initiate", "--child", "net"]);
        let process = Process::spawn(&rig.process_name("initiate"), &rig.dir, &mut command)?;
        Ok(Self { process, reference: true, charon: Some(charon) })
    }

    /// Waits until every forward is bound and the tunnel is up.
    pub(crate) fn wait_up(&self) -> Result<()> {
        if self.charon.is_some() {
            return self.process.wait_output(UP).map(drop);
        }
        if self.reference {
            return self.process.wait_text(0, "Initialization Sequence Completed", UP).map(drop);
        }
        for (port, target, protocol) in FORWARDS {
            let line = format!("127.0.0.1:{port} -> {target}/{protocol}");
            self.process.wait_for(0, &format!("{line:?} on standard output"), UP, |found| {
                (found.stream == Stream::Out && found.text == line).then_some(())
            })?;
        }
        self.wait_event(0, "tunnel up", UP).map(drop)
    }

    /// Waits until the tunnel has come up once more after `mark`.
    pub(crate) fn wait_up_again(&self, mark: usize, limit: Duration) -> Result<()> {
        if self.reference {
            return self.process.wait_text(mark, "Initialization Sequence Completed", limit).map(drop);
        }
        self.wait_event(mark, "tunnel up", limit).map(drop)
    }

    /// The web server, through the tunnel.
    pub(crate) fn web(&self) -> SocketAddr {
        self.local(0)
    }

    /// The echo, through the tunnel.
    pub(crate) fn echo(&self) -> SocketAddr {
        self.local(1)
    }

    /// The web server over IPv6 inside the tunnel.
    pub(crate) fn web_v6(&self) -> SocketAddr {
        self.local(2)
    }

    fn local(&self, forward: usize) -> SocketAddr {
        let (port, target, _) = FORWARDS[forward];
        if self.reference { target } else { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port) }
    }

    /// All log events with this message so far.
    pub(crate) fn events(&self, message: &str) -> Vec<Event> {
        self.process.lines(0, |line| Event::parse(&line.text).filter(|event| event.message == message))
    }

    /// Waits for a log event from `mark` on.
    pub(crate) fn wait_event(&self, mark: usize, message: &str, limit: Duration) -> Result<Event> {
        self.process.wait_for(mark, &format!("the event {message:?}"), limit, |line| {
            Event::parse(&line.text).filter(|event| event.message == message)
        })
    }

    /// Demands a log event with these fields.
    pub(crate) fn expect_event(&self, message: &str, fields: &[(&str, &str)]) -> Result<()> {
        if self.reference {
            return Ok(());
        }
        let events = self.events(message);
        let fits = |event: &Event| fields.iter().all(|(name, value)| event.field(name) == Some(*value));
        ensure!(events.iter().any(fits), "no event {message:?} with {fields:?}, only {events:?}");
        Ok(())
    }

    /// Whether this is `openvpn` in our place, whose log is another.
    pub(crate) fn is_reference(&self) -> bool {
        self.reference
    }

    /// Ends the client as Ctrl-C does; it must say goodbye and be gone soon.
    pub(crate) fn interrupt(self) -> Result<()> {
        if let Some(charon) = &self.charon {
            charon.process.signal("TERM")?;
            charon.process.wait_end(Duration::from_secs(10)).context("after SIGTERM")?;
            return Ok(());
        }
        self.process.signal("INT")?;
        self.interrupted()
    }

    /// Waits for the end of a client that got SIGINT.
    pub(crate) fn interrupted(&self) -> Result<()> {
        let status = self.process.wait_end(Duration::from_secs(10)).context("after SIGINT")?;
        if !self.reference {
            ensure!(status.code() == Some(130), "after SIGINT the client ended with {status}, not 130");
        }
        self.check_sane()
    }

    /// Waits until the client gives up by itself, with this exit code and a line on standard error that has this text.
    pub(crate) fn expect_failure(&self, code: i32, text: &str, limit: Duration) -> Result<()> {
        let status = self.process.wait_end(limit)?;
        let errors = self.process.lines(0, |line| (line.stream == Stream::Err).then(|| line.text.clone()));
        if self.reference {
            return Ok(());
        }
        ensure!(status.code() == Some(code), "ended with {status} instead of exit code {code}; it said {errors:?}");
        let said = errors.iter().any(|line| line.to_lowercase().contains(&text.to_lowercase()));
        ensure!(said, "ended with {code} as it should, but nothing it said has {text:?}: {errors:?}");
        let reasons = errors.iter().filter(|line| is_error(line)).count();
        ensure!(reasons == 1, "{reasons} lines say why it ended, not one: {errors:?}");
        self.check_sane()
    }

    /// What it said when it gave up.
    pub(crate) fn reason(&self) -> String {
        let message = |line: &Line| is_error(&line.text).then(|| line.text.clone());
        let last = self.process.lines(0, message).pop().unwrap_or_default();
        Event::parse(&last).map_or(last, |event| event.message)
    }

    /// No panic, whatever else happened.
    pub(crate) fn check_sane(&self) -> Result<()> {
        ensure!(self.process.count("panicked at") == 0, "the client panicked");
        Ok(())
    }
}

/// One line of the client's log.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) message: String,
    fields: BTreeMap<String, String>,
}

impl Event {
    /// Reads a line of `--log-format json`; what else is on standard error is no event.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut fields: BTreeMap<_, _> =
            value.get("fields")?.as_object()?.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Some(Self { message: fields.remove("message")?, fields })
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Whether a line of the log, as JSON or for people, says why the program ends.
pub(crate) fn is_error(line: &str) -> bool {
    let level = |line| serde_json::from_str::<Value>(line).ok()?.get("level")?.as_str().map(|level| level == "ERROR");
    level(line).unwrap_or_else(|| line.starts_with("error: "))
}

/// Writes a file that only the client's user can read.
pub(crate) fn client_file(path: &Path, text: &str) -> Result<PathBuf> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    chown(path, Some(CLIENT_UID), Some(CLIENT_UID))?;
    Ok(path.to_owned())
}

fn adit_command(rig: &Rig, profile: &Path, config: &ClientConfig) -> Result<Command> {
    let mut command = unprivileged(rig, config.read_only);
    if config.withhold_iv_proto == 0 && !config.withhold_ncp {
        command.arg(&rig.adit).args(["forward", "--log-format", "json"]);
        if config.verbose {
            command.arg("--verbose");
        }
    } else {
        // The program itself has no option for what a user never needs.
        command.arg(&rig.interop).arg("withholding");
        command.arg(format!("--iv-proto={}", config.withhold_iv_proto));
        if config.withhold_ncp {
            command.arg("--ncp");
        }
    }
    command.arg("--config").arg(profile);
    add_forwards(&mut command);
    if let Some((name, password)) = &config.user {
        let file = client_file(&rig.dir.join("credentials"), &format!("{name}\n{password}\n"))?;
        command.arg("--auth-user-pass").arg(file);
    }
    command.args(&config.args);
    Ok(command)
}

fn add_forwards(command: &mut Command) {
    for (port, target, protocol) in FORWARDS {
        let suffix = if protocol == "udp" { "/udp" } else { "" };
        command.arg("-L").arg(format!("{port}:{}:{}{suffix}", bracketed(target), target.port()));
    }
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// A user without rights, capabilities, groups, or a way to gain any.
pub(crate) fn unprivileged(rig: &Rig, read_only: bool) -> Command {
    unprivileged_at(rig, Place::Client, read_only)
}

/// The same at another place of the network.
pub(crate) fn unprivileged_at(rig: &Rig, place: Place, read_only: bool) -> Command {
    let mut command = rig.net.command(place, if read_only { "unshare" } else { "setpriv" });
    if read_only {
        let script = "mount --make-rprivate /; mount -o remount,bind,ro /; exec setpriv \"$@\"";
        command.args(["--mount", "sh", "-ec", script, "sh"]);
    }
    without_rights(&mut command);
    command
}

/// The arguments of `setpriv` that make such a user.
pub(crate) fn without_rights(command: &mut Command) {
    let user = format!("{CLIENT_UID}");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]);
    command.current_dir("/");
}

fn reference_command(rig: &Rig, profile: &Path, config: &ClientConfig) -> Result<Command> {
    let mut command = rig.net.command(Place::Client, "openvpn");
    command.current_dir(&rig.dir).arg("--config").arg(profile).args(["--verb", "4"]);
    command.args(["--route", "192.168.100.0", "255.255.255.0"]);
    if let Some((name, password)) = &config.user {
        let file = client_file(&rig.dir.join("credentials"), &format!("{name}\n{password}\n"))?;
        command.arg("--auth-user-pass").arg(file);
    }
    if config.read_only || config.input.is_some() || !config.args.is_empty() {
        bail!("this case needs adit");
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_lines_with_a_message_are_events() {
        let line = r#"{"level":"INFO","fields":{"message":"data keys installed","key_id":1,"data":"v2"}}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!(event.message, "data keys installed");
        assert_eq!((event.field("key_id"), event.field("data"), event.field("other")), (Some("1"), Some("v2"), None));
        assert!(Event::parse("127.0.0.1:33000 -> 192.168.100.30:8080/tcp").is_none());
        assert!(Event::parse(r#"{"fields":{}}"#).is_none());
        assert!(is_error(r#"{"level":"ERROR","fields":{}}"#) && is_error("error: no such file"));
        assert!(!is_error(line) && !is_error("no error"));
    }
}

//! Name resolution: systemd-resolved, else `resolvconf`, else the file itself.

use std::{
    env, fmt, fs, io,
    io::Write,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use adit_tunnel::Dns;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::{Deserialize, Serialize};

use super::{
    Namespace,
    dbus::{Body, Connection, Method},
    resolv_conf::{self, ResolvConf},
    whose::{Resolution, is_bound_elsewhere},
};

/// How names are to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSettings {
    /// Servers, best first.
    pub servers: Vec<IpAddr>,
    /// Domains to append to short names.
    pub search: Vec<String>,
    /// Domains that alone are asked of these servers; empty means all.
    pub only: Vec<String>,
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsMethod {
    /// systemd-resolved, on the system's bus.
    Resolved,
    /// The program `resolvconf`.
    Resolvconf,
    /// `/etc/resolv.conf`; of a named namespace `/etc/netns/NAME/resolv.conf`.
    File,
}

/// How it is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DnsUndo {
    Resolved {
        index: u32,
    },
    Resolvconf {
        record: String,
    },
    File {
        /// Whose layer it is.
        device: String,
        path: PathBuf,
        /// The whole file.
        ours: String,
        before: String,
    },
    /// The file was made, and so many folders above it; unless there was one, which one of us may make again that finds it removed.
    Made {
        path: PathBuf,
        folders: usize,
        existed: bool,
    },
}

/// Whoever is told, found and open.
#[derive(Debug)]
pub(super) enum Resolver {
    Resolved { bus: Connection, index: u32 },
    Resolvconf { program: PathBuf, record: String },
    File { file: ResolvConf, device: String },
}

impl Resolver {
    /// The method that was chosen, or the first that works here; `None` where there is none that would be for this network namespace
    /// alone. `first` is told how something is undone before it is done.
    pub(super) fn find(
        method: Option<DnsMethod>,
        device: &str,
        index: u32,
        namespace: &Namespace,
        first: &mut dyn FnMut(DnsUndo) -> io::Result<()>,
    ) -> io::Result<Option<Self>> {
        let with = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
        let path = namespace.resolv_conf();
        let found = match (method, namespace.name()) {
            (Some(DnsMethod::Resolved | DnsMethod::Resolvconf), Some(name)) => {
                let text = format!("systemd-resolved and resolvconf do not resolve for the network namespace `{name}`");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
            (Some(DnsMethod::Resolved), None) => Self::resolved(index).map_err(|error| with("systemd-resolved", error)),
            (Some(DnsMethod::Resolvconf), None) => {
                let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no program `resolvconf`");
                Self::resolvconf(device).ok_or_else(missing)
            }
            (Some(DnsMethod::File), _) | (None, Some(_)) => Self::file(device, &path, first),
            (None, None) => return Self::of_here(device, index, first),
        };
        found.map(Some)
    }

    /// The first that works here.
    fn of_here(device: &str, index: u32, first: &mut dyn FnMut(DnsUndo) -> io::Result<()>) -> io::Result<Option<Self>> {
        let path = match Resolution::here() {
            Resolution::Machine => match Self::resolved(index) {
                Ok(resolved) => return Ok(Some(resolved)),
                Err(error) => {
                    tracing::debug!("no systemd-resolved: {error}");
                    if let Some(resolvconf) = Self::resolvconf(device) {
                        return Ok(Some(resolvconf));
                    }
                    "/etc/resolv.conf".into()
                }
            },
            Resolution::Own(path) => {
                let file = path.display();
                tracing::info!(
                    device,
                    "DNS servers go to {file}: systemd-resolved and resolvconf are not of this network namespace"
                );
                path
            }
            Resolution::Shared => {
                tracing::warn!(
                    device,
                    "DNS stays as it is: /etc/resolv.conf is the machine's, and this network namespace has none of its own; \
                     give it a name (`ip netns add`) or a file, or say `--dns file` to write that one"
                );
                return Ok(None);
            }
        };
        Self::file(device, &path, first).map(Some)
    }

    fn resolved(index: u32) -> io::Result<Self> {
        let socket = Connection::socket();
        // Links have the same numbers elsewhere: what is meant for ours would be done with another.
        if fs::read_to_string(SOCKETS).is_ok_and(|sockets| socket.exists() && is_bound_elsewhere(&socket, &sockets)) {
            let text = format!("{} is of another network namespace; say `file` for this one", socket.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut bus = Connection::system()?;
        // Whether it is there, or can be started. It knows nothing of this link yet, so nothing is lost.
        revert(&mut bus, index)?;
        Ok(Self::Resolved { bus, index })
    }

    fn resolvconf(device: &str) -> Option<Self> {
        let program = find_program("resolvconf")?;
        Some(Self::Resolvconf { program, record: format!("{device}.adit") })
    }

    fn file(device: &str, path: &Path, first: &mut dyn FnMut(DnsUndo) -> io::Result<()>) -> io::Result<Self> {
        Ok(Self::File { file: ResolvConf::open(path, device, first)?, device: device.to_owned() })
    }

    /// What it is, for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Resolved { .. } => "systemd-resolved",
            Self::Resolvconf { .. } => "resolvconf",
            Self::File { .. } => "resolv.conf",
        }
    }

    /// Whether it still works for a process without the rights it was opened with.
    pub(super) fn outlives_rights(&self) -> bool {
        !matches!(self, Self::Resolvconf { .. })
    }

    /// How [`Self::set`] will be undone.
    pub(super) fn undo(&mut self, settings: &DnsSettings) -> io::Result<DnsUndo> {
        Ok(match self {
            Self::Resolved { index, .. } => DnsUndo::Resolved { index: *index },
            Self::Resolvconf { record, .. } => DnsUndo::Resolvconf { record: record.clone() },
            Self::File { file, device } => {
                let before = file.read()?;
                let ours = resolv_conf::text(device, settings, &before);
                DnsUndo::File { device: device.clone(), path: file.path().to_owned(), ours, before }
            }
        })
    }

    pub(super) fn set(&mut self, settings: &DnsSettings) -> io::Result<()> {
        if !settings.only.is_empty() && !matches!(self, Self::Resolved { .. }) {
            tracing::warn!(
                "all names are asked of the tunnel's servers, not only those below {}: that takes systemd-resolved",
                settings.only.join(", ")
            );
        }
        match self {
            Self::Resolved { bus, index } => set_resolved(bus, *index, settings),
            Self::Resolvconf { program, record } => {
                // The options are those of openresolv: before all others, and no others. Debian's takes no notice of them.
                run(program, &["-a", record, "-m", "0", "-x"], &resolv_conf::lines(settings), PATIENCE)
            }
            Self::File { file, device } => file.put(device, settings),
        }
    }

    pub(super) fn revert(&mut self, undo: &DnsUndo) -> io::Result<()> {
        match (self, undo) {
            (Self::Resolved { bus, index }, DnsUndo::Resolved { index: of }) if index == of => revert(bus, *index),
            (Self::File { file, .. }, DnsUndo::File { device, path, ours, before }) if file.path() == path => {
                file.restore(device, ours, before)
            }
            (_, undo) => undo.run().map(drop),
        }
    }
}

impl DnsUndo {
    /// For a process that is gone, and its device with it. `false` if there was nothing to undo.
    pub(super) fn run(&self) -> io::Result<bool> {
        match self {
            // Forgotten with the link.
            Self::Resolved { .. } => Ok(false),
            Self::Resolvconf { record } => match find_program("resolvconf") {
                Some(program) => run(&program, &["-d", record], "", PATIENCE).map(|()| true),
                None => Ok(false),
            },
            Self::File { path, .. } if !path.exists() => Ok(false),
            Self::File { device, path, ours, before } => {
                // Where there is one, none is made.
                ResolvConf::open(path, device, &mut |_| Ok(()))?.restore(device, ours, before).map(|()| true)
            }
            Self::Made { path, folders, existed } => resolv_conf::unmake(path, *folders, *existed),
        }
    }

    /// What a person does in place of [`Self::run`].
    pub(super) fn by_hand(&self) -> String {
        match self {
            Self::Resolved { .. } => "nothing: it goes with the device".to_owned(),
            Self::Resolvconf { record } => format!("`resolvconf -d {record}`"),
            Self::File { device, path, .. } => format!("take the lines of {device} out of {}", path.display()),
            Self::Made { path, .. } => format!("`rm {}`", path.display()),
        }
    }
}

impl fmt::Display for DnsUndo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved { .. } => f.write_str("DNS servers of systemd-resolved"),
            Self::Resolvconf { .. } => f.write_str("DNS servers of resolvconf"),
            Self::File { path, .. } => write!(f, "DNS servers in {}", path.display()),
            Self::Made { path, .. } => write!(f, "{} (made by us)", path.display()),
        }
    }
}

impl DnsSettings {
    pub(super) fn of(dns: &Dns) -> Self {
        let Dns { servers, search_domains, resolve_domains } = dns;
        let named = |domains: &[String]| domains.iter().filter(|domain| is_domain(domain)).cloned().collect();
        Self { servers: servers.clone(), search: named(search_domains), only: named(resolve_domains) }
    }
}

/// What a gateway sends is written into files: nothing but a name gets there.
fn is_domain(text: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn method(name: &str) -> Method<'_> {
    Method {
        destination: "org.freedesktop.resolve1",
        path: "/org/freedesktop/resolve1",
        interface: "org.freedesktop.resolve1.Manager",
        name,
    }
}

fn revert(bus: &mut Connection, index: u32) -> io::Result<()> {
    let mut body = Body::new("i");
    body.number(index);
    bus.call(method("RevertLink"), &body)
}

/// The calls of org.freedesktop.resolve1(5).
fn set_resolved(bus: &mut Connection, index: u32, settings: &DnsSettings) -> io::Result<()> {
    let mut servers = Body::new("ia(iay)");
    servers.number(index);
    servers.array(8, |servers| {
        for server in &settings.servers {
            servers.align(8);
            // AF_INET and AF_INET6 of Linux.
            let (family, octets) = match server {
                IpAddr::V4(v4) => (2, v4.octets().to_vec()),
                IpAddr::V6(v6) => (10, v6.octets().to_vec()),
            };
            servers.number(family);
            servers.array(1, |bytes| bytes.bytes.extend(octets));
        }
    });
    bus.call(method("SetLinkDNS"), &servers)?;
    let mut domains = Body::new("ia(sb)");
    domains.number(index);
    domains.array(8, |domains| {
        let search = settings.search.iter().map(|domain| (domain.as_str(), false));
        let only = settings.only.iter().map(|domain| (domain.as_str(), true));
        // The root, for routing: whatever has no better place.
        let all = settings.only.is_empty().then_some((".", true));
        for (domain, routing) in search.chain(only).chain(all) {
            domains.align(8);
            domains.string(domain);
            domains.flag(routing);
        }
    });
    bus.call(method("SetLinkDomains"), &domains)?;
    let mut default = Body::new("ib");
    default.number(index);
    default.flag(settings.only.is_empty());
    bus.call(method("SetLinkDefaultRoute"), &default)
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file()))
}

/// The sockets of this network namespace that have a path.
const SOCKETS: &str = "/proc/net/unix";
/// How long a program may take that is run: as long as a service may that is asked.
const PATIENCE: Duration = Duration::from_secs(25);

fn run(program: &Path, args: &[&str], input: &str, patience: Duration) -> io::Result<()> {
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let command = || format!("`{} {}`", program.display(), args.join(" "));
    let Some(status) = wait(&mut child, patience)? else {
        child.kill()?;
        child.wait()?;
        let text = format!("{} did not end within {} s, and was killed", command(), patience.as_secs_f32());
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{} ended with {status}", command()))) }
}

/// How it ended; `None` if it has not within that time. Before Linux 5.3 it is waited for however long it takes.
fn wait(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let end = match pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
        Ok(end) => end,
        Err(Errno::NOSYS) => return child.wait().map(Some),
        Err(error) => return Err(error.into()),
    };
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => return child.wait().map(Some),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::dbus::tests::double;

    #[test]
    fn resolved_is_told_servers_domains_and_whether_it_is_asked_for_all_else() {
        let settings = DnsSettings {
            servers: vec!["10.8.0.1".parse().unwrap(), "fd00::53".parse().unwrap()],
            search: vec!["corp.example".to_owned()],
            only: Vec::new(),
        };
        let (bus, calls) = double(vec![None; 4]);
        let mut resolver = Resolver::Resolved { bus, index: 7 };
        let undo = resolver.undo(&settings).unwrap();
        resolver.set(&settings).unwrap();
        resolver.revert(&undo).unwrap();
        let calls = calls.join().unwrap();
        let names: Vec<_> = calls.iter().map(|(name, signature, _)| (name.as_str(), signature.as_str())).collect();
        assert_eq!(
            names,
            [
                ("SetLinkDNS", "ia(iay)"),
                ("SetLinkDomains", "ia(sb)"),
                ("SetLinkDefaultRoute", "ib"),
                ("RevertLink", "i")
            ]
        );
        let mut servers =
            vec![7, 0, 0, 0, 40, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 10, 8, 0, 1, 0, 0, 0, 0, 10, 0, 0, 0, 16, 0, 0, 0];
        servers.extend("fd00::53".parse::<std::net::Ipv6Addr>().unwrap().octets());
        assert_eq!(calls[0].2, servers);
        let mut domains = vec![7, 0, 0, 0, 36, 0, 0, 0, 12, 0, 0, 0];
        domains.extend(b"corp.example\0\0\0\0\0\0\0\0");
        domains.extend([1, 0, 0, 0, b'.', 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(calls[1].2, domains);
        assert_eq!(calls[2].2, [7, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(calls[3].2, [7, 0, 0, 0]);
    }

    #[test]
    fn with_domains_of_its_own_a_tunnel_is_not_asked_for_others() {
        let settings = DnsSettings {
            servers: vec!["10.8.0.1".parse().unwrap()],
            search: Vec::new(),
            only: vec!["corp.example".to_owned()],
        };
        let (bus, calls) = double(vec![None; 3]);
        Resolver::Resolved { bus, index: 7 }.set(&settings).unwrap();
        let calls = calls.join().unwrap();
        assert_eq!(calls[1].2.last_chunk(), Some(&[1, 0, 0, 0]));
        assert!(calls[1].2.windows(12).any(|bytes| bytes == b"corp.example"));
        assert_eq!(calls[2].2, [7, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let run = |script: &str, patience| run(Path::new("/bin/sh"), &["-c", script], "x", patience);
        run("read line; test $line = x", PATIENCE).unwrap();
        assert!(run("read line; exit 3", PATIENCE).unwrap_err().to_string().contains("exit status: 3"));
        let error = run("read line; exec sleep 3600", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }

    #[test]
    fn what_is_no_domain_gets_into_no_file() {
        let dns = Dns {
            search_domains: vec!["corp.example".into(), "a b".into(), "x\nnameserver 192.0.2.1".into(), "".into()],
            resolve_domains: vec!["_x.example.".into(), "a..b".into()],
            ..Dns::default()
        };
        let settings = DnsSettings::of(&dns);
        assert_eq!((settings.search, settings.only), (vec!["corp.example".to_owned()], vec!["_x.example.".to_owned()]));
    }
}

//! Makes the machine so, follows changes, and undoes them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Namespace,
    dns::{DnsMethod, Resolver},
    journal::{Journal, Leftover, Name, Undo, path},
    netlink::{Action, Netlink},
    plan::{Change, Target},
};
use crate::tun::Device;

/// Where and how.
#[derive(Debug)]
pub struct SystemOptions {
    /// Where the journal is kept: a folder that is empty after a restart of the machine, as what it tells of is undone then.
    pub state_dir: PathBuf,
    /// Where the device is.
    pub namespace: Arc<Namespace>,
    /// Whether DNS is to be set.
    pub dns: bool,
    /// How; `None` takes what works.
    pub dns_method: Option<DnsMethod>,
    /// Whether what blocks stays when nobody has undone it: what an earlier process has left of that is taken over, and not undone before
    /// something else is in its place.
    pub hold: bool,
}

/// What was done for one device. Dropped, it undoes all of it; with [`SystemOptions::hold`] all but what blocks, which
/// [`System::undo_all`], [`recover`] or the next process undoes.
pub struct System {
    device: String,
    index: u32,
    netlink: Netlink,
    options: SystemOptions,
    resolver: Option<Resolver>,
    journal: Journal,
    applied: Vec<Applied>,
    /// What could not be undone yet: it is tried again at the end.
    stuck: Vec<Applied>,
    names: Vec<Name>,
}

struct Applied {
    change: Change,
    undo: Undo,
    /// In the journal.
    number: usize,
}

/// For a device of a process that died: undoes what it could not. How many changes that were.
///
/// # Errors
/// `WouldBlock` while the process lives. Those of the system.
pub fn recover(state_dir: &Path, device: &str) -> io::Result<usize> {
    if !path(state_dir, device).exists() {
        return Ok(0);
    }
    let (mut journal, left) = Journal::open(state_dir, device)?;
    let count = undo_leftover(&mut journal, &left)?;
    journal.clear()?;
    Ok(count)
}

impl System {
    /// Undoes what an earlier process has left behind, or takes over what blocks of it, and makes the device; it is down and has
    /// no address.
    ///
    /// # Errors
    /// `WouldBlock`: there is a living process with a device of this name. `NotFound`: no such namespace. Those of the system.
    pub fn open(device: &str, mtu: u16, options: SystemOptions) -> io::Result<(Self, Device)> {
        let (mut journal, mut left) = Journal::open(&options.state_dir, device)?;
        let (applied, names) = if options.hold && left.blocks() && left.namespace.as_deref() == options.namespace.name()
        {
            let held = left.undo.extract_if(.., |(_, undo)| holds(undo)).collect();
            (take_over(held), std::mem::take(&mut left.names))
        } else {
            (Vec::new(), Vec::new())
        };
        let undone = undo_leftover(&mut journal, &left)?;
        if applied.is_empty() {
            journal.begin(device, options.namespace.name())?;
        } else {
            tracing::warn!(device, "what an earlier process has blocked stays blocked until a tunnel is up");
        }
        if undone > 0 {
            tracing::warn!(device, undone, "undid what an earlier process has left behind");
        }
        let (made, netlink) = options.namespace.run(|| Ok((make(device, mtu)?, Netlink::open()?)))?;
        let (device, index, resolver) = known(&made, &options)?;
        Ok((Self { device, index, netlink, options, resolver, journal, applied, stuck: Vec::new(), names }, made))
    }

    /// Makes the device again, as [`Self::open`] made it, where it is gone: what [`Self::rest`] has left stays as it is.
    ///
    /// # Errors
    /// `ResourceBusy`: there is one still. Those of the system.
    pub fn renew(&mut self, mtu: u16) -> io::Result<Device> {
        let made = self.options.namespace.run(|| make(&self.device, mtu))?;
        (self.device, self.index, self.resolver) = known(&made, &self.options)?;
        Ok(made)
    }

    /// Undoes all but what blocks.
    pub fn rest(&mut self) {
        self.undo_where(|applied| !holds(&applied.undo));
    }

    /// Whether something is blocked now, so that it does not go past the tunnel.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.applied.iter().any(|applied| blocks(&applied.undo))
    }

    /// Kept with what blocks.
    fn know_names(&mut self, names: Vec<Name>) -> io::Result<()> {
        if self.options.hold && self.names != names {
            self.journal.names(&names)?;
            self.names = names;
        }
        Ok(())
    }

    /// What a process before us knew, see [`Self::apply`]: names, ports, addresses.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The kernel's number for the device.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Who is told of DNS servers, in words.
    #[must_use]
    pub fn resolver(&self) -> Option<&'static str> {
        self.resolver.as_ref().map(Resolver::name)
    }

    /// Whether everything can be done and undone by a process that has CAP_NET_ADMIN and no other right any more.
    #[must_use]
    pub fn outlives_rights(&self) -> bool {
        self.resolver.as_ref().is_none_or(Resolver::outlives_rights)
    }

    /// Brings the device up, and gives it this MTU.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bring_up(&mut self, mtu: u16) -> io::Result<()> {
        self.netlink.bring_up(self.index, mtu)
    }

    /// Makes it so: what is not among these and was done before is undone, what is new is done. What is so already stays.
    ///
    /// `names` is what the names of gateways mean (name, port, addresses), for a process that finds them blocked, where nobody can be
    /// asked. With [`SystemOptions::hold`] the journal has them before anything is blocked.
    ///
    /// # Errors
    /// The first that cannot be done, by name; those before it are done. The journal cannot be written.
    pub fn apply(&mut self, desired: &[Change], names: Vec<Name>) -> io::Result<()> {
        self.know_names(names)?;
        let is_over = |applied: &Applied| !desired.contains(&applied.change);
        if self.applied.iter().any(is_over) {
            // What closes comes first: nothing gets past it from one network to the next.
            self.carry_out_all(desired.iter().filter(|change| closes(change)))?;
        }
        // With an address the kernel may remove the routes through its device: they are made again.
        let moves = self.applied.iter().any(|applied| matches!(applied.change, Change::Address(_)) && is_over(applied));
        self.undo_where(|applied| is_over(applied) || moves && is_of_device(&applied.change));
        self.carry_out_all(desired.iter())
    }

    /// The last first.
    fn undo_where(&mut self, goes: impl Fn(&Applied) -> bool) {
        for at in (0..self.applied.len()).rev() {
            if self.applied.get(at).is_some_and(&goes) {
                let applied = self.applied.remove(at);
                self.undo(applied);
            }
        }
    }

    fn carry_out_all<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> io::Result<()> {
        for change in changes {
            if !self.applied.iter().any(|applied| applied.change == *change) {
                self.carry_out(change)?;
            }
        }
        Ok(())
    }

    /// Undoes everything, the last first. What cannot be undone, which is said in the log, stays in the journal for the next start.
    pub fn undo_all(&mut self) {
        let stuck = std::mem::take(&mut self.stuck);
        self.undo_where(|_| true);
        // The last of them first, too: what was before all of it is what comes back.
        stuck.into_iter().rev().for_each(|applied| self.undo(applied));
        if !self.stuck.is_empty() {
            return;
        }
        if let Err(error) = self.journal.clear() {
            tracing::warn!(device = self.device, "the journal: {error}");
        }
    }

    fn carry_out(&mut self, change: &Change) -> io::Result<()> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{change} cannot be set: {error}"));
        let undo = match change {
            Change::Sysctl { key, value } => {
                let before = fs::read_to_string(sysctl(key)).unwrap_or_default().trim().to_owned();
                if before == *value {
                    return Ok(());
                }
                Undo::Sysctl { key: key.clone(), before }
            }
            Change::Dns(settings) => match &mut self.resolver {
                Some(resolver) => Undo::Dns(resolver.undo(settings).map_err(failed)?),
                None => return Ok(()),
            },
            Change::Address(_) | Change::Route { .. } | Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } => {
                Undo::Remove(change.clone())
            }
        };
        let number = self.journal.will_do(&undo)?;
        let done = match change {
            Change::Sysctl { key, value } => fs::write(sysctl(key), value).map(|()| true),
            Change::Dns(settings) => self.resolver.as_mut().map_or(Ok(false), |r| r.set(settings).map(|()| true)),
            Change::Address(_) | Change::Route { .. } | Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } => {
                self.netlink.change(self.index, change, Action::Add)
            }
        };
        match done {
            Ok(new) => {
                if !new && is_of_device(change) {
                    // Of another device.
                    tracing::warn!(device = self.device, "{change} is there already, and leads elsewhere");
                } else if !new {
                    tracing::debug!(device = self.device, "{change} is there already");
                }
                tracing::debug!(device = self.device, "set: {change}");
            }
            // A machine without IPv6, or one whose settings are not ours to change, has the rest all the same.
            Err(error) if is_dispensable(change) => {
                tracing::warn!(device = self.device, "{}", failed(error));
                self.journal.undone(number)?;
                return Ok(());
            }
            Err(error) => {
                self.applied.push(Applied { change: change.clone(), undo, number });
                return Err(failed(error));
            }
        }
        self.applied.push(Applied { change: change.clone(), undo, number });
        Ok(())
    }

    /// What fails stays in the journal.
    fn undo(&mut self, applied: Applied) {
        let undone = match &applied.undo {
            Undo::Remove(change) => self.netlink.change(self.index, change, Action::Remove).map(drop),
            Undo::Sysctl { key, before } => fs::write(sysctl(key), before),
            Undo::Dns(undo) => self.resolver.as_mut().map_or(Ok(()), |resolver| resolver.revert(undo)),
        };
        match undone.and_then(|()| self.journal.undone(applied.number)) {
            Ok(()) => tracing::debug!(device = self.device, "undone: {}", applied.change),
            Err(error) => {
                tracing::warn!(device = self.device, "{} cannot be undone: {error}", applied.change);
                self.stuck.push(applied);
            }
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.options.hold && self.blocks() { self.rest() } else { self.undo_all() }
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applied: Vec<&Change> = self.applied.iter().map(|applied| &applied.change).collect();
        f.debug_struct("System")
            .field("device", &self.device)
            .field("namespace", &self.options.namespace.name())
            .field("applied", &applied)
            .finish_non_exhaustive()
    }
}

fn make(name: &str, mtu: u16) -> io::Result<Device> {
    Device::open(Some(name), mtu).map_err(|error| {
        let text = format!("no TUN device (it needs CAP_NET_ADMIN and /dev/net/tun): {error}");
        io::Error::new(error.kind(), text)
    })
}

/// Name and number of a device, and who is told of its DNS servers.
fn known(made: &Device, options: &SystemOptions) -> io::Result<(String, u32, Option<Resolver>)> {
    let SystemOptions { namespace, dns, dns_method, .. } = options;
    let (name, index) = (made.name().to_owned(), namespace.run(|| made.index())?);
    let resolver = dns.then(|| Resolver::find(*dns_method, &name, index, namespace)).transpose()?;
    Ok((name, index, resolver))
}

fn sysctl(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// Whether it keeps packets from going past the tunnel.
fn closes(change: &Change) -> bool {
    match change {
        Change::Route { target, .. } => *target == Target::Unreachable,
        Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } => true,
        Change::Address(_) | Change::Sysctl { .. } | Change::Dns(_) => false,
    }
}

fn is_of_device(change: &Change) -> bool {
    matches!(change, Change::Route { target: Target::Device, .. })
}

/// Whether a tunnel is of use without it.
fn is_dispensable(change: &Change) -> bool {
    match change {
        Change::Address(net) => net.0.address().is_ipv6(),
        Change::Route { to, target, .. } => to.0.address().is_ipv6() && *target == Target::Device,
        Change::Sysctl { .. } => true,
        Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } | Change::Dns(_) => false,
    }
}

/// Whether undoing it could let something past the tunnel.
fn blocks(undo: &Undo) -> bool {
    matches!(undo, Undo::Remove(Change::Route { target: Target::Unreachable, .. }))
}

/// Whether it belongs to what blocks: it needs no device, and what blocks would block too much or too little without it.
fn holds(undo: &Undo) -> bool {
    match undo {
        Undo::Remove(Change::Route { target, .. }) => *target != Target::Device,
        Undo::Remove(Change::RuleSpecific { .. } | Change::RuleUnmarked { .. }) | Undo::Sysctl { .. } => true,
        Undo::Remove(Change::Address(_) | Change::Sysctl { .. } | Change::Dns(_)) | Undo::Dns(_) => false,
    }
}

/// What was done by an earlier process, as if it had been us.
fn take_over(held: Vec<(usize, Undo)>) -> Vec<Applied> {
    let done = |(number, undo): (usize, Undo)| {
        let change = match &undo {
            Undo::Remove(change) => change.clone(),
            Undo::Sysctl { key, .. } => {
                let value = fs::read_to_string(sysctl(key)).unwrap_or_default().trim().to_owned();
                Change::Sysctl { key: key.clone(), value }
            }
            Undo::Dns(_) => return None,
        };
        Some(Applied { change, undo, number })
    };
    held.into_iter().filter_map(done).collect()
}

impl Leftover {
    fn blocks(&self) -> bool {
        self.undo.iter().any(|(_, undo)| blocks(undo))
    }
}

/// The device is gone, and with it what was on it; the rest is undone, the last first. Whatever fails is tried again the next time.
fn undo_leftover(journal: &mut Journal, left: &Leftover) -> io::Result<usize> {
    // A namespace that is gone has taken its tables with it.
    let mut netlink = match Namespace::open(left.namespace.as_deref()) {
        Ok(namespace) => Some(namespace.run(Netlink::open)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut count = 0;
    for (number, undo) in left.undo.iter().rev() {
        let undone = match undo {
            Undo::Remove(Change::Address(_) | Change::Route { target: Target::Device, .. }) => Ok(false),
            Undo::Remove(change) => match &mut netlink {
                // No device: index 0.
                Some(netlink) => netlink.change(0, change, Action::Remove),
                None => Ok(false),
            },
            Undo::Sysctl { key, before } => fs::write(sysctl(key), before).map(|()| true),
            Undo::Dns(undo) => undo.run().map(|()| true),
        };
        match undone {
            Ok(done) => count += usize::from(done),
            Err(error) => {
                let text = format!("what an earlier process has left behind cannot be undone ({undo:?}): {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
        journal.undone(*number)?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Net;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("adit-applier-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Without a device: index 0 is none.
    fn system(folder: &Path) -> System {
        let namespace = Arc::new(Namespace::open(None).unwrap());
        let options =
            SystemOptions { state_dir: folder.to_owned(), namespace, dns: false, dns_method: None, hold: true };
        let (mut journal, _) = Journal::open(folder, "vpn0").unwrap();
        journal.begin("vpn0", None).unwrap();
        let (netlink, device) = (Netlink::open().unwrap(), "vpn0".to_owned());
        let (applied, stuck, names) = (Vec::new(), Vec::new(), Vec::new());
        System { device, index: 0, netlink, options, resolver: None, journal, applied, stuck, names }
    }

    /// A file that stands for a setting of the kernel; its folder may be missing.
    fn setting(folder: &Path) -> (Change, PathBuf) {
        let file = folder.join("all/setting");
        let key = format!("../..{}", file.display());
        (Change::Sysctl { key, value: "1".to_owned() }, file)
    }

    #[test]
    fn what_cannot_be_undone_stays_in_the_journal_and_is_tried_again() {
        let folder = folder("stuck");
        let (change, file) = setting(&folder);
        let (present, absent) = (folder.join("all"), folder.join("absent"));
        fs::create_dir(&present).unwrap();
        fs::write(&file, "0").unwrap();
        let mut system = system(&folder);
        system.apply(&[change], Vec::new()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "1");
        fs::rename(&present, &absent).unwrap();
        system.apply(&[], Vec::new()).unwrap();
        system.undo_all();
        let text = fs::read_to_string(path(&folder, "vpn0")).unwrap();
        assert!(text.contains("setting") && !text.contains("undone"), "{text}");
        fs::rename(&absent, &present).unwrap();
        system.undo_all();
        assert_eq!(fs::read_to_string(&file).unwrap(), "0");
        assert_eq!(fs::read_to_string(path(&folder, "vpn0")).unwrap(), "");
        drop(system);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn names_are_known_before_anything_is_blocked() {
        let folder = folder("names");
        let mut system = system(&folder);
        // There is no device that it could be of, whatever the rights.
        let address = adit_tunnel::IpNet::host([192, 0, 2, 1]);
        let fails = [Change::Address(Net(address))];
        let names = vec![("vpn.example".to_owned(), 500, vec!["192.0.2.2:500".parse().unwrap()])];
        system.apply(&fails, names).unwrap_err();
        let text = fs::read_to_string(path(&folder, "vpn0")).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
        assert_eq!(lines, ["of", "names", "do"]);
        drop(system);
        fs::remove_dir_all(folder).unwrap();
    }
}

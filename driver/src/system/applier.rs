//! Makes the machine so, follows changes, and undoes them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Namespace,
    dns::{DnsMethod, Resolver},
    journal::{Journal, Leftover, Undo, path},
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
}

/// What was done for one device. Dropped, it undoes all of it.
pub struct System {
    device: String,
    index: u32,
    netlink: Netlink,
    namespace: Arc<Namespace>,
    resolver: Option<Resolver>,
    journal: Journal,
    applied: Vec<Applied>,
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
    undo_leftover(&mut journal, &left)
}

impl System {
    /// Undoes what an earlier process has left behind, and makes the device; it is down and has no address.
    ///
    /// # Errors
    /// `WouldBlock`: there is a living process with a device of this name. `NotFound`: no such namespace. Those of the system.
    pub fn open(device: &str, mtu: u16, options: SystemOptions) -> io::Result<(Self, Device)> {
        let SystemOptions { state_dir, namespace, dns, dns_method } = options;
        let (mut journal, left) = Journal::open(&state_dir, device)?;
        let undone = undo_leftover(&mut journal, &left)?;
        if undone > 0 {
            tracing::warn!(device, undone, "undid what an earlier process has left behind");
        }
        journal.begin(device, namespace.name())?;
        let (device, netlink) =
            namespace.run(|| Ok((Device::open(Some(device), mtu)?, Netlink::open()?))).map_err(|error| {
                let text = format!("no TUN device (it needs CAP_NET_ADMIN and /dev/net/tun): {error}");
                io::Error::new(error.kind(), text)
            })?;
        let (name, index) = (device.name().to_owned(), namespace.run(|| device.index())?);
        let resolver = dns.then(|| Resolver::find(dns_method, &name, index, &namespace)).transpose()?;
        let this = Self { device: name, index, netlink, namespace, resolver, journal, applied: Vec::new() };
        Ok((this, device))
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
    /// # Errors
    /// The first that cannot be done, by name; those before it are done.
    pub fn apply(&mut self, desired: &[Change]) -> io::Result<()> {
        let is_over = |applied: &Applied| !desired.contains(&applied.change);
        if self.applied.iter().any(is_over) {
            // What closes comes first: nothing gets past it from one network to the next.
            self.carry_out_all(desired.iter().filter(|change| closes(change)))?;
        }
        // With an address the kernel may remove the routes through its device: they are made again.
        let moves = self.applied.iter().any(|applied| matches!(applied.change, Change::Address(_)) && is_over(applied));
        for at in (0..self.applied.len()).rev() {
            let goes = |applied: &Applied| is_over(applied) || moves && is_of_device(&applied.change);
            if self.applied.get(at).is_some_and(goes) {
                let applied = self.applied.remove(at);
                self.undo(&applied);
            }
        }
        self.carry_out_all(desired.iter())
    }

    fn carry_out_all<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> io::Result<()> {
        for change in changes {
            if !self.applied.iter().any(|applied| applied.change == *change) {
                self.carry_out(change)?;
            }
        }
        Ok(())
    }

    /// Undoes everything, the last first.
    pub fn undo_all(&mut self) {
        while let Some(applied) = self.applied.pop() {
            self.undo(&applied);
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
                if !new {
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

    /// What fails stays in the journal, for the next start.
    fn undo(&mut self, applied: &Applied) {
        let undone = match &applied.undo {
            Undo::Remove(change) => self.netlink.change(self.index, change, Action::Remove).map(drop),
            Undo::Sysctl { key, before } => fs::write(sysctl(key), before),
            Undo::Dns(undo) => self.resolver.as_mut().map_or(Ok(()), |resolver| resolver.revert(undo)),
        };
        match undone.and_then(|()| self.journal.undone(applied.number)) {
            Ok(()) => tracing::debug!(device = self.device, "undone: {}", applied.change),
            Err(error) => tracing::warn!(device = self.device, "{} cannot be undone: {error}", applied.change),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.undo_all();
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applied: Vec<&Change> = self.applied.iter().map(|applied| &applied.change).collect();
        f.debug_struct("System")
            .field("device", &self.device)
            .field("namespace", &self.namespace.name())
            .field("applied", &applied)
            .finish_non_exhaustive()
    }
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

/// The device is gone, and with it what was on it; the rest is undone, the last first. Whatever fails is tried again the next time.
fn undo_leftover(journal: &mut Journal, left: &Leftover) -> io::Result<usize> {
    // A namespace that is gone has taken its tables with it.
    let mut netlink = match Namespace::open(left.namespace.as_deref()) {
        Ok(namespace) => Some(namespace.run(Netlink::open)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut count = 0;
    for undo in left.undo.iter().rev() {
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
    }
    journal.clear()?;
    Ok(count)
}

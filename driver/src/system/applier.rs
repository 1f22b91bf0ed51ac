//! Makes the machine so, follows changes, and undoes them.

#[cfg(test)]
mod tests;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, netdevice::name_to_index, socket},
};

use super::{
    Namespace,
    dns::{DnsMethod, Resolver},
    journal::{Journal, Name, Undo},
    leftover::{Todo, blocks, not_undone, undo_leftover},
    namespace::Found,
    netlink::{Action, Netlink},
    plan::{Change, Target},
    rivals,
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
    /// Whose it is, such as the name of a connection: the journal says so.
    pub owner: String,
    /// Whether what an earlier process of another owner has blocked stays: with such a device [`System::open`] fails. For who takes any
    /// device.
    pub spare: bool,
}

/// What was done for one device. Dropped, it undoes all of it; with [`SystemOptions::hold`] all but what blocks, which
/// [`System::undo_all`], [`recover`](super::recover) or the next process undoes.
pub struct System {
    device: String,
    index: u32,
    netlink: Netlink,
    options: SystemOptions,
    resolver: Option<Resolver>,
    journal: Journal,
    applied: Vec<Applied>,
    /// What was done for the resolver before there was anything to tell it.
    prepared: Vec<Todo>,
    /// What could not be undone yet, by us or by an earlier process: it is tried again at the end.
    stuck: Vec<Todo>,
    names: Vec<Name>,
    /// It was said that the kernel may drop what gateways send.
    warned: bool,
}

struct Applied {
    change: Change,
    todo: Todo,
}

impl System {
    /// Undoes what an earlier process has left behind, or takes over what blocks of it. There is no device before [`Self::make`].
    ///
    /// DNS servers that cannot be taken out again are no obstacle: that is tried again at the end.
    ///
    /// # Errors
    /// `WouldBlock`: there is a living process with a device of this name. `ResourceBusy`: what was blocked with it is spared
    /// ([`SystemOptions::spare`]). `NotFound`: no such namespace. One with a [`NotUndone`](super::NotUndone) inside: what an earlier process has left.
    /// Those of the system.
    pub fn open(device: &str, options: SystemOptions) -> io::Result<Self> {
        let mut netlink = options.namespace.run(Netlink::open)?;
        let (mut journal, mut left) = Journal::open(&options.state_dir, device)?;
        let is_here = left.is_in(&options.namespace);
        if options.spare && left.blocks() && (!is_here || left.owner.as_ref() != Some(&options.owner)) {
            let owner = left.owner.as_deref().unwrap_or("another");
            tracing::warn!(device, owner, "what an earlier process has blocked stays blocked: another device is taken");
            let text = format!("an earlier process blocks with the device {device} for {owner}");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        let found = Namespace::find(left.namespace.as_deref(), left.id);
        if options.spare && matches!(found, Ok(Found::Hidden(_))) && left.undo.iter().any(|(_, undo)| holds(undo)) {
            tracing::warn!(
                device,
                "what an earlier process has set in a network namespace that is not found from here stays: another device is taken"
            );
            let text = format!("an earlier process has left something of {device} in another network namespace");
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        let (applied, names) = if options.hold && left.blocks() && is_here {
            let held = left.undo.extract_if(.., |(_, undo)| holds(undo)).collect();
            (take_over(held, &mut netlink), std::mem::take(&mut left.names))
        } else {
            (Vec::new(), Vec::new())
        };
        let (undone, failed) = undo_leftover(&mut journal, left.undo, found)?;
        let mut stuck = Vec::new();
        for (todo, failed) in failed {
            if !matches!(todo.undo, Undo::Dns(_)) {
                return Err(io::Error::new(failed.error.kind(), failed));
            }
            tracing::warn!(
                device,
                "of what an earlier process has left behind, {failed}; it is tried again at the end"
            );
            stuck.push(todo);
        }
        if applied.is_empty() {
            let still: Vec<Undo> = stuck.iter().map(|todo: &Todo| todo.undo.clone()).collect();
            let at = (options.namespace.name(), options.namespace.id());
            let numbers = journal.begin(device, at, &options.owner, &still)?;
            stuck.iter_mut().zip(numbers).for_each(|(todo, number)| todo.number = number);
        } else {
            journal.own(&options.owner)?;
            tracing::warn!(device, "what an earlier process has blocked stays blocked until a tunnel is up");
        }
        if undone > 0 {
            tracing::warn!(device, undone, "undid what an earlier process has left behind");
        }
        let (device, prepared, resolver) = (device.to_owned(), Vec::new(), None);
        Ok(Self {
            device,
            index: 0,
            netlink,
            options,
            resolver,
            journal,
            applied,
            prepared,
            stuck,
            names,
            warned: false,
        })
    }

    /// Makes the device; it is down and has no address. Also again, where it is gone: what [`Self::rest`] has left stays as it is.
    ///
    /// # Errors
    /// `ResourceBusy`: there is a device of this name. Those of the system.
    pub fn make(&mut self, mtu: u16) -> io::Result<Device> {
        let Self { options: SystemOptions { namespace, dns, dns_method, .. }, device, journal, prepared, .. } = self;
        let made = namespace.run(|| make(device, mtu))?;
        self.index = namespace.run(|| made.index())?;
        let mut first = |undo| {
            let undo = Undo::Dns(undo);
            let number = journal.will_do(&undo)?;
            prepared.push(Todo { undo, number });
            Ok(())
        };
        self.resolver =
            if *dns { Resolver::find(*dns_method, device, self.index, namespace, &mut first)? } else { None };
        Ok(made)
    }

    /// The next device is to have this done about DNS.
    pub fn set_dns(&mut self, dns: bool, method: Option<DnsMethod>) {
        (self.options.dns, self.options.dns_method) = (dns, method);
    }

    /// Undoes all but what blocks.
    pub fn rest(&mut self) {
        self.undo_where(|applied| !holds(&applied.todo.undo));
        self.undo_prepared();
    }

    /// Whether something is blocked now, so that it does not go past the tunnel.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.applied.iter().any(|applied| blocks(&applied.todo.undo))
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

    /// What the kernel calls the device.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Whether the device is in another namespace than this process.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.options.namespace.is_apart()
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
                self.undo(applied.todo);
            }
        }
    }

    fn undo_prepared(&mut self) {
        let prepared = std::mem::take(&mut self.prepared);
        prepared.into_iter().rev().for_each(|todo| self.undo(todo));
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
        stuck.into_iter().rev().for_each(|todo| self.undo(todo));
        self.undo_prepared();
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
            Change::Dns(settings) => self.resolver.as_mut().map_or(Ok(false), |r| r.set(settings).map(|()| true)),
            Change::Address(_) | Change::Route { .. } | Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } => {
                self.netlink.change(self.index, change, Action::Add)
            }
        };
        match done {
            Ok(new) => {
                if let Some(rival) = self.rival(change) {
                    tracing::warn!(device = self.device, "{rival}");
                } else if !new && is_of_device(change) {
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
                self.applied.push(Applied { change: change.clone(), todo: Todo { undo, number } });
                return Err(failed(error));
            }
        }
        self.applied.push(Applied { change: change.clone(), todo: Todo { undo, number } });
        if matches!(change, Change::RuleUnmarked { v6: false, .. }) && !self.options.namespace.is_apart() {
            self.warn_of_strictness();
        }
        Ok(())
    }

    /// What is amiss with this change beside another device of ours, which only root can say.
    fn rival(&self, change: &Change) -> Option<String> {
        let namespace = &self.options.namespace;
        let lives = |other: &str| {
            let index = || {
                let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
                Ok(name_to_index(&socket, other)?)
            };
            namespace.run(index).is_ok()
        };
        rivals::told(change, &self.device, &self.options.state_dir, namespace.id(), lives)
    }

    /// What comes from a gateway carries no mark. Where the kernel demands that its sender be reached through the device it came by,
    /// it drops that, as the sender would be reached through the tunnel.
    fn warn_of_strictness(&mut self) {
        if std::mem::replace(&mut self.warned, true) {
            return;
        }
        for link in strict(Path::new(SETTINGS)).into_iter().filter(|link| *link != self.device) {
            tracing::warn!(
                device = self.device,
                "net.ipv4.conf.{link}.rp_filter is 1: in a full tunnel the kernel drops what gateways send by {link}; `sysctl -w {}=2` lets it in",
                setting(&link)
            );
        }
    }

    /// What fails stays in the journal.
    fn undo(&mut self, todo: Todo) {
        let undone = match &todo.undo {
            Undo::Remove(change) => self.netlink.change(self.index, change, Action::Remove).map(drop),
            Undo::Dns(undo) => {
                self.resolver.as_mut().map_or_else(|| undo.run().map(drop), |resolver| resolver.revert(undo))
            }
        };
        match undone.and_then(|()| self.journal.undone(todo.number)) {
            Ok(()) => tracing::debug!(device = self.device, "undone: {}", todo.undo),
            Err(error) => {
                let failed = not_undone(&todo.undo, &self.options.namespace.prefix(), error);
                tracing::warn!(device = self.device, "{failed}");
                self.stuck.push(todo);
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
    // Also one that could be taken: what is done with ours is undone by its end.
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    match name_to_index(&socket, name) {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::ResourceBusy, "there is a network device of that name")),
        Err(Errno::NODEV) => {}
        Err(error) => return Err(error.into()),
    }
    Device::open(Some(name), mtu).map_err(|error| {
        let text = format!("no TUN device (it needs CAP_NET_ADMIN and /dev/net/tun): {error}");
        io::Error::new(error.kind(), text)
    })
}

/// Settings of links.
const SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// As sysctl(8) wants it, where names of links may have dots.
fn setting(link: &str) -> String {
    if link.contains('.') {
        format!("net/ipv4/conf/{link}/rp_filter")
    } else {
        format!("net.ipv4.conf.{link}.rp_filter")
    }
}

/// The links where senders must be reached through the link that their packets come by.
fn strict(settings: &Path) -> Vec<String> {
    let value = |link: &str| {
        let text = fs::read_to_string(settings.join(link).join("rp_filter")).ok()?;
        text.trim().parse::<u8>().ok()
    };
    let all = value("all").unwrap_or(0);
    let links = fs::read_dir(settings).into_iter().flatten().flatten();
    let links = links.filter_map(|entry| entry.file_name().into_string().ok());
    let links = links.filter(|link| !matches!(&**link, "all" | "default" | "lo"));
    let mut strict: Vec<String> = links.filter(|link| value(link).is_some_and(|own| own.max(all) == 1)).collect();
    strict.sort();
    strict
}

/// Whether it keeps packets from going past the tunnel.
fn closes(change: &Change) -> bool {
    match change {
        Change::Route { target, .. } => *target == Target::Unreachable,
        Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } => true,
        Change::Address(_) | Change::Dns(_) => false,
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
        Change::RuleSpecific { .. } | Change::RuleUnmarked { .. } | Change::Dns(_) => false,
    }
}

/// Whether it belongs to what blocks: it needs no device, and what blocks would block too much or too little without it.
fn holds(undo: &Undo) -> bool {
    match undo {
        Undo::Remove(Change::Route { target, .. }) => *target != Target::Device,
        Undo::Remove(Change::RuleSpecific { .. } | Change::RuleUnmarked { .. }) => true,
        Undo::Remove(Change::Address(_) | Change::Dns(_)) | Undo::Dns(_) => false,
    }
}

/// What was done by an earlier process, as if it had been us. What somebody has removed since is set again.
fn take_over(held: Vec<(usize, Undo)>, netlink: &mut Netlink) -> Vec<Applied> {
    let mut applied = Vec::new();
    let mut failed = None;
    for (number, undo) in held {
        if let Undo::Remove(change) = &undo {
            let change = change.clone();
            // No device: index 0. A rule that may be there more than once blocks nothing.
            if !matches!(change, Change::RuleSpecific { .. })
                && let Err(error) = netlink.change(0, &change, Action::Add)
            {
                failed.get_or_insert_with(|| (change.clone(), error));
            }
            applied.push(Applied { change, todo: Todo { undo, number } });
        }
    }
    if let Some((change, error)) = failed {
        tracing::warn!("whether an earlier process's {change} is still there cannot be told: {error}");
    }
    applied
}

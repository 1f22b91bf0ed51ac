//! Makes the machine so, follows changes, and undoes them.

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
    journal::{self, Journal, Leftover, Name, Undo, path},
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
/// [`System::undo_all`], [`recover`] or the next process undoes.
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

/// Something to undo.
struct Todo {
    undo: Undo,
    /// In the journal.
    number: usize,
}

/// What became of what a process has left that died.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Changes that were undone.
    pub undone: usize,
    /// Those that could not be.
    pub failed: Vec<NotUndone>,
}

/// A change that could not be undone.
#[derive(Debug)]
pub struct NotUndone {
    /// What it is.
    pub what: String,
    /// Why it could not.
    pub error: io::Error,
    /// What a person does in place of us.
    pub by_hand: String,
}

impl std::error::Error for NotUndone {}

impl fmt::Display for NotUndone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be undone: {}; by hand: {}", self.what, self.error, self.by_hand)
    }
}

/// For a device of a process that died: undoes what it could not. What fails stays in the journal for the next time; with `forget`
/// it does not.
///
/// # Errors
/// `WouldBlock` while the process lives. Those of the system about the journal.
pub fn recover(state_dir: &Path, device: &str, forget: bool) -> io::Result<Recovered> {
    if !path(state_dir, device).exists() {
        return Ok(Recovered::default());
    }
    let (mut journal, left) = Journal::open(state_dir, device)?;
    let found = Namespace::find(left.namespace.as_deref(), left.id);
    let (undone, failed) = undo_leftover(&mut journal, left.undo, found)?;
    if failed.is_empty() || forget {
        journal.clear()?;
    }
    Ok(Recovered { undone, failed: failed.into_iter().map(|(_, failed)| failed).collect() })
}

/// The devices with which processes of this owner have blocked something that is blocked still; they may live.
#[must_use]
pub fn blocked(state_dir: &Path, owner: &str) -> Vec<String> {
    let is_ours = |left: &Leftover| left.blocks() && left.owner.as_deref() == Some(owner);
    let all = journal::all(state_dir).into_iter();
    all.filter(|(_, left)| is_ours(left)).map(|(device, _)| device).collect()
}

impl System {
    /// Undoes what an earlier process has left behind, or takes over what blocks of it. There is no device before [`Self::make`].
    ///
    /// DNS servers that cannot be taken out again are no obstacle: that is tried again at the end.
    ///
    /// # Errors
    /// `WouldBlock`: there is a living process with a device of this name. `ResourceBusy`: what was blocked with it is spared
    /// ([`SystemOptions::spare`]). `NotFound`: no such namespace. One with a [`NotUndone`] inside: what an earlier process has left.
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

/// Whether undoing it could let something past the tunnel.
fn blocks(undo: &Undo) -> bool {
    matches!(undo, Undo::Remove(Change::Route { target: Target::Unreachable, .. }))
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

impl Leftover {
    /// Whether it was left in this namespace. A name may have been given to another one since.
    fn is_in(&self, namespace: &Namespace) -> bool {
        match (self.id, namespace.id()) {
            (Some(id), Some(this)) => id == this,
            _ => self.namespace.as_deref() == namespace.name(),
        }
    }

    fn blocks(&self) -> bool {
        self.undo.iter().any(|(_, undo)| blocks(undo))
    }
}

/// The device is gone, and with it what was on it; the rest is undone, the last first. How many changes that were, and what failed:
/// that stays in the journal.
fn undo_leftover(
    journal: &mut Journal,
    left: Vec<(usize, Undo)>,
    found: io::Result<Found>,
) -> io::Result<(usize, Vec<(Todo, NotUndone)>)> {
    let mut prefix = String::new();
    let mut netlink = match found {
        Ok(Found::There(namespace)) => {
            prefix = namespace.prefix();
            namespace.run(Netlink::open).map(Some)
        }
        // It has taken its tables with it.
        Ok(Found::Gone) => Ok(None),
        Ok(Found::Hidden(id)) => {
            "nsenter --target PID --net ".clone_into(&mut prefix);
            let text = format!(
                "it is in another network namespace, {id}, and nothing seen from here leads there; PID is that of a process in \
                 it, and where there is none it needs no undoing"
            );
            Err(io::Error::new(io::ErrorKind::NotFound, text))
        }
        Err(error) => Err(error),
    };
    let (mut count, mut failed) = (0, Vec::new());
    for (number, undo) in left.into_iter().rev() {
        let undone = match (&undo, &mut netlink) {
            (Undo::Remove(Change::Address(_) | Change::Route { target: Target::Device, .. }), _) => Ok(false),
            // No device: index 0.
            (Undo::Remove(change), Ok(Some(netlink))) => netlink.change(0, change, Action::Remove),
            (Undo::Remove(_), Ok(None)) => Ok(false),
            (Undo::Remove(_), Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            (Undo::Dns(undo), _) => undo.run(),
        };
        match undone {
            Ok(done) => {
                count += usize::from(done);
                journal.undone(number)?;
            }
            Err(error) => {
                let why = not_undone(&undo, &prefix, error);
                failed.push((Todo { undo, number }, why));
            }
        }
    }
    // As they were done.
    failed.reverse();
    Ok((count, failed))
}

fn not_undone(undo: &Undo, prefix: &str, error: io::Error) -> NotUndone {
    NotUndone { what: undo.to_string(), error, by_hand: undo.by_hand(prefix) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{
        DnsSettings, Net,
        dns::DnsUndo,
        namespace::NetId,
        resolv_conf::{self, ResolvConf},
    };

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("adit-applier-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn options(folder: &Path, owner: &str) -> SystemOptions {
        let namespace = Arc::new(Namespace::open(None).unwrap());
        let (state_dir, owner) = (folder.to_owned(), owner.to_owned());
        SystemOptions { state_dir, namespace, dns: false, dns_method: None, hold: true, owner, spare: true }
    }

    /// Without a device: index 0 is none.
    fn system(folder: &Path) -> System {
        let options = options(folder, "office");
        let (mut journal, _) = Journal::open(folder, "vpn0").unwrap();
        journal.begin("vpn0", (None, None), "office", &[]).unwrap();
        let (netlink, device) = (Netlink::open().unwrap(), "vpn0".to_owned());
        let (applied, prepared, stuck, names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (index, resolver, warned) = (0, None, false);
        System { device, index, netlink, options, resolver, journal, applied, prepared, stuck, names, warned }
    }

    fn dns() -> Change {
        let servers = vec!["10.0.0.1".parse().unwrap()];
        Change::Dns(DnsSettings { servers, search: Vec::new(), only: Vec::new() })
    }

    /// What a process has left that had put its servers in this file.
    fn left_in(file: &Path) -> Undo {
        let (device, before) = ("vpn0", "nameserver 192.0.2.53\n");
        let Change::Dns(settings) = dns() else { panic!("DNS") };
        let ours = resolv_conf::text(device, &settings, before);
        Undo::Dns(DnsUndo::File { device: device.into(), path: file.to_owned(), ours, before: before.into() })
    }

    fn journal_text(folder: &Path) -> String {
        fs::read_to_string(path(folder, "vpn0")).unwrap()
    }

    #[test]
    fn what_cannot_be_undone_stays_in_the_journal_and_is_tried_again() {
        let folder = folder("stuck");
        let (present, absent) = (folder.join("etc"), folder.join("absent"));
        let file = present.join("resolv.conf");
        fs::create_dir(&present).unwrap();
        fs::write(&file, "nameserver 192.0.2.53\n").unwrap();
        let mut system = system(&folder);
        let open = ResolvConf::open(&file, "vpn0", &mut |_| Ok(())).unwrap();
        system.resolver = Some(Resolver::File { file: open, device: "vpn0".to_owned() });
        system.apply(&[dns()], Vec::new()).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("nameserver 10.0.0.1"));
        // A folder in the place of the file cannot be written.
        fs::rename(&present, &absent).unwrap();
        fs::create_dir_all(&file).unwrap();
        system.apply(&[], Vec::new()).unwrap();
        system.undo_all();
        assert!(!journal_text(&folder).contains("undone"), "{}", journal_text(&folder));
        fs::remove_dir_all(&present).unwrap();
        fs::rename(&absent, &present).unwrap();
        system.undo_all();
        assert_eq!(fs::read_to_string(&file).unwrap(), "nameserver 192.0.2.53\n");
        drop(system);
        assert!(!path(&folder, "vpn0").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn dns_that_cannot_be_undone_is_no_obstacle_and_can_be_forgotten() {
        let folder = folder("forget");
        // A folder in the place of the file.
        let file = folder.join("resolv.conf");
        fs::create_dir(&file).unwrap();
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (Some("blue"), None), "home", &[]).unwrap();
        journal.will_do(&left_in(&folder.join("gone"))).unwrap();
        journal.will_do(&left_in(&file)).unwrap();
        drop(journal);
        for _ in 0..2 {
            let system = System::open("vpn0", options(&folder, "office")).unwrap();
            assert_eq!(system.stuck.len(), 1);
            drop(system);
            let (_, left) = Journal::open(&folder, "vpn0").unwrap();
            assert_eq!((left.undo, left.namespace), (vec![(0, left_in(&file))], None));
        }
        // Whoever asks for nothing else is told.
        let recovered = recover(&folder, "vpn0", false).unwrap();
        let [failed] = &recovered.failed[..] else { panic!("{recovered:?}") };
        let (text, shown) = (failed.to_string(), file.display());
        assert!(text.ends_with(&format!("; by hand: take the lines of vpn0 out of {shown}")), "{text}");
        assert!(text.starts_with(&format!("DNS servers in {shown} cannot be undone: ")), "{text}");
        assert!(path(&folder, "vpn0").exists());
        assert_eq!(recover(&folder, "vpn0", true).unwrap().failed.len(), 1);
        assert!(!path(&folder, "vpn0").exists());
        assert!(recover(&folder, "vpn0", false).unwrap().failed.is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    /// A folder with a journal of vpn0 that has a rule, noted in a namespace that is none.
    fn rule_elsewhere(name: &str) -> (PathBuf, NetId) {
        let folder = folder(name);
        let id = NetId::of(&folder).unwrap();
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (None, Some(id)), "office", &[]).unwrap();
        let rule = Change::RuleSpecific { v6: false, table: 254, priority: 5200 };
        journal.will_do(&Undo::Remove(rule)).unwrap();
        (folder, id)
    }

    #[test]
    fn what_was_set_in_a_namespace_that_is_gone_is_gone_with_it() {
        let (folder, _) = rule_elsewhere("gone");
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        let (undone, failed) = undo_leftover(&mut journal, left.undo, Ok(Found::Gone)).unwrap();
        assert_eq!((undone, failed.len()), (0, 0));
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo, []);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_set_in_a_namespace_that_is_not_found_stays_in_the_journal() {
        let (folder, id) = rule_elsewhere("hidden");
        let (mut journal, left) = Journal::open(&folder, "vpn0").unwrap();
        assert!(!left.is_in(&Namespace::open(None).unwrap()));
        let (undone, failed) = undo_leftover(&mut journal, left.undo, Ok(Found::Hidden(id))).unwrap();
        let [(_, why)] = &failed[..] else { panic!("{undone} and {}", failed.len()) };
        let text = why.to_string();
        assert!(text.contains(&format!("in another network namespace, {id}, ")), "{text}");
        let by_hand = "; by hand: `nsenter --target PID --net ip rule del priority 5200 table 254`";
        assert!(text.ends_with(by_hand), "{text}");
        drop(journal);
        assert_eq!(Journal::open(&folder, "vpn0").unwrap().1.undo.len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_device_of_that_name_is_said_and_leaves_nothing() {
        let folder = folder("taken");
        // There is one everywhere, which is no TUN device.
        let mut system = System::open("lo", options(&folder, "office")).unwrap();
        let error = system.make(1400).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(error.to_string(), "there is a network device of that name");
        drop(system);
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn links_that_demand_that_senders_are_reached_through_them_are_found() {
        let folder = folder("strict");
        let set = |link: &str, value: &str| {
            fs::create_dir_all(folder.join(link)).unwrap();
            fs::write(folder.join(link).join("rp_filter"), value).unwrap();
        };
        for (link, value) in
            [("all", "0\n"), ("default", "1\n"), ("lo", "1\n"), ("b", "1\n"), ("a", "1\n"), ("c", "2\n"), ("d", "0\n")]
        {
            set(link, value);
        }
        assert_eq!(strict(&folder), ["a", "b"]);
        set("all", "1");
        assert_eq!(strict(&folder), ["a", "b", "d"]);
        set("all", "2");
        assert_eq!(strict(&folder), [""; 0]);
        // The larger of both counts: that of the link suffices.
        set("all", "1");
        ["a", "b", "d"].iter().for_each(|link| set(link, "2"));
        assert_eq!(strict(&folder), [""; 0]);
        assert_eq!(setting("eth0"), "net.ipv4.conf.eth0.rp_filter");
        assert_eq!(setting("eth0.5"), "net/ipv4/conf/eth0.5/rp_filter");
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
        let text = journal_text(&folder);
        let lines: Vec<_> = text.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
        assert_eq!(lines, ["of", "owner", "names", "do"]);
        drop(system);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn who_takes_any_device_leaves_what_others_have_blocked() {
        let folder = folder("spare");
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.begin("vpn0", (None, None), "office", &[]).unwrap();
        let to = Net(adit_tunnel::IpNet::host([192, 0, 2, 1]));
        let blocks = Change::Route { to, table: 254, target: Target::Unreachable, metric: 1 };
        let number = journal.will_do(&Undo::Remove(blocks)).unwrap();
        drop(journal);
        let text = || journal_text(&folder);
        let before = text();
        for hold in [true, false] {
            let options = SystemOptions { hold, ..options(&folder, "home") };
            let error = System::open("vpn0", options).unwrap_err();
            assert_eq!((error.kind(), text()), (io::ErrorKind::ResourceBusy, before.clone()));
            assert!(error.to_string().contains("office"), "{error}");
        }
        assert_eq!((blocked(&folder, "office"), blocked(&folder, "home")), (vec!["vpn0".to_owned()], Vec::new()));
        // What blocks no more is anybody's.
        let (mut journal, _) = Journal::open(&folder, "vpn0").unwrap();
        journal.undone(number).unwrap();
        assert_eq!(blocked(&folder, "office"), Vec::<String>::new());
        fs::remove_dir_all(folder).unwrap();
    }
}

//! What a process that died has left behind: who has blocked something with it, and its undoing.

use std::{fmt, io, path::Path};

use super::{
    Namespace,
    journal::{self, Journal, Leftover, Undo, path},
    namespace::Found,
    netlink::{Action, Netlink},
    plan::{Change, Target},
};

/// Something to undo.
pub(super) struct Todo {
    pub(super) undo: Undo,
    /// In the journal.
    pub(super) number: usize,
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

/// Whether undoing it could let something past the tunnel.
pub(super) fn blocks(undo: &Undo) -> bool {
    matches!(undo, Undo::Remove(Change::Route { target: Target::Unreachable, .. }))
}

impl Leftover {
    /// Whether it was left in this namespace. A name may have been given to another one since.
    pub(super) fn is_in(&self, namespace: &Namespace) -> bool {
        match (self.id, namespace.id()) {
            (Some(id), Some(this)) => id == this,
            _ => self.namespace.as_deref() == namespace.name(),
        }
    }

    pub(super) fn blocks(&self) -> bool {
        self.undo.iter().any(|(_, undo)| blocks(undo))
    }
}

/// The device is gone, and with it what was on it; the rest is undone, the last first. How many changes that were, and what failed:
/// that stays in the journal.
pub(super) fn undo_leftover(
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

pub(super) fn not_undone(undo: &Undo, prefix: &str, error: io::Error) -> NotUndone {
    NotUndone { what: undo.to_string(), error, by_hand: undo.by_hand(prefix) }
}

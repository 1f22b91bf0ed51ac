//! What happened to the connections, and by whom: a short story that outlives the process.

mod entry;
mod file;
mod read;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

pub(crate) use self::{
    entry::{By, Entry, Kind},
    read::last_of_file,
};
use crate::{error::Error, plan::ActivityPlan};

/// Entries kept in memory, for `adit log` over the control socket.
const KEPT: usize = 1000;
/// Entries a follower may be behind.
const BEHIND: usize = 256;

/// The activity log of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Activity {
    shared: Arc<Shared>,
}

struct Shared {
    recent: Mutex<VecDeque<Entry>>,
    followers: broadcast::Sender<Entry>,
    file: Mutex<Option<file::Writer>>,
}

impl Activity {
    /// Keeps the log in memory alone, until [`Self::write_to`].
    pub(crate) fn new() -> Self {
        let shared =
            Shared { recent: Mutex::default(), followers: broadcast::Sender::new(BEHIND), file: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Writes what comes from now on to a file, too, or to none.
    pub(crate) fn write_to(&self, plan: Option<&ActivityPlan>) -> Result<(), Error> {
        let mut file = self.file();
        if file.as_ref().map(file::Writer::plan) == plan {
            return Ok(());
        }
        let writer = plan.map(|plan| file::Writer::start(plan.clone())).transpose()?;
        *file = writer;
        Ok(())
    }

    pub(crate) fn add(&self, entry: Entry) {
        if let Some(file) = &*self.file() {
            file.write(&entry);
        }
        // Under its lock, so that a follower neither misses an entry nor gets it twice.
        let mut recent = self.recent();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(entry.clone());
        // An error says that nobody follows.
        drop(self.shared.followers.send(entry));
    }

    /// The latest entries, of one connection or of all, the oldest first; and those that come from now on.
    pub(crate) fn last(&self, count: usize, connection: Option<&str>) -> (Vec<Entry>, broadcast::Receiver<Entry>) {
        let recent = self.recent();
        let follower = self.shared.followers.subscribe();
        let mut entries: Vec<_> =
            recent.iter().rev().filter(|entry| entry.is_about(connection)).take(count).cloned().collect();
        entries.reverse();
        (entries, follower)
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, Option<file::Writer>> {
        self.shared.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(connection: &str, number: usize) -> Entry {
        Entry::new(Kind::Connecting, By::Program).connection(connection).reason(number)
    }

    #[test]
    fn the_latest_entries_are_kept_and_no_more() {
        let activity = Activity::new();
        for number in 0..KEPT + 5 {
            activity.add(entry(if number % 2 == 0 { "even" } else { "odd" }, number));
        }
        let reasons = |count, connection| -> Vec<_> {
            activity.last(count, connection).0.into_iter().map(|entry| entry.reason.unwrap()).collect()
        };
        assert_eq!(reasons(2, None), ["1003", "1004"]);
        assert_eq!(reasons(2, Some("odd")), ["1001", "1003"]);
        assert_eq!(reasons(usize::MAX, None).len(), KEPT);
        assert!(reasons(9, Some("none")).is_empty());
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes_after_the_latest_entries() {
        let activity = Activity::new();
        activity.add(entry("a", 1));
        let (entries, mut follower) = activity.last(10, None);
        activity.add(entry("a", 2));
        assert_eq!(entries.len(), 1);
        assert_eq!(follower.recv().await.unwrap().reason.as_deref(), Some("2"));
    }
}

//! Who of many wants to be looked at by the one task.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Release},
        },
    },
    task::{Wake, Waker},
};

use adit_tunnel::PeerId;

/// A TCP stream; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamId(pub(super) u64);

/// Who wants to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Peer(PeerId),
    Stream(StreamId),
}

/// Those who want to be looked at, in turn, each once. What has gone meanwhile may still be named.
#[derive(Debug, Default)]
pub(super) struct Ready {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Arc<Caller>>,
    task: Option<Waker>,
}

/// The waker of one of many: it says who it was.
#[derive(Debug)]
pub(super) struct Caller {
    who: Who,
    queued: AtomicBool,
    /// Whether it waits for a socket.
    parked: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    /// Whom to wake.
    pub(super) fn set_task(&self, waker: &Waker) {
        let mut inner = self.lock();
        if !inner.task.as_ref().is_some_and(|old| old.will_wake(waker)) {
            inner.task = Some(waker.clone());
        }
    }

    /// Wakes the task, for no one in particular.
    pub(super) fn wake(&self) {
        let task = self.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whose turn it is.
    pub(super) fn pop(&self) -> Option<Who> {
        let caller = self.lock().queue.pop_front()?;
        // From here on it may ask for another turn.
        caller.queued.store(false, Release);
        Some(caller.who)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    pub(super) fn new(who: Who, ready: &Arc<Ready>) -> Arc<Self> {
        let (queued, parked) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { who, queued, parked, ready: Arc::clone(ready) })
    }

    /// Asks for a turn, from within the task: it will look at the queue before it sleeps.
    pub(super) fn call(self: &Arc<Self>) {
        if !self.queued.swap(true, AcqRel) {
            self.ready.lock().queue.push_back(Arc::clone(self));
        }
    }

    /// Waits for a socket. `false` if it does already.
    pub(super) fn park(&self) -> bool {
        !self.parked.swap(true, AcqRel)
    }

    /// The socket takes datagrams again.
    pub(super) fn unpark(self: &Arc<Self>) {
        self.parked.store(false, Release);
        self.call();
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, AcqRel) {
            self.ready.lock().queue.push_back(Arc::clone(self));
            self.ready.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_turn_however_often_it_calls() {
        let ready = Arc::new(Ready::default());
        let [one, two] = [1, 2].map(|id| Caller::new(Who::Peer(PeerId(id)), &ready));
        let waker = Waker::from(Arc::clone(&one));
        one.call();
        two.call();
        waker.wake_by_ref();
        one.call();
        assert_eq!(ready.pop(), Some(Who::Peer(PeerId(1))));
        waker.wake();
        assert_eq!(ready.pop(), Some(Who::Peer(PeerId(2))));
        assert_eq!(ready.pop(), Some(Who::Peer(PeerId(1))));
        assert!(ready.is_empty() && ready.pop().is_none());
    }
}

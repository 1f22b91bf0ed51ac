//! The end of forwards, in two stages: nothing new, then nothing at all.

use tokio::sync::watch;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Nothing new is taken; what lives goes on.
    Draining,
    /// What lives is cut.
    Aborted,
}

/// Ends the forwards that hold its [`Stop`]; dropped, it cuts them.
#[derive(Debug)]
pub(crate) struct Stopper {
    phase: watch::Sender<Phase>,
    listening: watch::Sender<()>,
}

/// What a forward is told of its end. Of one stopper there may be many.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    phase: watch::Receiver<Phase>,
    /// Held for as long as something is listened to.
    listening: Option<watch::Receiver<()>>,
}

impl Stopper {
    pub(crate) fn new() -> (Self, Stop) {
        let (phase, seen) = watch::channel(Phase::Running);
        let (listening, held) = watch::channel(());
        (Self { phase, listening }, Stop { phase: seen, listening: Some(held) })
    }

    /// Nothing new from now on. Forwards end with the last of their connections.
    pub(crate) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Cuts what still lives, with a reset on both sides.
    pub(crate) fn abort(&self) {
        self.advance(Phase::Aborted);
    }

    /// Waits until nothing is listened to any more, so that the ports can be bound anew. A UDP port is free at the end of its
    /// forward only: its associations answer from it.
    pub(crate) async fn released(&self) {
        self.listening.closed().await;
    }

    /// Whether all that it could end has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.phase.is_closed()
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }
}

impl Stop {
    /// Waits until nothing new may be taken.
    pub(super) async fn draining(&mut self) {
        self.reaches(Phase::Draining).await;
    }

    /// Waits until everything has to end.
    pub(super) async fn aborted(&mut self) {
        self.reaches(Phase::Aborted).await;
    }

    /// Nothing is listened to any more.
    pub(super) fn release(&mut self) {
        self.listening = None;
    }

    async fn reaches(&mut self, wanted: Phase) {
        // Whoever could stop us is gone: that is the end, too.
        drop(self.phase.wait_for(|phase| *phase >= wanted).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_comes_in_two_stages_and_never_goes_back() {
        let (stopper, mut stop) = Stopper::new();
        let mut other = stop.clone();
        stopper.drain();
        stop.draining().await;
        assert_eq!(*stop.phase.borrow(), Phase::Draining);
        stopper.abort();
        stopper.drain();
        other.draining().await;
        other.aborted().await;
        assert_eq!(*stop.phase.borrow(), Phase::Aborted);
    }

    #[tokio::test]
    async fn without_a_stopper_everything_ends() {
        let (stopper, mut stop) = Stopper::new();
        drop(stopper);
        stop.aborted().await;
    }

    #[tokio::test]
    async fn ports_are_free_once_the_last_forward_has_let_go() {
        let (stopper, mut stop) = Stopper::new();
        let other = stop.clone();
        stop.release();
        let free = stopper.released();
        tokio::pin!(free);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut free).await.is_err());
        drop(other);
        free.await;
    }
}

//! A cap on simultaneous handshakes: a gateway that returns is not to be asked by thousands of clients at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of one client.
#[derive(Clone, Default)]
pub(crate) struct Handshakes {
    cap: Option<Arc<Semaphore>>,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Handshakes {
    pub(crate) fn new(cap: Option<Arc<Semaphore>>) -> Self {
        Self { cap, permit: Arc::default() }
    }

    /// Waits for our turn. It lasts until [`Self::release`]. One that is still ours is over first: who waits with the turn of others
    /// in hand may wait for ever.
    pub(crate) async fn acquire(&self) {
        self.release();
        let Some(cap) = &self.cap else { return };
        // A cap that was closed is none.
        let permit = Arc::clone(cap).acquire_owned().await.ok();
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// Waits for our turn, unless it still is.
    pub(crate) async fn resume(&self) {
        let is_ours = self.permit.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_ours {
            self.acquire().await;
        }
    }

    /// It is the turn of others, if it was ours.
    pub(crate) fn release(&self) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_asks_for_another_turn_does_not_wait_for_itself() {
        let cap = Arc::new(Semaphore::new(1));
        let ours = Handshakes::new(Some(Arc::clone(&cap)));
        ours.acquire().await;
        assert_eq!(cap.available_permits(), 0);
        tokio::time::timeout(Duration::from_secs(30), ours.acquire())
            .await
            .expect("our own turn does not stand in our way");
        assert_eq!(cap.available_permits(), 0);
        ours.release();
        assert_eq!(cap.available_permits(), 1);
    }
}

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

    /// Waits for our turn. It lasts until [`Self::release`].
    pub(crate) async fn acquire(&self) {
        let Some(cap) = &self.cap else { return };
        // A cap that was closed is none.
        let permit = Arc::clone(cap).acquire_owned().await.ok();
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// It is the turn of others, if it was ours.
    pub(crate) fn release(&self) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

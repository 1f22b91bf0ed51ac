//! How many handshakes there may be at the same time, which a reload may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

pub(super) struct Cap {
    permits: Arc<Semaphore>,
    numbers: Arc<Mutex<Numbers>>,
}

struct Numbers {
    /// Permits there are, in use or not.
    allowed: usize,
    wanted: usize,
}

impl Cap {
    pub(super) fn new(wanted: usize) -> Self {
        let numbers = Numbers { allowed: wanted, wanted };
        Self { permits: Arc::new(Semaphore::new(wanted)), numbers: Arc::new(Mutex::new(numbers)) }
    }

    pub(super) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.permits)
    }

    /// From now on, so many; whether that is another number. Handshakes under way go on: of fewer, each that ends takes its permit with it. Must be called within a
    /// tokio runtime.
    pub(super) fn set(&self, wanted: usize) -> bool {
        let mut numbers = lock(&self.numbers);
        let before = std::mem::replace(&mut numbers.wanted, wanted);
        if wanted > numbers.allowed {
            self.permits.add_permits(wanted - numbers.allowed);
            numbers.allowed = wanted;
        } else if wanted < numbers.allowed {
            tokio::spawn(shrink(self.permits(), Arc::clone(&self.numbers)));
        }
        before != wanted
    }
}

async fn shrink(permits: Arc<Semaphore>, numbers: Arc<Mutex<Numbers>>) {
    // The semaphore is never closed.
    while let Ok(permit) = permits.acquire().await {
        let mut numbers = lock(&numbers);
        // More may be wanted again, or others have taken them.
        if numbers.allowed <= numbers.wanted {
            return;
        }
        permit.forget();
        numbers.allowed -= 1;
        if numbers.allowed == numbers.wanted {
            return;
        }
    }
}

fn lock(numbers: &Mutex<Numbers>) -> MutexGuard<'_, Numbers> {
    numbers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settled() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn fewer_are_allowed_as_soon_as_those_under_way_have_ended() {
        let cap = Cap::new(3);
        let permits = cap.permits();
        let mut running: Vec<_> = (0..3).map(|_| permits.try_acquire().unwrap()).collect();
        cap.set(1);
        settled().await;
        for left in [0, 0, 1] {
            drop(running.pop());
            settled().await;
            assert_eq!(permits.available_permits(), left);
        }
        cap.set(2);
        assert_eq!(permits.available_permits(), 2);
    }

    #[tokio::test]
    async fn whoever_wants_more_again_has_them_all() {
        let cap = Cap::new(2);
        let permits = cap.permits();
        let running = permits.try_acquire_many(2).unwrap();
        cap.set(1);
        cap.set(1);
        settled().await;
        cap.set(4);
        drop(running);
        settled().await;
        assert_eq!(permits.available_permits(), 4);
    }
}

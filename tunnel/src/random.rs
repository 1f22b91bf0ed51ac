//! The only source of randomness.

/// Random bytes. Production code passes the operating system's generator, tests a seeded one.
pub trait Random: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);

    /// Four random bytes as a number.
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    /// Eight random bytes as a number.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_ne_bytes(bytes)
    }
}

/// Makes a source of randomness for each new peer of a [`crate::Listener`].
pub type Randoms = Box<dyn FnMut() -> Box<dyn Random> + Send>;

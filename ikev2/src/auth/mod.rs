//! Proof of who an end is: the only makers of `Authenticated`.

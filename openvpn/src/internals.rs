//! What tests and benchmarks outside this crate need of its inside. No part of the API: may change at any time.

pub use crate::data::{CipherUnavailable, DataKeyParams, EXIT_MESSAGE, OCC_MAGIC, PING_PAYLOAD, Role, data_keys};

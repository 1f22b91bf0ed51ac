//! Entry points for fuzzers: each takes any bytes and must neither panic nor take long.

mod esp_open;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Every target with its name, which is also the name of its corpus in `testdata/fuzz`.
pub const TARGETS: &[(&str, Target)] = &[("esp_open", esp_open)];

pub use self::esp_open::esp_open;

#[cfg(test)]
mod tests;

//! Keys for whoever looks at a capture with Wireshark. Off unless somebody asks for it.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// Takes key material, as lines of text without their ends. Whoever reads them can read the tunnel.
pub trait KeyLog: Send + Sync + 'static {
    /// One line: of the NSS key log format for TLS; `uat:ikev2_decryption_table:…` or `uat:esp_sa:…`, as Wireshark's option
    /// `-o` takes them, for IKEv2 and ESP.
    fn line(&self, line: &str);
}

/// Where keys are logged; nowhere by default.
#[derive(Clone, Default)]
pub struct KeySink(Option<Arc<dyn KeyLog>>);

impl KeySink {
    /// Logs keys there.
    #[must_use]
    pub fn new(log: impl KeyLog) -> Self {
        Self(Some(Arc::new(log)))
    }

    /// Whether anybody takes them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Logs a line, which is made only if somebody takes it.
    pub fn log(&self, line: impl FnOnce() -> Zeroizing<String>) {
        if let Some(log) = &self.0 {
            log.line(&line());
        }
    }
}

impl fmt::Debug for KeySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "KeySink(on)" } else { "KeySink(off)" })
    }
}

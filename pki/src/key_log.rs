//! Secrets of TLS for Wireshark, in the NSS key log format.

use std::fmt::Write;

use adit_tunnel::KeySink;
use zeroize::Zeroizing;

/// Gives a [`KeySink`] the secrets of TLS connections.
#[derive(Debug, Clone, Default)]
pub struct TlsKeyLog(pub KeySink);

impl rustls::KeyLog for TlsKeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.log(|| {
            let mut line =
                Zeroizing::new(String::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 2));
            line.push_str(label);
            for bytes in [client_random, secret] {
                line.push(' ');
                for byte in bytes {
                    // Writing to a String cannot fail.
                    write!(line, "{byte:02x}").ok();
                }
            }
            line
        });
    }

    fn will_log(&self, _: &str) -> bool {
        self.0.is_on()
    }
}

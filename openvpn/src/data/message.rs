//! What travels on the data channel without being a packet: pings, and the messages of the options check ("OCC").

/// The whole payload of a ping: 16 random bytes fixed for all time (OpenVPN 2.6 `ping.c`).
pub const PING_PAYLOAD: [u8; 16] =
    [0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48];

/// Begins every OCC message; one byte of type follows (OpenVPN 2.6 `occ.c`).
pub const OCC_MAGIC: [u8; 16] =
    [0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c];

/// The OCC message by which an end says that it leaves: type 6.
pub const EXIT_MESSAGE: [u8; 17] = {
    let mut message = [6; 17];
    let (magic, _) = message.split_at_mut(16);
    magic.copy_from_slice(&OCC_MAGIC);
    message
};

/// Whether this is a message for the control plane. No packet is taken for one: the version of an IP header is 4 or 6.
pub(super) fn is_message(payload: &[u8]) -> bool {
    payload == PING_PAYLOAD || payload.starts_with(&OCC_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_exactly_its_sixteen_bytes() {
        assert!(is_message(&PING_PAYLOAD));
        assert!(!is_message(&PING_PAYLOAD[..15]));
        assert!(!is_message(&[PING_PAYLOAD.as_slice(), &[0]].concat()));
    }

    #[test]
    fn an_exit_notice_is_the_magic_and_a_six() {
        assert!(is_message(&EXIT_MESSAGE));
        assert_eq!(EXIT_MESSAGE.as_slice(), [OCC_MAGIC.as_slice(), &[6]].concat());
    }
}

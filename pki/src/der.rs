//! The little of DER (X.690) that parsers and verifiers leave to us.

/// Whether these bytes are one SEQUENCE, neither shorter nor longer than it says.
pub(crate) fn is_sequence(bytes: &[u8]) -> bool {
    let Some((&0x30, rest)) = bytes.split_first() else { return false };
    let Some((&first, content)) = rest.split_first() else { return false };
    match first {
        ..=0x7f => content.len() == usize::from(first),
        0x81..=0x84 => {
            let Some((length, content)) = content.split_at_checked(usize::from(first & 0x7f)) else { return false };
            content.len() == length.iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte))
        }
        _ => false,
    }
}

/// Wraps what webpki keeps without its tag and length in a SEQUENCE.
pub(crate) fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|&byte| byte == 0).collect();
    let mut der = vec![0x30];
    match length[..] {
        [] => der.push(0),
        [short @ ..=0x7f] => der.push(short),
        _ => {
            der.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            der.extend_from_slice(&length);
        }
    }
    der.extend_from_slice(content);
    der
}

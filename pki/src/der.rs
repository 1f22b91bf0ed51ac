//! The little of DER (X.690) that parsers and verifiers leave to us.

/// Whether these bytes are one SEQUENCE, neither shorter nor longer than it says.
#[must_use]
pub fn is_sequence(bytes: &[u8]) -> bool {
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

/// A value: tag, length in the shortest form, content in parts.
#[must_use]
pub fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let count: usize = parts.iter().map(|part| part.len()).sum();
    let length: Vec<u8> = count.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
    let mut der = vec![tag];
    match length[..] {
        [] => der.push(0),
        [short @ ..=0x7f] => der.push(short),
        _ => {
            der.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            der.extend_from_slice(&length);
        }
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

/// A SEQUENCE.
#[must_use]
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (count, header) in
            [(0, &[0x30, 0][..]), (127, &[0x30, 127]), (128, &[0x30, 0x81, 128]), (256, &[0x30, 0x82, 1, 0])]
        {
            let der = sequence(&[&vec![7; count]]);
            assert_eq!((&der[..header.len()], der.len()), (header, header.len() + count));
            assert!(is_sequence(&der) && !is_sequence(&der[..der.len() - 1]));
        }
    }
}

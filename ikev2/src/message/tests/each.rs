//! What holds for every structure.

use std::fmt::Debug;

use adit_tunnel::wire::Writer;

use super::super::wire::{Parsed, finish};

pub(in crate::message) type Parse<T> = for<'a> fn(&'a [u8]) -> Parsed<'a, T>;
pub(in crate::message) type Encode<T> = fn(&T, &mut Writer);

pub(in crate::message) fn encoded<T>(value: &T, encode: Encode<T>) -> Vec<u8> {
    let mut w = Writer::default();
    encode(value, &mut w);
    w.finish().to_vec()
}

/// The value is the same after encoding and decoding. Cut anywhere, its bytes are refused, or are all of another value of
/// `open_from` bytes at least, because the structure ends with bytes of any length.
pub(in crate::message) fn survives<T: PartialEq + Debug>(
    value: &T,
    parse: Parse<T>,
    encode: Encode<T>,
    open_from: Option<usize>,
) {
    let bytes = encoded(value, encode);
    assert_eq!(finish(parse(&bytes)).as_ref(), Ok(value));
    for end in 0..bytes.len() {
        let cut = &bytes[..end];
        if let Ok(other) = finish(parse(cut)) {
            assert!(open_from.is_some_and(|from| end >= from), "{cut:02x?} is {other:?}");
            assert_eq!(encoded(&other, encode), cut);
        }
    }
}

/// Bytes that stand in an RFC's figure, or were made from one by hand, are this value, and this value is these bytes.
pub(in crate::message) fn is<T: PartialEq + Debug>(bytes: &str, value: &T, parse: Parse<T>, encode: Encode<T>) {
    let bytes = hex::decode(bytes.replace(' ', "")).unwrap();
    assert_eq!(finish(parse(&bytes)).as_ref(), Ok(value));
    assert_eq!(encoded(value, encode), bytes);
}

/// What the parser says about bytes in hexadecimal.
pub(in crate::message) fn read<T>(bytes: &str, parse: Parse<T>) -> Result<T, adit_tunnel::wire::DecodeError> {
    finish(parse(&hex::decode(bytes.replace(' ', "")).unwrap()))
}

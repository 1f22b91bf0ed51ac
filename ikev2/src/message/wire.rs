//! What the payloads' parsers share.

use adit_tunnel::wire::DecodeError;
use bytes::Bytes;
use nom::IResult;

pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, DecodeError>;

/// Reads a fixed number of bytes.
pub(super) fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    match input.split_first_chunk() {
        Some((bytes, after)) => Ok((after, *bytes)),
        None => Err(nom::Err::Error(DecodeError::Truncated)),
    }
}

/// Reads all that is left.
pub(super) fn rest(input: &[u8]) -> Parsed<'_, Bytes> {
    Ok((&[], Bytes::copy_from_slice(input)))
}

/// The value of a structure that must be all of the input.
pub(super) fn finish<T>(parsed: Parsed<'_, T>) -> Result<T, DecodeError> {
    match parsed {
        Ok(([], value)) => Ok(value),
        Ok(_) => Err(DecodeError::TrailingBytes),
        Err(nom::Err::Incomplete(_)) => Err(DecodeError::Truncated),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => Err(error),
    }
}

/// Refuses the input unless `valid`, naming the field.
pub(super) fn require(valid: bool, field: &'static str) -> Result<(), nom::Err<DecodeError>> {
    if valid { Ok(()) } else { Err(invalid(field)) }
}

pub(super) fn invalid(field: &'static str) -> nom::Err<DecodeError> {
    nom::Err::Failure(DecodeError::Invalid(field))
}

//! AUTH payload (RFC 7296 §3.8).

use std::fmt;

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u8;

use super::{
    numbers::AuthMethod,
    wire::{Parsed, array, rest},
};

/// AUTH payload (§3.8). Debug does not show the data: of a weak shared key they are enough to guess it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Authentication {
    pub(crate) method: AuthMethod,
    pub(crate) data: Bytes,
}

impl Authentication {
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, method) = be_u8(input)?;
        let (input, _reserved) = array::<3>(input)?;
        let (input, data) = rest(input)?;
        Ok((input, Self { method: AuthMethod(method), data }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.method.0);
        w.bytes(&[0; 3]);
        w.bytes(&self.data);
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authentication({:?}, {} bytes)", self.method, self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use adit_tunnel::wire::DecodeError;
    use proptest::prelude::*;

    use super::*;
    use crate::message::tests::{any, each};

    proptest! {
        #[test]
        fn any_value_survives_and_no_cut_before_the_data_does(auth in any::authentication()) {
            each::survives(&auth, Authentication::parse, Authentication::encode, Some(4));
        }
    }

    #[test]
    fn what_is_reserved_is_ignored() {
        let auth = Authentication { method: AuthMethod::PSK, data: Bytes::from_static(b"a") };
        each::is("02000000 61", &auth, Authentication::parse, Authentication::encode);
        assert_eq!(each::read("02ffffff 61", Authentication::parse), Ok(auth));
        assert_eq!(each::read("020000", Authentication::parse), Err(DecodeError::Truncated));
    }

    #[test]
    fn debug_does_not_show_the_data() {
        let auth = Authentication { method: AuthMethod::PSK, data: Bytes::from_static(b"hunter2") };
        assert_eq!(format!("{auth:?}"), "Authentication(PSK, 7 bytes)");
    }
}

//! KE payload (RFC 7296 §3.4).

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u16;

use super::{
    numbers::DhGroup,
    wire::{Parsed, rest},
};

/// KE payload (§3.4). Whether the length fits the group is for the group to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyExchange {
    pub(crate) group: DhGroup,
    pub(crate) public: Bytes,
}

impl KeyExchange {
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, group) = be_u16(input)?;
        let (input, _reserved) = be_u16(input)?;
        let (input, public) = rest(input)?;
        Ok((input, Self { group: DhGroup(group), public }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u16(self.group.0);
        w.u16(0);
        w.bytes(&self.public);
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
        fn any_value_survives_and_no_cut_before_the_public_value_does(ke in any::key_exchange()) {
            each::survives(&ke, KeyExchange::parse, KeyExchange::encode, Some(4));
        }
    }

    #[test]
    fn what_is_reserved_is_ignored() {
        let ke = KeyExchange { group: DhGroup::CURVE25519, public: Bytes::from_static(b"abc") };
        each::is("001f0000 616263", &ke, KeyExchange::parse, KeyExchange::encode);
        assert_eq!(each::read("001fffff 616263", KeyExchange::parse), Ok(ke));
        assert_eq!(each::read("001f00", KeyExchange::parse), Err(DecodeError::Truncated));
    }
}

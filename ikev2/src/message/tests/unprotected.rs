//! Messages as they are on the wire without protection.

use proptest::prelude::*;

use super::{super::*, any};

proptest! {
    #[test]
    fn every_message_survives_encoding_and_decoding(message in any::message()) {
        let bytes = message.encode();
        prop_assert_eq!(Header::peek(&bytes), Some(message.header));
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

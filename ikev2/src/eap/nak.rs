//! Nak (RFC 3748 §5.3): says which methods would do instead.

use bytes::Bytes;

use super::packet::{EapType, response};

/// Refuses the request `id` for the type `asked`, and names our types, best first.
pub(super) fn nak(id: u8, asked: EapType, ours: impl Iterator<Item = EapType>) -> Bytes {
    if asked == EapType::EXPANDED {
        let expanded = |kind: EapType| [&[EapType::EXPANDED.0, 0, 0, 0], &u32::from(kind.0).to_be_bytes()[..]].concat();
        let data: Vec<u8> = [EapType::NAK].into_iter().chain(ours).flat_map(expanded).collect();
        // The first type is that of the packet itself.
        return response(id, EapType::EXPANDED, data.get(1..).unwrap_or_default());
    }
    response(id, EapType::NAK, &ours.map(|kind| kind.0).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legacy_nak_has_a_byte_per_type() {
        let nak = nak(5, EapType(25), [EapType::MSCHAPV2, EapType::GTC].into_iter());
        assert_eq!(nak[..], [2, 5, 0, 7, 3, 26, 6]);
    }

    /// The layout is that of the figure in RFC 3748 §5.3.2.
    #[test]
    fn an_expanded_nak_has_eight_bytes_per_type() {
        let nak = nak(5, EapType::EXPANDED, [EapType::MSCHAPV2, EapType::GTC].into_iter());
        let wanted = [2, 5, 0, 28, 254, 0, 0, 0, 0, 0, 0, 3, 254, 0, 0, 0, 0, 0, 0, 26, 254, 0, 0, 0, 0, 0, 0, 6];
        assert_eq!(nak[..], wanted);
    }
}

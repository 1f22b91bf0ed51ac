//! Nak (RFC 3748 §5.3), read: which methods the client would like instead.

use crate::eap::packet::{EapType, Response};

/// Whether a response is a Nak: of type 3, or of the expanded type with vendor 0 and type 3.
pub(super) fn is_nak(response: &Response<'_>) -> bool {
    response.kind == EapType::NAK || response.kind == EapType::EXPANDED && response.data.starts_with(&EXPANDED_NAK)
}

/// The types, best first. An expanded Nak has eight bytes for each, of which those of a vendor are passed over.
pub(super) fn wished<'a>(response: &Response<'a>) -> impl Iterator<Item = EapType> + use<'a> {
    let expanded = response.kind == EapType::EXPANDED;
    let (legacy, entries) =
        if expanded { (&[][..], response.data.get(EXPANDED_NAK.len()..)) } else { (response.data, None) };
    let (entries, _) = entries.unwrap_or_default().as_chunks::<8>();
    let expanded = entries.iter().filter_map(|entry| match entry {
        [254, 0, 0, 0, 0, 0, 0, kind] => Some(EapType(*kind)),
        _ => None,
    });
    legacy.iter().map(|&kind| EapType(kind)).chain(expanded)
}

/// Vendor 0, type 3.
const EXPANDED_NAK: [u8; 7] = [0, 0, 0, 0, 0, 0, 3];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eap::nak::nak;

    fn read(asked: EapType) -> Vec<EapType> {
        let nak = nak(5, asked, [EapType::MSCHAPV2, EapType::GTC].into_iter());
        let response = Response::parse(&nak).unwrap();
        assert!(is_nak(&response));
        wished(&response).collect()
    }

    #[test]
    fn both_kinds_are_read() {
        assert_eq!(read(EapType::MD5), [EapType::MSCHAPV2, EapType::GTC]);
        assert_eq!(read(EapType::EXPANDED), [EapType::MSCHAPV2, EapType::GTC]);
    }

    #[test]
    fn vendors_and_crumbs_are_passed_over() {
        let data = [&EXPANDED_NAK[..], &[254, 0, 1, 2, 0, 0, 0, 26], &[254, 0, 0, 0, 0, 0, 0, 6], &[254, 0]].concat();
        let response = Response { id: 1, kind: EapType::EXPANDED, data: &data };
        assert_eq!(wished(&response).collect::<Vec<_>>(), [EapType::GTC]);
        assert!(!is_nak(&Response { id: 1, kind: EapType::EXPANDED, data: &[0, 0, 0, 0, 0, 0, 4] }));
    }
}

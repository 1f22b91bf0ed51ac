//! Attributes inside EAP-TTLS (RFC 5281 §10.1): code, flags, length, vendor if there is one, value, padding to four bytes.

use zeroize::Zeroizing;

use super::super::EapError;

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Avp<'a> {
    pub(in super::super) attribute: Attribute,
    pub(in super::super) mandatory: bool,
    pub(in super::super) value: &'a [u8],
}

/// Which attribute: vendor (0 for none) and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Attribute {
    pub(in super::super) vendor: u32,
    pub(in super::super) code: u32,
}

impl Attribute {
    pub(in super::super) const USER_NAME: Self = Self { vendor: 0, code: 1 };
    pub(in super::super) const USER_PASSWORD: Self = Self { vendor: 0, code: 2 };
    pub(in super::super) const REPLY_MESSAGE: Self = Self { vendor: 0, code: 18 };
    pub(in super::super) const EAP_MESSAGE: Self = Self { vendor: 0, code: 79 };
    pub(in super::super) const MS_CHAP_ERROR: Self = Self { vendor: MICROSOFT, code: 2 };
    pub(in super::super) const MS_CHAP_CHALLENGE: Self = Self { vendor: MICROSOFT, code: 11 };
    pub(in super::super) const MS_CHAP2_RESPONSE: Self = Self { vendor: MICROSOFT, code: 25 };
    pub(in super::super) const MS_CHAP2_SUCCESS: Self = Self { vendor: MICROSOFT, code: 26 };
}

/// Reads a sequence of attributes. The padding of the last one may be missing.
pub(in super::super) fn parse(mut input: &[u8]) -> Result<Vec<Avp<'_>>, EapError> {
    let mut all = Vec::new();
    while !input.is_empty() {
        let (avp, rest) = parse_one(input).ok_or(EapError::Attributes)?;
        all.push(avp);
        input = rest;
    }
    Ok(all)
}

/// The length counts the header too; a smaller one makes `get` refuse (CVE-2026-25075).
fn parse_one(input: &[u8]) -> Option<(Avp<'_>, &[u8])> {
    let (&code, rest) = input.split_first_chunk()?;
    let &[flags, high, middle, low] = rest.first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    let (vendor, header) =
        if flags & VENDOR == 0 { (0, 8) } else { (u32::from_be_bytes(*rest.get(4..)?.first_chunk()?), 12) };
    let value = input.get(header..length)?;
    let attribute = Attribute { vendor, code: u32::from_be_bytes(code) };
    let rest = input.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Avp { attribute, mandatory: flags & MANDATORY != 0, value }, rest))
}

/// Writes one attribute, which the other end must understand.
pub(in super::super) fn encode(attribute: Attribute, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let (vendor_flag, vendor) = match attribute.vendor {
        0 => (0, None),
        vendor => (VENDOR, Some(vendor.to_be_bytes())),
    };
    let vendor = vendor.as_ref().map_or(&[][..], |vendor| vendor);
    let length = u32::try_from(8 + vendor.len() + value.len()).unwrap_or(u32::MAX) & 0x00ff_ffff;
    let head = u32::from(vendor_flag | MANDATORY) << 24 | length;
    let mut avp = Zeroizing::new(Vec::with_capacity(16 + value.len()));
    for part in [&attribute.code.to_be_bytes()[..], &head.to_be_bytes(), vendor, value] {
        avp.extend_from_slice(part);
    }
    let padded = avp.len().next_multiple_of(4);
    avp.resize(padded, 0);
    avp
}

pub(in super::super) fn attributes(parts: &[Zeroizing<Vec<u8>>]) -> Zeroizing<Vec<u8>> {
    let mut all = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all
}

/// An EAP packet may be spread over several attributes, as in RADIUS (RFC 5281 §10.2).
pub(in super::super) fn eap_message(avps: &[Avp<'_>]) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = avps.iter().filter(|avp| avp.attribute == Attribute::EAP_MESSAGE).peekable();
    parts.peek()?;
    Some(Zeroizing::new(parts.flat_map(|avp| avp.value).copied().collect()))
}

/// Whether all attributes that must be understood are `known`.
pub(in super::super) fn check_mandatory(avps: &[Avp<'_>], known: impl Fn(Attribute) -> bool) -> Result<(), EapError> {
    match avps.iter().find(|avp| avp.mandatory && !known(avp.attribute)) {
        Some(Avp { attribute: Attribute { vendor, code }, .. }) => {
            Err(EapError::MandatoryAttribute { vendor: *vendor, code: *code })
        }
        None => Ok(()),
    }
}

const VENDOR: u8 = 0x80;
const MANDATORY: u8 = 0x40;
pub(in super::super) const MICROSOFT: u32 = 311;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The layout is that of the figure in RFC 5281 §10.1.
    #[test]
    fn attributes_have_header_and_padding() {
        let name = encode(Attribute::USER_NAME, b"user1");
        assert_eq!(name[..], *b"\0\0\0\x01\x40\0\0\x0duser1\0\0\0");
        let challenge = encode(Attribute::MS_CHAP_CHALLENGE, b"abcd");
        assert_eq!(challenge[..], *b"\0\0\0\x0b\xc0\0\0\x10\0\0\x01\x37abcd");
        let both = [&name[..], &challenge].concat();
        let wanted = [(Attribute::USER_NAME, &b"user1"[..]), (Attribute::MS_CHAP_CHALLENGE, b"abcd")];
        assert_eq!(parse(&both).unwrap(), wanted.map(|(attribute, value)| Avp { attribute, mandatory: true, value }));
        assert_eq!(parse(&name[..13]).unwrap().len(), 1);
        assert!(!parse(b"\0\0\0\x01\0\0\0\x08").unwrap()[0].mandatory);
    }

    #[test]
    fn lengths_below_the_header_and_beyond_the_end_are_refused() {
        for (flags, least) in [(0x40, 8), (0xc0, 12)] {
            for length in (0..=255).filter(|length| !(least..=16).contains(length)) {
                let avp = [0, 0, 0, 1, flags, 0, 0, length, 0, 0, 1, 0x37, 1, 2, 3, 4];
                assert_eq!(parse(&avp), Err(EapError::Attributes), "{flags:#x} {length}");
            }
        }
        assert_eq!(parse(&[0, 0, 0, 1, 0x40, 0xff, 0xff, 0xff, 1]), Err(EapError::Attributes));
    }

    #[test]
    fn every_truncation_of_a_header_is_an_error() {
        let avp = encode(Attribute::MS_CHAP_CHALLENGE, b"abcd");
        for end in 1..avp.len() {
            assert_eq!(parse(&avp[..end]), Err(EapError::Attributes), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_attribute_survives(vendor: u32, code: u32, value in prop::collection::vec(any::<u8>(), 0..50)) {
            let attribute = Attribute { vendor, code };
            let encoded = encode(attribute, &value);
            prop_assert_eq!(parse(&encoded), Ok(vec![Avp { attribute, mandatory: true, value: &value }]));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            drop(parse(&bytes));
        }
    }
}

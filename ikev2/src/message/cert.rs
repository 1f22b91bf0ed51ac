//! CERT and CERTREQ payloads (RFC 7296 §3.6, §3.7).

use std::fmt;

use adit_tunnel::wire::Writer;
use bytes::Bytes;
use nom::number::complete::be_u8;

use super::{
    numbers::CertEncoding,
    wire::{Parsed, rest},
};

/// CERT payload (§3.6).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) encoding: CertEncoding,
    pub(crate) data: Bytes,
}

/// CERTREQ payload (§3.7): SHA-1 hashes of the SubjectPublicKeyInfo of trust anchors, 20 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateRequest {
    pub(crate) encoding: CertEncoding,
    pub(crate) authorities: Bytes,
}

impl Certificate {
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, encoding) = be_u8(input)?;
        let (input, data) = rest(input)?;
        Ok((input, Self { encoding: CertEncoding(encoding), data }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.encoding.0);
        w.bytes(&self.data);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?}, {} bytes)", self.encoding, self.data.len())
    }
}

impl CertificateRequest {
    /// The length is not insisted on: what is requested other than by hashes of keys has another form.
    pub(super) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let (input, encoding) = be_u8(input)?;
        let (input, authorities) = rest(input)?;
        Ok((input, Self { encoding: CertEncoding(encoding), authorities }))
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u8(self.encoding.0);
        w.bytes(&self.authorities);
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
        fn any_value_survives(cert in any::certificate(), request in any::certificate_request()) {
            each::survives(&cert, Certificate::parse, Certificate::encode, Some(1));
            each::survives(&request, CertificateRequest::parse, CertificateRequest::encode, Some(1));
        }
    }

    #[test]
    fn the_encoding_must_be_there() {
        assert_eq!(each::read("", Certificate::parse), Err(DecodeError::Truncated));
        assert_eq!(each::read("", CertificateRequest::parse), Err(DecodeError::Truncated));
        let none = CertificateRequest { encoding: CertEncoding::X509_SIGNATURE, authorities: Bytes::new() };
        each::is("04", &none, CertificateRequest::parse, CertificateRequest::encode);
    }
}

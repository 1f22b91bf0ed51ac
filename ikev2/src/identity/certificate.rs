//! The identities that a certificate vouches for.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use super::Identity;

/// The subject and the alternative names of a certificate, and the id of its key.
#[derive(Debug)]
pub(crate) struct CertifiedNames(Vec<Identity>);

impl CertifiedNames {
    /// `None` if names or extensions cannot be read, or an extension is there twice.
    pub(crate) fn new(certificate: &X509Certificate<'_>) -> Option<Self> {
        certificate.extensions_map().ok()?;
        let mut names = Vec::new();
        for extension in certificate.extensions() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the rest names nobody")]
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(extension) => {
                    names.extend(extension.general_names.iter().filter_map(alternative));
                }
                // The only thing in a certificate that a key id can be compared with.
                ParsedExtension::SubjectKeyIdentifier(id) => names.push(Identity::KeyId(id.0.to_vec())),
                ParsedExtension::ParseError { .. } => return None,
                _ => {}
            }
        }
        // An empty subject is nobody's name (RFC 4945 §3.1.5).
        if certificate.subject().iter_rdn().next().is_some() {
            names.push(Identity::DistinguishedName(certificate.subject().as_raw().to_vec()));
        }
        Some(Self(names))
    }

    /// Whether it vouches for this identity, by the field of the same kind (RFC 4945 §3.1): a common name is no host
    /// name, and a wildcard is nothing but itself.
    pub(crate) fn contain(&self, wanted: &Identity) -> bool {
        self.find(wanted).is_some()
    }

    /// The same identity as it is spelled in the certificate, if that vouches for it.
    pub(crate) fn find(&self, claimed: &Identity) -> Option<&Identity> {
        self.0.iter().find(|name| name.matches(claimed))
    }

    /// An alternative name if there is one, else the subject.
    pub(crate) fn first(&self) -> Option<&Identity> {
        self.0.iter().find(|name| !matches!(name, Identity::KeyId(_)))
    }
}

/// For people: without the id of the key, and not more than a line.
impl std::fmt::Display for CertifiedNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: Vec<String> =
            self.0.iter().filter(|name| !matches!(name, Identity::KeyId(_))).take(8).map(Identity::to_string).collect();
        f.write_str(&super::short(&shown.join("; ")))
    }
}

fn alternative(name: &GeneralName<'_>) -> Option<Identity> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds that no IDr has")]
    match name {
        GeneralName::DNSName(name) => super::fqdn(name).ok(),
        GeneralName::RFC822Name(name) => super::email(name).ok(),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| Identity::Address(Ipv4Addr::from(octets).into())),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|octets| Identity::Address(Ipv6Addr::from(octets).into())),
            _ => None,
        },
        _ => None,
    }
}

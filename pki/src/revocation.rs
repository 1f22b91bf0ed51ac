//! Revocation lists (RFC 5280 §5).
//!
//! Lists of version 2 are webpki's. Those of version 1, which `openssl ca -gencrl` makes unless its configuration says
//! otherwise and which webpki does not read, are looked through here.

use std::{collections::BTreeSet, time::Duration};

use pki_types::{CertificateRevocationListDer, SubjectPublicKeyInfoDer, UnixTime};
use webpki::{
    CertRevocationList, Error, ExpirationPolicy, OwnedCertRevocationList, RawPublicKeyEntity, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer, revocation_list::CertificateRevocationList,
    x509::SubjectPublicKeyInfo, x509::X509Version,
};

use crate::{
    ALGORITHMS,
    der::{sequence, value},
};

/// The lists of one configuration, read once.
pub(crate) struct RevocationLists {
    lists: Vec<CertRevocationList<'static>>,
    old: Vec<OldList>,
}

impl RevocationLists {
    /// # Errors
    /// The number of the list that cannot be read, counted from 1, and why.
    pub(crate) fn new(ders: &[CertificateRevocationListDer<'static>]) -> Result<Self, (usize, String)> {
        let mut read = Self { lists: Vec::new(), old: Vec::new() };
        for (index, der) in ders.iter().enumerate() {
            read.add(der).map_err(|reason| (index + 1, reason))?;
        }
        Ok(read)
    }

    fn add(&mut self, der: &CertificateRevocationListDer<'static>) -> Result<(), String> {
        let parsed = CertificateRevocationList::from_der(der).map_err(|_| "it is damaged".to_owned())?.1;
        match parsed.version() {
            None | Some(X509Version::V1) => self.old.push(OldList::new(der, &parsed)?),
            Some(_) => {
                let list = OwnedCertRevocationList::from_der(der).map_err(|e| e.to_string())?;
                self.lists.push(CertRevocationList::Owned(list));
            }
        }
        Ok(())
    }

    /// Those that webpki reads.
    pub(crate) fn readable(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().collect()
    }

    /// What webpki does with its lists: all of a chain is looked for, and a list that has expired is no list.
    /// Certificates that no list speaks about are [`Self::verify_covered`]'s.
    pub(crate) fn options<'a>(readable: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
        let options = RevocationOptionsBuilder::new(readable).ok()?;
        let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Allow);
        Some(options.with_expiration_policy(ExpirationPolicy::Enforce).build())
    }

    /// Looks for the leaf and the certificates above it, as far as the anchor, in the lists of version 1.
    pub(crate) fn verify_old(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), Error> {
        if self.old.is_empty() {
            return Ok(());
        }
        let above: Vec<_> = path.intermediate_certificates().collect();
        let issuers = above.iter().map(|certificate| certificate.subject_public_key_info().to_vec());
        let issuers = issuers.chain([sequence(&[&path.anchor().subject_public_key_info])]);
        let subjects = [path.end_entity().der()].into_iter().chain(above.iter().map(|certificate| certificate.der()));
        for (subject, issuer) in subjects.zip(issuers) {
            let (_, subject) = X509Certificate::from_der(&subject).map_err(|_| Error::BadDer)?;
            self.old.iter().try_for_each(|list| list.verify(&subject, &issuer, now))?;
        }
        Ok(())
    }

    /// With any list at all, each certificate below the anchor must be one that some list speaks about. A list whose
    /// issuing distribution point limits it (RFC 5280 §5.2.5) speaks about too little to be counted.
    pub(crate) fn verify_covered(&self, path: &VerifiedPath<'_>) -> Result<(), Error> {
        if self.lists.is_empty() && self.old.is_empty() {
            return Ok(());
        }
        let whole = self.lists.iter().filter(|list| list.issuing_distribution_point().is_none());
        // webpki keeps names without the tag and length of their SEQUENCE.
        let known: BTreeSet<Vec<u8>> = whole
            .map(|list| sequence(&[list.issuer()]))
            .chain(self.old.iter().map(|list| list.issuer.clone()))
            .collect();
        let leaf = path.end_entity();
        let mut issuers =
            [leaf.issuer()].into_iter().chain(path.intermediate_certificates().map(|above| above.issuer()));
        if issuers.all(|issuer| known.contains(&sequence(&[issuer]))) {
            Ok(())
        } else {
            Err(Error::UnknownRevocationStatus)
        }
    }
}

/// A list of version 1: without any extensions, so it holds for all certificates of its issuer.
struct OldList {
    der: CertificateRevocationListDer<'static>,
    /// Serial numbers without leading zeros.
    revoked: BTreeSet<Vec<u8>>,
    /// Unix time; without one the list is good for ever.
    next_update: Option<i64>,
    issuer: Vec<u8>,
}

impl OldList {
    fn new(
        der: &CertificateRevocationListDer<'static>,
        parsed: &CertificateRevocationList<'_>,
    ) -> Result<Self, String> {
        let mut entries = parsed.iter_revoked_certificates();
        if !parsed.extensions().is_empty() || entries.any(|entry| !entry.extensions().is_empty()) {
            return Err("it has extensions, but its version is 1".to_owned());
        }
        Ok(Self {
            der: der.clone(),
            revoked: parsed.iter_revoked_certificates().map(|entry| number(entry.raw_serial())).collect(),
            next_update: parsed.next_update().map(|time| time.timestamp()),
            issuer: parsed.issuer().as_raw().to_vec(),
        })
    }

    /// `issuer` is the public key that `subject` is signed with.
    fn verify(&self, subject: &X509Certificate<'_>, issuer: &[u8], now: UnixTime) -> Result<(), Error> {
        if subject.issuer().as_raw() != self.issuer {
            return Ok(());
        }
        // Two CAs may have one name: only the signature tells whose list this is.
        if !self.is_signed_by(issuer) {
            return Err(Error::InvalidCrlSignatureForPublicKey);
        }
        if let Some(next_update) = self.next_update
            && next_update < i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
        {
            let next_update = UnixTime::since_unix_epoch(Duration::from_secs(next_update.try_into().unwrap_or(0)));
            return Err(Error::CrlExpired { time: now, next_update });
        }
        if self.revoked.contains(&number(subject.raw_serial())) {
            return Err(Error::CertRevoked);
        }
        Ok(())
    }

    fn is_signed_by(&self, issuer: &[u8]) -> bool {
        let Ok((_, list)) = CertificateRevocationList::from_der(&self.der) else { return false };
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(issuer) else { return false };
        // x509-parser still reads RSA with SHA-1, as such lists may be signed; ECDSA on P-521 and the like are ours.
        list.verify_signature(&key).is_ok() || is_ecdsa_signed(&list, issuer)
    }
}

/// Whether a list is signed by `issuer` with ECDSA, whose AlgorithmIdentifier is an object identifier alone.
fn is_ecdsa_signed(list: &CertificateRevocationList<'_>, issuer: &[u8]) -> bool {
    let id = value(0x06, &[list.signature_algorithm.algorithm.as_bytes()]);
    let issuer = SubjectPublicKeyInfoDer::from(issuer);
    let Ok(issuer) = RawPublicKeyEntity::try_from(&issuer) else { return false };
    let signature = &*list.signature_value.data;
    let algorithms = ALGORITHMS.iter().filter(|known| known.signature_alg_id().as_ref() == id);
    list.signature_algorithm.parameters.is_none()
        && algorithms
            .into_iter()
            .any(|known| issuer.verify_signature(*known, list.tbs_cert_list.as_ref(), signature).is_ok())
}

/// A serial number as it is compared: some tools write a zero more than DER wants.
fn number(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|&byte| byte == 0).collect()
}

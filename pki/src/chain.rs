//! Chains of certificates, judged by webpki and by revocation lists.

use std::fmt;

use pki_types::{CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, VerifiedPath, anchor_from_trusted_cert};

use crate::{der::sequence, revocation::RevocationLists};

/// Trust anchors and revocation lists, read once.
pub struct ChainVerifier {
    anchors: Vec<TrustAnchor<'static>>,
    lists: RevocationLists,
    unlisted: Unlisted,
}

/// What becomes of a certificate that no revocation list speaks about, when there are lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// It is accepted, as OpenVPN does.
    Accept,
    /// It is refused with [`Error::UnknownRevocationStatus`].
    Refuse,
}

/// An anchor or a list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A certificate that is to be a trust anchor.
    #[error("trust anchor {number} cannot be used ({reason}); copy it again from whoever runs the gateway")]
    Anchor {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A revocation list.
    #[error(
        "revocation list {number} cannot be used ({reason}); make it anew, for example with `openssl ca -gencrl \
         -crlexts SECTION`"
    )]
    List {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl ChainVerifier {
    /// # Errors
    /// [`TrustError`] names the first certificate or list that cannot be read.
    pub fn new(
        anchors: &[CertificateDer<'_>],
        lists: &[CertificateRevocationListDer<'static>],
        unlisted: Unlisted,
    ) -> Result<Self, TrustError> {
        let anchor = |(index, der): (usize, &CertificateDer<'_>)| {
            let anchor = anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned());
            anchor.map_err(|e| TrustError::Anchor { number: index + 1, reason: e.to_string() })
        };
        let anchors = anchors.iter().enumerate().map(anchor).collect::<Result<_, _>>()?;
        let lists = RevocationLists::new(lists).map_err(|(number, reason)| TrustError::List { number, reason })?;
        Ok(Self { anchors, lists, unlisted })
    }

    /// Whether there is no anchor, so that no chain can be accepted.
    #[must_use]
    pub fn has_no_anchor(&self) -> bool {
        self.anchors.is_empty()
    }

    /// The DER of each anchor's SubjectPublicKeyInfo.
    pub fn anchor_keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.anchors.iter().map(|anchor| sequence(&[&anchor.subject_public_key_info]))
    }

    /// Looks for a way from `leaf` to an anchor over any of the `others`, in whatever order they came, on which every
    /// certificate is good now and not revoked. Several ways are tried, so cross-signed CAs and old roots do no harm.
    ///
    /// # Errors
    /// What is wrong with the most promising way.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        usage: impl ExtendedKeyUsageValidator,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), Error> {
        let leaf = EndEntityCert::try_from(leaf)?;
        let readable = self.lists.readable();
        let options = RevocationLists::options(&readable);
        let way = |path: &VerifiedPath<'_>| {
            self.lists.verify_old(path, now)?;
            if self.unlisted == Unlisted::Refuse { self.lists.verify_covered(path) } else { Ok(()) }
        };
        leaf.verify_for_usage(algorithms, &self.anchors, others, now, usage, options, Some(&way)).map(drop)
    }
}

impl fmt::Debug for ChainVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainVerifier").field("anchors", &self.anchors.len()).finish_non_exhaustive()
    }
}

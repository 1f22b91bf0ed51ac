//! Proposals as text, in strongSwan's notation.

use std::{fmt, str::FromStr};

use super::{
    EspProposals, IkeProposals,
    algorithms::{Algorithms, Encryption},
};
use crate::message::numbers::{DhGroup, EncryptionId, EsnId, IntegrityId, PrfId};

/// What `default` stands for. AEADs come first; the second proposal is what servers without them take.
///
/// No 192-bit keys and no SHA-1: every server we know of takes one of these. The large MODP groups need a KE payload that
/// makes IKE_SA_INIT long, so they come last, for servers that ask for them by INVALID_KE_PAYLOAD.
const DEFAULT_IKE: &str = "\
    aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-\
    x25519-ecp256-ecp384-modp2048-ecp521-modp3072-modp4096,\
    aes256-aes128-sha256-sha384-sha512-\
    x25519-ecp256-ecp384-modp2048-ecp521-modp3072-modp4096";

/// What `default` stands for. Servers before strongSwan 5.9 take no AEAD by default.
const DEFAULT_ESP: &str = "aes256gcm16-aes128gcm16-chacha20poly1305,aes256-aes128-sha256-sha384-sha512";

/// A proposal number has eight bits; nobody needs as many.
const MAX_PROPOSALS: usize = 32;

/// Why a text is no list of proposals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// A word, or all of it, is empty.
    #[error("an algorithm is missing: write proposals like `{}`", example(.ike))]
    Empty {
        /// Whether this was for IKE.
        ike: bool,
    },
    /// More proposals than anyone needs.
    #[error("more than {MAX_PROPOSALS} proposals: put alternatives into one, apart by `-`")]
    TooMany,
    /// No algorithm has this name.
    #[error("no algorithm is called `{word}`")]
    Unknown {
        /// The name.
        word: String,
    },
    /// The algorithm is known, and not supported.
    #[error("`{word}` is not supported: {reason}")]
    NotSupported {
        /// Its name.
        word: String,
        /// Why, and what to take instead.
        reason: &'static str,
    },
    /// The algorithm has no place in proposals for IKE.
    #[error("`{word}` belongs to ESP: leave it out of the proposals for IKE")]
    NotForIke {
        /// Its name.
        word: String,
    },
    /// The algorithm has no place in proposals for ESP.
    #[error("`{word}` belongs to IKE: leave it out of the proposals for ESP")]
    NotForEsp {
        /// Its name.
        word: String,
    },
    /// A proposal must not hold both kinds (RFC 5282 §8).
    #[error("`{aead}` authenticates by itself and `{other}` does not: put them into two proposals, apart by a comma")]
    Mixed {
        /// An AEAD.
        aead: String,
        /// Another cipher of the same proposal.
        other: String,
    },
    /// A proposal without encryption.
    #[error("`{proposal}` encrypts nothing: add a cipher such as `aes256gcm16`")]
    NoEncryption {
        /// The proposal.
        proposal: String,
    },
    /// A cipher without integrity.
    #[error("`{word}` does not authenticate: add an integrity algorithm such as `sha256`, or take `aes256gcm16`")]
    NoIntegrity {
        /// The cipher.
        word: String,
    },
    /// An AEAD without PRF, for IKE.
    #[error("`{proposal}` has no pseudorandom function: add one such as `prfsha256`")]
    NoPrf {
        /// The proposal.
        proposal: String,
    },
    /// A proposal for IKE without key exchange.
    #[error("`{proposal}` has no key exchange: add a group such as `x25519`")]
    NoGroup {
        /// The proposal.
        proposal: String,
    },
}

fn example(ike: &bool) -> &'static str {
    if *ike { "aes256gcm16-prfsha256-x25519, aes256-sha256-modp2048" } else { "aes256gcm16, aes256-sha256" }
}

/// One word of a proposal.
#[derive(Clone, Copy)]
enum Algorithm {
    Encryption(Encryption),
    Integrity(IntegrityId),
    Prf(PrfId),
    Group(DhGroup),
    Esn(EsnId),
}

/// What follows `aes128`, `aes192` or `aes256`; the first for an algorithm is how we write it.
#[rustfmt::skip]
const AES: [(&str, EncryptionId); 17] = [
    ("", EncryptionId::AES_CBC),
    ("ctr", EncryptionId::AES_CTR),
    ("gcm16", EncryptionId::AES_GCM_16), ("gcm128", EncryptionId::AES_GCM_16), ("gcm", EncryptionId::AES_GCM_16),
    ("gcm12", EncryptionId::AES_GCM_12), ("gcm96", EncryptionId::AES_GCM_12),
    ("gcm8", EncryptionId::AES_GCM_8), ("gcm64", EncryptionId::AES_GCM_8),
    ("ccm16", EncryptionId::AES_CCM_16), ("ccm128", EncryptionId::AES_CCM_16), ("ccm", EncryptionId::AES_CCM_16),
    ("ccm12", EncryptionId::AES_CCM_12), ("ccm96", EncryptionId::AES_CCM_12),
    ("ccm8", EncryptionId::AES_CCM_8), ("ccm64", EncryptionId::AES_CCM_8),
    ("cbc", EncryptionId::AES_CBC),
];

/// Every other word; the first for an algorithm is how we write it.
#[rustfmt::skip]
const WORDS: [(&str, Algorithm); 46] = [
    ("chacha20poly1305", Algorithm::Encryption(Encryption { id: EncryptionId::CHACHA20_POLY1305, key_bits: 256 })),
    ("3des", Algorithm::Encryption(Encryption { id: EncryptionId::TRIPLE_DES, key_bits: 192 })),
    ("aes", Algorithm::Encryption(Encryption { id: EncryptionId::AES_CBC, key_bits: 128 })),
    ("sha256", Algorithm::Integrity(IntegrityId::HMAC_SHA2_256_128)),
    ("sha2_256", Algorithm::Integrity(IntegrityId::HMAC_SHA2_256_128)),
    ("sha384", Algorithm::Integrity(IntegrityId::HMAC_SHA2_384_192)),
    ("sha2_384", Algorithm::Integrity(IntegrityId::HMAC_SHA2_384_192)),
    ("sha512", Algorithm::Integrity(IntegrityId::HMAC_SHA2_512_256)),
    ("sha2_512", Algorithm::Integrity(IntegrityId::HMAC_SHA2_512_256)),
    ("sha1", Algorithm::Integrity(IntegrityId::HMAC_SHA1_96)),
    ("sha", Algorithm::Integrity(IntegrityId::HMAC_SHA1_96)),
    ("aesxcbc", Algorithm::Integrity(IntegrityId::AES_XCBC_96)),
    ("aescmac", Algorithm::Integrity(IntegrityId::AES_CMAC_96)),
    ("prfsha256", Algorithm::Prf(PrfId::HMAC_SHA2_256)),
    ("prfsha2_256", Algorithm::Prf(PrfId::HMAC_SHA2_256)),
    ("prfsha384", Algorithm::Prf(PrfId::HMAC_SHA2_384)),
    ("prfsha2_384", Algorithm::Prf(PrfId::HMAC_SHA2_384)),
    ("prfsha512", Algorithm::Prf(PrfId::HMAC_SHA2_512)),
    ("prfsha2_512", Algorithm::Prf(PrfId::HMAC_SHA2_512)),
    ("prfsha1", Algorithm::Prf(PrfId::HMAC_SHA1)),
    ("prfaesxcbc", Algorithm::Prf(PrfId::AES_XCBC)),
    ("prfaescmac", Algorithm::Prf(PrfId::AES_CMAC)),
    ("x25519", Algorithm::Group(DhGroup::CURVE25519)),
    ("curve25519", Algorithm::Group(DhGroup::CURVE25519)),
    ("ecp256", Algorithm::Group(DhGroup::ECP_256)),
    ("ecp384", Algorithm::Group(DhGroup::ECP_384)),
    ("ecp521", Algorithm::Group(DhGroup::ECP_521)),
    ("modp1024", Algorithm::Group(DhGroup::MODP_1024)),
    ("modp1536", Algorithm::Group(DhGroup::MODP_1536)),
    ("modp2048", Algorithm::Group(DhGroup::MODP_2048)),
    ("modp3072", Algorithm::Group(DhGroup::MODP_3072)),
    ("modp4096", Algorithm::Group(DhGroup::MODP_4096)),
    ("modp6144", Algorithm::Group(DhGroup::MODP_6144)),
    ("modp8192", Algorithm::Group(DhGroup::MODP_8192)),
    ("none", Algorithm::Group(DhGroup::NONE)),
    ("modpnone", Algorithm::Group(DhGroup::NONE)),
    // Numbers of the registry, as other products name groups.
    ("dh2", Algorithm::Group(DhGroup::MODP_1024)),
    ("dh5", Algorithm::Group(DhGroup::MODP_1536)),
    ("dh14", Algorithm::Group(DhGroup::MODP_2048)),
    ("dh15", Algorithm::Group(DhGroup::MODP_3072)),
    ("dh16", Algorithm::Group(DhGroup::MODP_4096)),
    ("dh19", Algorithm::Group(DhGroup::ECP_256)),
    ("dh20", Algorithm::Group(DhGroup::ECP_384)),
    ("dh21", Algorithm::Group(DhGroup::ECP_521)),
    ("noesn", Algorithm::Esn(EsnId::NONE)),
    ("esn", Algorithm::Esn(EsnId::ESN)),
];

/// Words of strongSwan that are algorithms, and why we have none of them; a `*` stands for any end.
#[rustfmt::skip]
const NOT_SUPPORTED: [(&str, &str); 16] = [
    ("sha256_96", "it cuts the tag as a draft did before RFC 4868; take `sha256`"),
    ("sha2_256_96", "it cuts the tag as a draft did before RFC 4868; take `sha256`"),
    ("sha1_160", "it is for Fibre Channel; take `sha256`"),
    ("md5*", "MD5 is broken; take `sha256`"),
    ("prfmd5", "MD5 is broken; take `prfsha256`"),
    ("null*", "it leaves packets readable; take `aes256gcm16`"),
    ("aes???gmac", "it leaves packets readable; take `aes256gcm16`"),
    ("des", "its keys are too short; take `aes256`"),
    ("camellia*", "take `aes256`"),
    ("blowfish*", "take `aes256`"),
    ("cast128", "take `aes256`"),
    ("serpent*", "take `aes256`"),
    ("twofish*", "take `aes256`"),
    ("modp*", "it is too small or of unknown origin; take `modp2048` or larger"),
    ("ecp*", "take `ecp256` or larger"),
    ("ke?_*", "only one key exchange is made"),
];

impl FromStr for IkeProposals {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        parse(text, DEFAULT_IKE, Algorithms::parse_ike).map(Self)
    }
}

impl FromStr for EspProposals {
    type Err = ProposalError;

    fn from_str(text: &str) -> Result<Self, ProposalError> {
        parse(text, DEFAULT_ESP, Algorithms::parse_esp).map(Self)
    }
}

impl Default for IkeProposals {
    /// AEADs, then AES-CBC with HMAC-SHA2; X25519, the NIST curves, and MODP groups up to 4096 bits.
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a test makes it")]
        DEFAULT_IKE.parse().expect("the default is well-formed")
    }
}

impl Default for EspProposals {
    /// AEADs, then AES-CBC with HMAC-SHA2; sequence numbers of 32 bits.
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a test makes it")]
        DEFAULT_ESP.parse().expect("the default is well-formed")
    }
}

impl fmt::Display for IkeProposals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0)
    }
}

impl fmt::Display for EspProposals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0)
    }
}

fn list(f: &mut fmt::Formatter<'_>, proposals: &[Algorithms]) -> fmt::Result {
    for (i, proposal) in proposals.iter().enumerate() {
        write!(f, "{}{proposal}", if i == 0 { "" } else { "," })?;
    }
    Ok(())
}

type ParseOne = fn(&str) -> Result<Algorithms, ProposalError>;

fn parse(text: &str, default: &str, one: ParseOne) -> Result<Vec<Algorithms>, ProposalError> {
    // strongSwan's strict flag: nothing is accepted that is not listed. That is so without it, too.
    let text = text.trim().trim_end_matches('!').to_ascii_lowercase();
    let mut all = Vec::new();
    for proposal in text.split(',').map(str::trim) {
        let proposals = if proposal == "default" { default } else { proposal };
        for proposal in proposals.split(',') {
            all.push(one(proposal)?);
        }
        if all.len() > MAX_PROPOSALS {
            return Err(ProposalError::TooMany);
        }
    }
    Ok(all)
}

impl Algorithms {
    fn parse_ike(proposal: &str) -> Result<Self, ProposalError> {
        let mut algorithms = Self::parse(proposal, true)?;
        if algorithms.prf.is_empty() {
            algorithms.prf = algorithms.implied_prf();
        }
        if algorithms.prf.is_empty() {
            return Err(ProposalError::NoPrf { proposal: proposal.to_owned() });
        }
        if algorithms.groups.is_empty() {
            return Err(ProposalError::NoGroup { proposal: proposal.to_owned() });
        }
        algorithms.without_needless_integrity()
    }

    fn parse_esp(proposal: &str) -> Result<Self, ProposalError> {
        let mut algorithms = Self::parse(proposal, false)?;
        if algorithms.esn.is_empty() {
            algorithms.esn.push(EsnId::NONE);
        }
        algorithms.without_needless_integrity()
    }

    fn parse(proposal: &str, ike: bool) -> Result<Self, ProposalError> {
        let mut algorithms = Self::default();
        for word in proposal.split('-').map(str::trim) {
            let named = || word.to_owned();
            match algorithm(word, ike)? {
                Algorithm::Encryption(encryption) => add(&mut algorithms.encryption, encryption),
                Algorithm::Integrity(id) => add(&mut algorithms.integrity, id),
                Algorithm::Prf(_) if !ike => return Err(ProposalError::NotForEsp { word: named() }),
                Algorithm::Prf(id) => add(&mut algorithms.prf, id),
                Algorithm::Group(DhGroup::NONE) | Algorithm::Esn(_) if ike => {
                    return Err(ProposalError::NotForIke { word: named() });
                }
                Algorithm::Group(id) => add(&mut algorithms.groups, id),
                Algorithm::Esn(id) => add(&mut algorithms.esn, id),
            }
        }
        if algorithms.encryption.is_empty() {
            return Err(ProposalError::NoEncryption { proposal: proposal.to_owned() });
        }
        Ok(algorithms)
    }

    /// AEADs need no integrity algorithm: like strongSwan, take one named beside them only for the PRF it implies.
    fn without_needless_integrity(mut self) -> Result<Self, ProposalError> {
        let word = |aead| {
            let found = self.encryption.iter().find(|encryption| encryption.id.is_aead() == aead);
            found.map(|encryption| encryption.to_string())
        };
        match (word(true), word(false)) {
            (Some(aead), Some(other)) => return Err(ProposalError::Mixed { aead, other }),
            (Some(_), None) => self.integrity.clear(),
            (None, Some(word)) if self.integrity.is_empty() => return Err(ProposalError::NoIntegrity { word }),
            (None, _) => {}
        }
        Ok(self)
    }

    /// The PRFs that are the integrity algorithms, not cut short.
    fn implied_prf(&self) -> Vec<PrfId> {
        let same_hash = |id: &IntegrityId| match *id {
            IntegrityId::HMAC_SHA1_96 => Some(PrfId::HMAC_SHA1),
            IntegrityId::HMAC_SHA2_256_128 => Some(PrfId::HMAC_SHA2_256),
            IntegrityId::HMAC_SHA2_384_192 => Some(PrfId::HMAC_SHA2_384),
            IntegrityId::HMAC_SHA2_512_256 => Some(PrfId::HMAC_SHA2_512),
            IntegrityId::AES_XCBC_96 => Some(PrfId::AES_XCBC),
            IntegrityId::AES_CMAC_96 => Some(PrfId::AES_CMAC),
            _ => None,
        };
        self.integrity.iter().filter_map(same_hash).collect()
    }

    /// In the order of writing; what is implied is left out.
    fn words(&self) -> Vec<String> {
        let encryption = self.encryption.iter().map(|encryption| encryption.to_string());
        let prf = if self.prf == self.implied_prf() { &[][..] } else { &self.prf };
        let esn = if self.esn == [EsnId::NONE] { &[][..] } else { &self.esn };
        let others = (self.integrity.iter().map(|id| word(|of| matches!(of, Algorithm::Integrity(of) if of == *id))))
            .chain(prf.iter().map(|id| word(|of| matches!(of, Algorithm::Prf(of) if of == *id))))
            .chain(self.groups.iter().map(|id| word(|of| matches!(of, Algorithm::Group(of) if of == *id))))
            .chain(esn.iter().map(|id| word(|of| matches!(of, Algorithm::Esn(of) if of == *id))));
        encryption.chain(others.map(str::to_owned)).collect()
    }

    /// The first algorithm here that is outdated.
    pub(super) fn legacy_word(&self) -> Option<String> {
        const LEGACY: [&str; 5] = ["3des", "sha1", "prfsha1", "modp1024", "modp1536"];
        self.words().into_iter().find(|word| LEGACY.contains(&word.as_str()))
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join("-"))
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match AES.iter().find(|(_, id)| *id == self.id) {
            Some((end, _)) => write!(f, "aes{}{end}", self.key_bits),
            None => f.write_str(word(|of| matches!(of, Algorithm::Encryption(of) if of == *self))),
        }
    }
}

fn algorithm(word: &str, ike: bool) -> Result<Algorithm, ProposalError> {
    if word.is_empty() {
        return Err(ProposalError::Empty { ike });
    }
    if let Some((_, algorithm)) = WORDS.iter().find(|(name, _)| *name == word) {
        return Ok(*algorithm);
    }
    if let Some(encryption) = aes(word) {
        return Ok(Algorithm::Encryption(encryption));
    }
    match NOT_SUPPORTED.iter().find(|(pattern, _)| fits(pattern, word)) {
        Some((_, reason)) => Err(ProposalError::NotSupported { word: word.to_owned(), reason }),
        None => Err(ProposalError::Unknown { word: word.to_owned() }),
    }
}

fn aes(word: &str) -> Option<Encryption> {
    let (bits, end) = word.strip_prefix("aes")?.split_at_checked(3)?;
    let key_bits = bits.parse().ok().filter(|bits| [128, 192, 256].contains(bits))?;
    let (_, id) = AES.iter().find(|(name, _)| *name == end)?;
    Some(Encryption { id: *id, key_bits })
}

/// `?` is any character, `*` at the end any rest.
fn fits(pattern: &str, word: &str) -> bool {
    let same = |(pattern, word): (u8, u8)| pattern == b'?' || pattern == word;
    match pattern.strip_suffix('*') {
        Some(start) => word.len() >= start.len() && start.bytes().zip(word.bytes()).all(same),
        None => word.len() == pattern.len() && pattern.bytes().zip(word.bytes()).all(same),
    }
}

/// How we write the algorithm. Algorithms have no names we do not know: they were made of words.
fn word(is: impl Fn(Algorithm) -> bool) -> &'static str {
    WORDS.iter().find(|(_, algorithm)| is(*algorithm)).map_or("?", |(name, _)| name)
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

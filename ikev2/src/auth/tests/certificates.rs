//! Chains, purposes, revocation, and who a certificate is good for.

use pki_types::CertificateRevocationListDer;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SignatureAlgorithm,
};

use x509_parser::extensions::ParsedExtension;

use super::{pki::*, *};
use PeerNotAuthenticated as Refused;

/// One judgement.
struct Case<'a> {
    anchors: Vec<&'a Ca>,
    crls: Vec<CertificateRevocationListDer<'static>>,
    expected: ExpectedIdentity,
    host: &'a str,
    idr: Identification,
    others: Vec<CertificateDer<'static>>,
    now: Duration,
}

impl<'a> Case<'a> {
    fn of(ca: &'a Ca) -> Self {
        Self {
            anchors: vec![ca],
            crls: Vec::new(),
            expected: ExpectedIdentity::Host,
            host: "vpn.example",
            idr: id("vpn.example"),
            others: Vec::new(),
            now: NOW,
        }
    }

    fn judge(&self, gateway: &Gateway) -> Result<(), Refused> {
        let anchors = self.anchors.iter().map(|ca| ca.as_ref().der().clone()).collect();
        let verifier = CertificateVerifier { anchors, crls: self.crls.clone(), identity: self.expected.clone() };
        let verification = PeerVerification::new(&verifier).unwrap();
        let certs: Vec<_> = [&gateway.certificate].into_iter().chain(&self.others).map(payload).collect();
        let certs: Vec<_> = certs.iter().collect();
        let auth = gateway.signer.sign(Scheme::EcdsaSignature, b"octets").unwrap();
        verification.verify(self.host, &certs, &self.idr, &auth, b"octets", self.now, false).map(drop)
    }
}

fn with(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Result<(), Refused> {
    let ca = ca("CA");
    Case::of(&ca).judge(&gateway(&ca, change))
}

#[test]
fn a_gateway_with_a_good_certificate_is_who_it_says() {
    assert_eq!(with(|_| {}), Ok(()));
}

#[test]
fn a_certificate_is_good_in_its_time_and_from_its_ca() {
    let unix = |year: u64| Duration::from_secs((year - 1970) * 31_556_952);
    let ca = ca("CA");
    let good = gateway(&ca, |_| {});
    for (year, verdict) in
        [(2015, Err(Refused::NotValidYet)), (2021, Ok(())), (2039, Ok(())), (2041, Err(Refused::Expired))]
    {
        assert_eq!(Case { now: unix(year), ..Case::of(&ca) }.judge(&good), verdict, "{year}");
    }
    let (stranger, namesake) = (pki::ca("Stranger"), pki::ca("CA"));
    assert_eq!(Case::of(&stranger).judge(&good), Err(Refused::UnknownIssuer));
    assert_eq!(Case::of(&namesake).judge(&good), Err(Refused::IssuerOfSameName));
    assert_eq!(Case { anchors: Vec::new(), ..Case::of(&ca) }.judge(&good), Err(Refused::UnknownIssuer));
}

#[test]
fn intermediates_come_in_any_order_among_others_and_must_not_be_missing() {
    let root = ca("Root");
    let upper = below("Upper", None, &root);
    let lower = below("Lower", None, &upper);
    let good = gateway(&lower, |_| {});
    let der = |ca: &Ca| ca.as_ref().der().clone();
    let stranger = der(&ca("Stranger"));
    let junk = CertificateDer::from(vec![0x30, 3, 1, 2]);
    for others in [
        vec![der(&lower), der(&upper)],
        vec![der(&upper), der(&lower)],
        vec![junk, stranger, der(&upper), der(&root), good.certificate.clone(), der(&lower), der(&lower)],
    ] {
        assert_eq!(Case { others, ..Case::of(&root) }.judge(&good), Ok(()));
    }
    for others in [vec![], vec![der(&lower)], vec![der(&upper)]] {
        assert_eq!(Case { others, ..Case::of(&root) }.judge(&good), Err(Refused::UnknownIssuer));
    }
    // An intermediate may be an anchor itself.
    assert_eq!(Case::of(&lower).judge(&good), Ok(()));
}

#[test]
fn a_ca_certified_by_several_is_found_by_any_of_them() {
    let (old, new) = (ca("Old root"), ca("New root"));
    let issuing = below("Issuing", None, &old);
    let again = below("Issuing", Some(issuing.key()), &new);
    let alone = ca_with_key("Issuing", issuing.key());
    let good = gateway(&issuing, |_| {});
    let others: Vec<_> = [&issuing, &again, &alone].map(|ca| ca.as_ref().der().clone()).to_vec();
    for anchor in [&old, &new, &alone] {
        assert_eq!(Case { others: others.clone(), ..Case::of(anchor) }.judge(&good), Ok(()));
    }
}

#[test]
fn a_leaf_cannot_issue() {
    let ca = ca("CA");
    let leaf = params(|_| {});
    let leaf = rcgen::CertifiedIssuer::signed_by(leaf, KeyPair::generate().unwrap(), &ca).unwrap();
    let forged = gateway(&leaf, |_| {});
    let others = vec![leaf.as_ref().der().clone()];
    let refused = Case { others, ..Case::of(&ca) }.judge(&forged).unwrap_err();
    assert!(matches!(refused, Refused::Chain(webpki::Error::EndEntityUsedAsCa)), "{refused:?}");
}

#[test]
fn a_crowd_of_certificates_does_not_keep_us_busy() {
    let root = ca("Root");
    let key = KeyPair::generate().unwrap();
    let others: Vec<_> =
        (0..60).map(|_| below("Loop", Some(&key), &ca_with_key("Loop", &key)).as_ref().der().clone()).collect();
    let forged = gateway(&ca_with_key("Loop", &key), |_| {});
    assert!(Case { others, ..Case::of(&root) }.judge(&forged).is_err());
}

#[test]
fn purposes_count_only_where_they_are_named() {
    let purposes = |purposes: &[ExtendedKeyUsagePurpose]| with(|params| params.extended_key_usages = purposes.to_vec());
    let other = |oid: &[u64]| ExtendedKeyUsagePurpose::Other(oid.to_vec());
    assert_eq!(purposes(&[]), Ok(()));
    for good in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::Any,
        other(&[1, 3, 6, 1, 5, 5, 8, 2, 2]),
        other(&[1, 3, 6, 1, 5, 5, 7, 3, 17]),
    ] {
        assert_eq!(purposes(std::slice::from_ref(&good)), Ok(()), "{good:?}");
        assert_eq!(purposes(&[ExtendedKeyUsagePurpose::ClientAuth, good.clone()]), Ok(()), "{good:?}");
    }
    for bad in
        [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::CodeSigning, other(&[1, 3, 6, 1, 5, 5, 7, 3, 5])]
    {
        assert_eq!(purposes(&[bad]), Err(Refused::ExtendedKeyUsage));
    }
}

#[test]
fn a_key_that_is_not_for_signatures_proves_nothing() {
    use KeyUsagePurpose as P;
    let usages = |usages: &[P]| with(|params| params.key_usages = usages.to_vec());
    for good in [&[][..], &[P::DigitalSignature], &[P::ContentCommitment, P::KeyAgreement]] {
        assert_eq!(usages(good), Ok(()));
    }
    assert_eq!(usages(&[P::KeyEncipherment, P::KeyAgreement]), Err(Refused::KeyUsage));
}

#[test]
fn a_ca_is_no_gateway() {
    assert_eq!(with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), Err(Refused::CaCertificate));
}

#[test]
fn revoked_certificates_are_refused_and_so_is_ignorance() {
    let root = ca("Root");
    let issuing = below("Issuing", None, &root);
    let good = gateway(&issuing, |_| {});
    let others = vec![issuing.as_ref().der().clone()];
    let crls = |crls: Vec<_>| Case { crls, others: others.clone(), ..Case::of(&root) }.judge(&good);
    assert_eq!(crls(vec![list(&root, &[], 2040), list(&issuing, &[4], 2040)]), Ok(()));
    assert_eq!(crls(vec![list(&root, &[], 2040), list(&issuing, &[4, 5], 2040)]), Err(Refused::Revoked));
    assert_eq!(crls(vec![list(&root, &[], 2040), list(&issuing, &[], 2027)]), Err(Refused::ExpiredRevocationList));
    assert_eq!(crls(vec![list(&issuing, &[], 2040)]), Err(Refused::NotCoveredByRevocationList));
    assert_eq!(crls(vec![list(&root, &[], 2040)]), Err(Refused::NotCoveredByRevocationList));
    let forged = list(&ca_with_key("Issuing", &KeyPair::generate().unwrap()), &[], 2040);
    let refused = crls(vec![list(&root, &[], 2040), forged]).unwrap_err();
    assert!(matches!(refused, Refused::Chain(webpki::Error::InvalidCrlSignatureForPublicKey)), "{refused:?}");
    let bad = CertificateVerifier {
        anchors: vec![],
        crls: vec![vec![0x30, 0].into()],
        identity: ExpectedIdentity::AnyOfTheAnchors,
    };
    assert!(matches!(PeerVerification::new(&bad), Err(adit_pki::TrustError::List { number: 1, .. })));
}

/// As `openssl ca -gencrl` makes them without `crl_extensions` (RFC 5280 §5.1).
#[test]
fn lists_of_version_1_count_like_others() {
    let judge = |lists: &[&str], name: &str| {
        let crls = lists.iter().flat_map(|name| adit_pki::revocation_lists(&file(name)).unwrap()).collect();
        let anchors = vec![certificate("ca-rsa"), certificate("ca-p521")];
        let verifier = CertificateVerifier { anchors, crls, identity: ExpectedIdentity::Host };
        let auth = Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data: Bytes::new() };
        let cert = payload(&certificate(name));
        let verification = PeerVerification::new(&verifier).unwrap();
        verification.verify("vpn.example", &[&cert], &id("vpn.example"), &auth, b"", NOW, false).unwrap_err()
    };
    // Whoever gets past the chain fails by the signature.
    for (lists, name, verdict) in [
        (&[][..], "rsa", Refused::WrongSignature),
        (&["rsa-none.crl"], "rsa", Refused::WrongSignature),
        (&["rsa-revoked.crl"], "rsa", Refused::Revoked),
        (&["rsa-revoked.crl"], "rsa4096", Refused::Revoked),
        (&["rsa-revoked.crl"], "rsa-e3", Refused::WrongSignature),
        (&["rsa-none.crl"], "p521", Refused::NotCoveredByRevocationList),
        (&["rsa-none.crl", "p521-revoked.crl"], "p521", Refused::Revoked),
        (&["p521-revoked.crl"], "p384", Refused::WrongSignature),
        (&["p521-revoked.crl"], "rsa", Refused::NotCoveredByRevocationList),
    ] {
        assert_eq!(judge(lists, name), verdict, "{lists:?} {name}");
    }
}

/// `host` as it was called, what the gateway calls itself, and whether that is fine with the certificate of [`gateway`].
#[test]
fn the_gateway_must_be_the_host_we_called() {
    let ca = ca("CA");
    let names = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![
            dns("vpn.example"),
            dns("other.example"),
            dns("*.wild.example"),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("vpn@example".try_into().unwrap()),
        ];
    };
    let gateway = gateway(&ca, names);
    let subject = "C=DE, O=Example, CN=gateway";
    for (host, idr, good) in [
        ("vpn.example", "vpn.example", true),
        ("VPN.Example", "vpn.EXAMPLE", true),
        ("vpn.example.", "vpn.example", true),
        // By another of its names.
        ("vpn.example", "other.example", true),
        ("vpn.example", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "vpn.example", true),
        ("2001:db8::1", "2001:db8:0:0::1", true),
        ("[2001:db8::1]", "vpn@example", true),
        // By its subject, as Windows does.
        ("vpn.example", subject, true),
        ("192.0.2.1", subject, true),
        ("vpn.example", "C=de, O=EXAMPLE, CN=Gateway", true),
        // Not the host.
        ("elsewhere.example", "vpn.example", false),
        ("elsewhere.example", subject, false),
        ("192.0.2.2", "192.0.2.1", false),
        // A common name is no host name, and no part of a name is the name.
        ("gateway", subject, false),
        ("example", "vpn.example", false),
        // Wildcards are nothing special (RFC 4945 §3.1.2).
        ("a.wild.example", "vpn.example", false),
        ("vpn.example", "a.wild.example", false),
        ("vpn.example", "*", false),
        // Not in the certificate.
        ("vpn.example", "C=DE, O=Example, CN=other", false),
        ("vpn.example", "C=DE, O=Example", false),
        ("vpn.example", "192.0.2.2", false),
        ("vpn.example", "@#766e", false),
        ("vpn.example", "vpn.example.evil.example", false),
        // Right, but in a field of another kind.
        ("vpn.example", "email:vpn.example", false),
        ("vpn.example", "fqdn:192.0.2.1", false),
        ("vpn.example", "fqdn:vpn@example", false),
    ] {
        let verdict = Case { host, idr: id(idr), ..Case::of(&ca) }.judge(&gateway);
        assert_eq!(verdict.is_ok(), good, "{host} {idr}: {verdict:?}");
    }
}

#[test]
fn the_gateway_must_be_exactly_whom_we_expect() {
    let ca = ca("CA");
    let gateway = gateway(&ca, |params| params.subject_alt_names.push(dns("other.example")));
    let subject = "C=DE, O=Example, CN=gateway";
    for (wanted, idr, good) in [
        ("vpn.example", "vpn.example", true),
        ("vpn.example", subject, true),
        (subject, subject, true),
        ("c=DE, o=example, cn=GATEWAY", subject, true),
        // It says it is another one of its own.
        ("vpn.example", "other.example", false),
        (subject, "vpn.example", false),
        ("CN=gateway", subject, false),
        ("third.example", subject, false),
        ("gateway", subject, false),
    ] {
        let expected = ExpectedIdentity::Exactly(Identity::from_text(wanted).unwrap());
        let verdict = Case { expected, host: "192.0.2.9", idr: id(idr), ..Case::of(&ca) }.judge(&gateway);
        assert_eq!(verdict.is_ok(), good, "{wanted} {idr}: {verdict:?}");
    }
    // Whoever the anchors vouch for is good, whatever it calls itself.
    let case = Case { expected: ExpectedIdentity::AnyOfTheAnchors, idr: id("@#00"), ..Case::of(&ca) };
    assert_eq!(case.judge(&gateway), Ok(()));
}

#[test]
fn wrong_identities_are_told_with_found_and_wanted() {
    let ca = ca("CA");
    let gateway = gateway(&ca, |_| {});
    let told = |host, idr: &str| Case { host, idr: id(idr), ..Case::of(&ca) }.judge(&gateway).unwrap_err().to_string();
    let wrong = told("elsewhere.example", "vpn.example");
    assert!(wrong.contains("vpn.example") && wrong.contains("elsewhere.example") && !wrong.contains('\n'), "{wrong}");
    let foreign = told("vpn.example", "10.0.0.1");
    assert!(
        foreign.contains("10.0.0.1") && foreign.contains("CN=gateway") && foreign.contains("vpn.example"),
        "{foreign}"
    );
    let long = told("vpn.example", &"x".repeat(60_000));
    assert!(long.len() < 700, "{}", long.len());
}

#[test]
fn a_key_id_is_that_of_the_key() {
    let der = certificate("p256");
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let key_id = parsed.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
        Some(id.0.to_vec())
    });
    let key_id = key_id.unwrap();
    let auth = Signer::new(&identity_of("p256")).unwrap().sign(Scheme::Ecdsa, b"octets").unwrap();
    let judge = |found: &[u8], wanted: &[u8]| {
        let identity = ExpectedIdentity::Exactly(Identity::KeyId(wanted.to_vec()));
        let verifier = CertificateVerifier { anchors: vec![certificate("ca-p521")], crls: Vec::new(), identity };
        let idr = Identity::KeyId(found.to_vec()).to_payload();
        let verification = PeerVerification::new(&verifier).unwrap();
        verification.verify("", &[&payload(&der)], &idr, &auth, b"octets", NOW, false).map(drop)
    };
    assert_eq!(judge(&key_id, &key_id), Ok(()));
    assert!(matches!(judge(&key_id[1..], &key_id[1..]), Err(Refused::IdentityNotCertified { .. })));
    assert!(matches!(judge(&key_id, b"another"), Err(Refused::WrongIdentity { .. })));
}

#[test]
fn identities_of_odd_kinds_are_refused() {
    use crate::message::numbers::IdType;
    let ca = ca("CA");
    let gateway = gateway(&ca, |_| {});
    let judge = |id_type: u8, data: &[u8]| {
        let idr = Identification { id_type: IdType(id_type), reserved: [0; 3], data: Bytes::copy_from_slice(data) };
        Case { idr, ..Case::of(&ca) }.judge(&gateway).unwrap_err()
    };
    for kind in [0, 4, 10, 13, 255] {
        assert!(matches!(judge(kind, b"vpn.example"), Refused::IdentityType { .. }), "{kind}");
    }
    let odd: [(u8, &[u8]); 9] = [
        (1, &[192, 0, 2]),
        (5, &[0; 15]),
        (2, b""),
        (2, b"vpn.example\0.evil.example"),
        (2, b"vpn.example\n"),
        (2, b"vpn.example\xff"),
        (9, &[0x30, 0x80, 0, 0]),
        (9, &[0x30, 5, 1]),
        (11, b""),
    ];
    for (kind, data) in odd {
        assert_eq!(judge(kind, data), Refused::MalformedIdentity, "{kind} {data:?}");
    }
    // The empty name is nobody's.
    assert!(matches!(judge(9, &[0x30, 0]), Refused::IdentityNotCertified { .. }));
}

#[test]
fn the_customers_own_recipe_is_accepted() {
    // An address as subject and only alternative name, serverAuth and ikeIntermediate.
    let ca = ca("VPN root CA");
    let gateway = gateway(&ca, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "18.188.145.101");
        params.subject_alt_names = vec![SanType::IpAddress("18.188.145.101".parse().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2])];
    });
    let case = Case { host: "18.188.145.101", idr: id("18.188.145.101"), ..Case::of(&ca) };
    assert_eq!(case.judge(&gateway), Ok(()));
}

#[test]
fn chains_of_every_kind_of_key_are_good() {
    // Chain of RSA-4096, one with PSS, and of P-521; AUTH fails only after the chain.
    for name in ["rsa", "rsa4096", "rsa-e3", "p256", "p384", "p521", "ed25519"] {
        let refused = judge(name, AuthMethod::DIGITAL_SIGNATURE, &[], b"", false);
        assert_eq!(refused, Err(Refused::WrongSignature), "{name}");
    }
    assert_eq!(judge("rsa1024", AuthMethod::RSA, &[], b"", true), Err(Refused::RsaKeySize { bits: 1024 }));
    // A certificate signed with SHA-1 is never good.
    assert_eq!(judge("sha1", AuthMethod::RSA, &[], b"", true), Err(Refused::CertificateAlgorithm));
}

/// A public key of our own making.
struct OddKey(Vec<u8>);

impl PublicKeyData for OddKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

#[test]
fn rsa_keys_that_make_no_sense_prove_nothing() {
    use adit_pki::der::{sequence, value};
    let ca = ca("CA");
    let modulus = [&[0, 0xc5][..], &[0x5b; 255]].concat();
    let even = [&[0, 0xc5][..], &[0x5a; 255]].concat();
    let keys: [(&[u8], &[u8]); 9] = [
        (&modulus, &[0]),
        (&modulus, &[1]),
        (&modulus, &[2]),
        (&modulus, &[]),
        (&modulus, &[0xff]),
        (&even, &[1, 0, 1]),
        (&[0], &[1, 0, 1]),
        (&[15], &[3]),
        (&[], &[]),
    ];
    for (n, e) in keys {
        let key = OddKey(sequence(&[&value(2, &[n]), &value(2, &[e])]));
        let certificate = params(|_| {}).signed_by(&key, &ca).unwrap().der().clone();
        let anchors = vec![ca.as_ref().der().clone()];
        let verifier = CertificateVerifier { anchors, crls: Vec::new(), identity: ExpectedIdentity::Host };
        for length in [0, 1, 256] {
            // With e = 1 a signature would be its own padding.
            let auth = Authentication { method: AuthMethod::RSA, data: vec![1; length].into() };
            let verdict = PeerVerification::new(&verifier).unwrap().verify(
                "vpn.example",
                &[&payload(&certificate)],
                &id("vpn.example"),
                &auth,
                b"octets",
                NOW,
                true,
            );
            let refused = verdict.unwrap_err();
            let told = [Refused::WrongSignature, Refused::UnreadableCertificate, Refused::SignatureOfAnotherKind];
            assert!(told.contains(&refused) || matches!(refused, Refused::RsaKeySize { .. }), "{refused:?}");
        }
    }
}

#[test]
fn a_good_certificate_without_its_key_proves_nothing() {
    let ca = ca("CA");
    let (good, thief) = (gateway(&ca, |_| {}), gateway(&ca, |_| {}));
    let stolen = Gateway { certificate: good.certificate, signer: thief.signer };
    assert_eq!(Case::of(&ca).judge(&stolen), Err(Refused::WrongSignature));
}

#[test]
fn without_a_certificate_there_is_no_proof() {
    let verification = anyone();
    let auth = Authentication { method: AuthMethod::RSA, data: Bytes::new() };
    let judge = |certs: &[&Certificate]| {
        verification.verify("vpn.example", certs, &id("vpn.example"), &auth, b"", NOW, true).map(drop)
    };
    assert_eq!(judge(&[]), Err(Refused::NoCertificate));
    // Nothing is ever fetched from where a stranger says (CVE-2022-40617), and OCSP is not for this.
    for encoding in [0, 1, 7, 11, 12, 13, 14, 15] {
        let cert = Certificate { encoding: CertEncoding(encoding), data: payload(&certificate("rsa")).data };
        assert_eq!(judge(&[&cert]), Err(Refused::NoCertificate), "{encoding}");
    }
    let url = Certificate { encoding: CertEncoding::HASH_AND_URL, data: Bytes::from_static(b"http://example/") };
    assert_eq!(judge(&[&url, &payload(&certificate("rsa"))]), Err(Refused::WrongSignature), "the other one is its own");
}

#[test]
fn certificates_with_something_behind_them_cannot_be_read() {
    let der = certificate("rsa");
    for bad in [[&der[..], &[0]].concat(), der[..der.len() - 1].to_vec(), vec![], vec![0x30, 0]] {
        let auth = Authentication { method: AuthMethod::RSA, data: Bytes::new() };
        let cert = payload(&bad.into());
        let verdict = anyone().verify("", &[&cert], &id("vpn.example"), &auth, b"", NOW, true);
        assert_eq!(verdict.unwrap_err(), Refused::UnreadableCertificate);
    }
}

#[test]
fn a_request_names_the_anchors_by_the_hash_of_their_keys() {
    let request = anyone().cert_request();
    assert_eq!(request.encoding, CertEncoding::X509_SIGNATURE);
    let hashes: Vec<u8> = ["ca-rsa", "ca-p521"]
        .iter()
        .flat_map(|name| {
            let der = certificate(name);
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
            ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, parsed.public_key().raw).as_ref().to_vec()
        })
        .collect();
    assert_eq!(request.authorities, hashes);
    let anchors = vec![certificate("ca-rsa"); 33];
    let many = CertificateVerifier { anchors, crls: Vec::new(), identity: ExpectedIdentity::Host };
    assert!(PeerVerification::new(&many).unwrap().cert_request().authorities.is_empty());
}

proptest! {
    #[test]
    fn no_certificate_is_too_odd(at: prop::sample::Index, change in 1u8..=255, cut: prop::sample::Index, key in 0..3usize) {
        let name = ["rsa", "p521", "ed25519"][key];
        let der = certificate(name);
        let mut odd = der.to_vec();
        let at = at.index(odd.len());
        odd[at] ^= change;
        if change < 20 { odd.truncate(cut.index(odd.len())); }
        let auth = Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data: Bytes::new() };
        let verdict = anyone().verify("", &[&payload(&odd.into()), &payload(&der)], &id("vpn.example"), &auth, b"", NOW, true);
        prop_assert!(verdict.is_err());
    }
}

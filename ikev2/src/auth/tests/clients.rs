//! Clients with certificates, as the answering end judges them.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo};

use super::{pki::*, *};
use crate::config::SignatureChoice;
use PeerNotAuthenticated as Refused;

/// A client with several names.
fn client(ca: &Ca) -> Gateway {
    gateway(ca, |params| {
        params.subject_alt_names = vec![
            SanType::Rfc822Name("user@example".try_into().unwrap()),
            dns("laptop.example"),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
}

fn verification(ca: &Ca) -> ClientVerification {
    ClientVerification::new(&[ca.as_ref().der().clone()], &[]).unwrap()
}

fn judge_at(ca: &Ca, client: &Gateway, idi: &str, now: Duration) -> Result<Identity, Refused> {
    let auth = client.signer.sign(Scheme::EcdsaSignature, b"octets").unwrap();
    let cert = payload(&client.certificate);
    verification(ca).verify(&[&cert], &id(idi), &auth, b"octets", now, false).map(|(Authenticated(()), found)| found)
}

fn judge(ca: &Ca, client: &Gateway, idi: &str) -> Result<Identity, Refused> {
    judge_at(ca, client, idi, NOW)
}

#[test]
fn a_client_is_whom_its_certificate_certifies() {
    let ca = ca("CA");
    let client = client(&ca);
    for idi in ["user@example", "laptop.example", "192.0.2.1", "C=DE, O=Example, CN=gateway"] {
        assert_eq!(judge(&ca, &client, idi).unwrap().to_string(), idi);
    }
    for idi in ["other@example", "example", "gateway", "192.0.2.2", "C=DE, O=Example", "email:laptop.example", "@#00"] {
        let refused = judge(&ca, &client, idi).unwrap_err();
        assert!(matches!(refused, Refused::IdentityNotCertified { .. }), "{idi}: {refused}");
        assert!(!refused.to_string().contains("the gateway"), "{refused}");
    }
}

/// Else one certificate would make any number of clients.
#[test]
fn a_name_is_spelled_as_in_the_certificate() {
    let ca = ca("CA");
    let client = client(&ca);
    for (idi, name) in [
        ("USER@Example", "user@example"),
        ("Laptop.EXAMPLE", "laptop.example"),
        ("c=de, o=EXAMPLE,   cn=Gateway", "C=DE, O=Example, CN=gateway"),
    ] {
        assert_eq!(judge(&ca, &client, idi).unwrap().to_string(), name);
    }
}

#[test]
fn purposes_are_those_of_clients() {
    let ca = ca("CA");
    let with = |purposes: &[ExtendedKeyUsagePurpose]| {
        judge(&ca, &gateway(&ca, |params| params.extended_key_usages = purposes.to_vec()), "vpn.example").map(drop)
    };
    let ipsec_ike = || ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
    let server = || ExtendedKeyUsagePurpose::ServerAuth;
    for good in [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Any, ipsec_ike()] {
        assert_eq!(with(std::slice::from_ref(&good)), Ok(()));
        assert_eq!(with(&[server(), good]), Ok(()));
    }
    assert_eq!(with(&[]), Ok(()));
    for bad in [server(), ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::EmailProtection] {
        assert_eq!(with(&[bad]), Err(Refused::ExtendedKeyUsage));
    }
}

#[test]
fn chain_time_and_key_count_as_for_gateways() {
    let (ours, other, namesake) = (ca("CA"), ca("Other"), ca("CA"));
    let good = client(&ours);
    assert_eq!(judge(&other, &good, "user@example"), Err(Refused::UnknownIssuer));
    assert_eq!(judge(&namesake, &good, "user@example"), Err(Refused::IssuerOfSameName));
    let far = Duration::from_secs(2_300_000_000);
    assert_eq!(judge_at(&ours, &good, "user@example", far), Err(Refused::Expired));
    let of_ca = gateway(&ours, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(judge(&ours, &of_ca, "vpn.example"), Err(Refused::CaCertificate));
    let silent = gateway(&ours, |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert_eq!(judge(&ours, &silent, "vpn.example"), Err(Refused::KeyUsage));
}

#[test]
fn revoked_clients_stay_outside() {
    let ca = ca("CA");
    let client = client(&ca);
    let auth = client.signer.sign(Scheme::EcdsaSignature, b"octets").unwrap();
    for (revoked, refused) in [(&[4][..], None), (&[4, 5], Some(Refused::Revoked))] {
        let crls = [list(&ca, revoked, 2040)];
        let verification = ClientVerification::new(&[ca.as_ref().der().clone()], &crls).unwrap();
        let cert = payload(&client.certificate);
        let judged = verification.verify(&[&cert], &id("user@example"), &auth, b"octets", NOW, false);
        assert_eq!(judged.err(), refused);
    }
    let unreadable = [vec![0x30, 0].into()];
    assert!(matches!(ClientVerification::new(&[], &unreadable), Err(adit_pki::TrustError::List { number: 1, .. })));
}

#[test]
fn the_certificate_alone_proves_nothing() {
    let ca = ca("CA");
    let (client, stranger) = (client(&ca), client(&ca));
    let cert = payload(&client.certificate);
    let judge = |certs: &[&Certificate], auth: &Authentication, octets: &[u8]| {
        verification(&ca).verify(certs, &id("user@example"), auth, octets, NOW, false).unwrap_err()
    };
    let by_stranger = stranger.signer.sign(Scheme::EcdsaSignature, b"octets").unwrap();
    assert_eq!(judge(&[&cert], &by_stranger, b"octets"), Refused::WrongSignature);
    let auth = client.signer.sign(Scheme::EcdsaSignature, b"octets").unwrap();
    assert_eq!(judge(&[&cert], &auth, b"other octets"), Refused::WrongSignature);
    assert_eq!(judge(&[], &auth, b"octets"), Refused::NoCertificate);
    let psk = Authentication { method: AuthMethod::PSK, data: Bytes::from_static(&[0; 32]) };
    for certs in [&[][..], &[&cert]] {
        assert!(matches!(judge(certs, &psk, b"octets"), Refused::OtherMethod { .. }));
    }
}

/// The same keys, certified for users.
#[test]
fn signatures_by_every_kind_of_key_are_believed() {
    let ca = ca("CA");
    for name in ["rsa", "p256", "p384", "ed25519"] {
        let other = certificate(name);
        let (_, other) = x509_parser::parse_x509_certificate(&other).unwrap();
        let key = SubjectPublicKeyInfo::from_der(other.public_key().raw).unwrap();
        let leaf = params(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let certificate = leaf.signed_by(&key, &ca).unwrap().der().clone();
        let signer = Signer::new(&ClientIdentity { chain: vec![certificate], key: identity_of(name).key.clone_key() });
        let signer = signer.unwrap();
        let schemes = |hashes: &[_]| signer.schemes(SignatureChoice::Auto, hashes, true);
        for scheme in [schemes(&HASH_ALGORITHMS), schemes(&[])].concat() {
            let auth = signer.sign(scheme, b"octets").unwrap();
            let (certs, idi) = (signer.cert_payloads(), signer.identity());
            let certs: Vec<_> = certs.iter().collect();
            let judge = |legacy| verification(&ca).verify(&certs, &idi.to_payload(), &auth, b"octets", NOW, legacy);
            assert_eq!(judge(true).unwrap().1, idi, "{name} {scheme:?}");
            let sha1 = scheme == Scheme::Rsa(HashAlgorithm::SHA1);
            assert_eq!(judge(false).err(), sha1.then_some(Refused::Sha1), "{name} {scheme:?}");
        }
    }
}

#[test]
fn the_anchors_are_what_is_asked_for() {
    let ca = ca("CA");
    let as_gateway = CertificateVerifier {
        anchors: vec![ca.as_ref().der().clone()],
        crls: vec![],
        identity: ExpectedIdentity::AnyOfTheAnchors,
    };
    let request = PeerVerification::new(&as_gateway).unwrap().cert_request();
    assert_eq!((verification(&ca).cert_request(), request.authorities.len()), (request, 20));
}

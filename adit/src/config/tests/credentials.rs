//! How the gateway proves itself, and how we do.

use ikev2::{
    CertificateVerifier, Credentials, EapMethod, ExpectedIdentity, MsChapV2Secret, PeerVerifier, TlsVersion, TtlsInner,
};

use super::{Workplace, proofs};
use crate::config::{
    draft::{Auth, Draft, Given, Inner, Method, RemoteId, Tls, Ttls, Wording},
    files::{Content, SecretSource},
};

impl Workplace {
    fn content(&self, name: &str) -> Given<Content> {
        Given::new(Content::File(self.0.join(name)), "here")
    }

    fn secret(&self, name: &str) -> Given<SecretSource> {
        Given::new(SecretSource::File(self.0.join(name)), "here")
    }

    /// With an authority and a user.
    fn eap(&self) -> Draft {
        let mut draft = Draft::new("here", Wording::Keys);
        draft.ca = vec![self.content("ca.pem")];
        draft.user = Some(Given::new("alice".to_owned(), "here"));
        draft
    }

    fn certified(&self, mut draft: Draft) -> Draft {
        draft.certificate = Some(self.content("client.pem"));
        draft.key = Some(self.content("client.key"));
        draft
    }
}

fn error(mut draft: Draft) -> String {
    proofs(&mut draft).map(|_| ()).unwrap_err().to_string()
}

fn methods(draft: &mut Draft) -> (String, Vec<EapMethod>) {
    match proofs(draft).unwrap() {
        (PeerVerifier::Certificate(_), Credentials::Eap(eap)) => (eap.identity, eap.methods),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pre_shared_key_is_the_first_line_of_its_file_and_proves_both() {
    let place = Workplace::new();
    let mut draft = Draft { psk: Some(place.secret("psk.txt")), ..Draft::default() };
    let (PeerVerifier::Psk { key, identity: None }, Credentials::Psk(ours)) = proofs(&mut draft).unwrap() else {
        panic!("no pre-shared key");
    };
    assert_eq!((key.expose(), ours.expose()), (&b"shared"[..], &b"shared"[..]));
    let warnings = std::mem::take(&mut draft.warnings);
    assert!(warnings.len() == 1 && warnings[0].contains("pose as the gateway: set --remote-id"), "{warnings:?}");
    draft.remote_id = Some(RemoteId::Exactly(ikev2::Identity::Fqdn("vpn.example".into())));
    assert!(matches!(proofs(&mut draft).unwrap().0, PeerVerifier::Psk { identity: Some(_), .. }));
    draft.remote_id = Some(RemoteId::Any);
    assert!(matches!(proofs(&mut draft).unwrap().0, PeerVerifier::Psk { identity: None, .. }));
    assert!(draft.warnings.is_empty(), "it was said");
}

#[test]
fn the_gateway_is_the_host_unless_said_otherwise() {
    let place = Workplace::new();
    let expected = |remote_id| {
        let mut draft = Draft { remote_id, ..place.certified(Draft::default()) };
        draft.ca = vec![place.content("ca.pem"), place.content("other.der")];
        match proofs(&mut draft).unwrap() {
            (PeerVerifier::Certificate(CertificateVerifier { anchors, identity, .. }), Credentials::Certificate(_)) => {
                assert_eq!(anchors.len(), 2);
                identity
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expected(None), ExpectedIdentity::Host);
    assert_eq!(expected(Some(RemoteId::Any)), ExpectedIdentity::AnyOfTheAnchors);
    let identity = ikev2::Identity::Fqdn("vpn.example".into());
    assert_eq!(expected(Some(RemoteId::Exactly(identity.clone()))), ExpectedIdentity::Exactly(identity));
}

#[test]
fn methods_follow_from_what_is_given() {
    let place = Workplace::new();
    let with_password = |mut draft: Draft| {
        draft.password = Some(place.secret("password.txt"));
        draft
    };
    let (identity, found) = methods(&mut with_password(place.eap()));
    let [EapMethod::MsChapV2(MsChapV2Secret::Password(password))] = &found[..] else { panic!("{found:?}") };
    assert_eq!((identity.as_str(), password.expose()), ("alice", &b"secret"[..]));

    let mut hashed = place.eap();
    hashed.nt_hash = Some(place.secret("hash.txt"));
    let found = methods(&mut hashed).1;
    let [EapMethod::MsChapV2(MsChapV2Secret::NtHash(hash))] = &found[..] else { panic!("{found:?}") };
    assert_eq!((hash.expose()[0], hash.expose().len()), (0x44, 16));

    let found = methods(&mut with_password(place.certified(place.eap()))).1;
    assert!(matches!(found[..], [EapMethod::Tls { .. }, EapMethod::MsChapV2(_)]), "{found:?}");

    let mut tls = place.certified(place.eap());
    (tls.user, tls.auth) = (None, Some(Auth::Eap));
    let (identity, found) = methods(&mut tls);
    let [EapMethod::Tls { server, certificate }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((identity.as_str(), certificate.chain.len()), ("C=CH, CN=alice", 1));
    assert_eq!((server.anchors.len(), server.name.as_deref(), server.crls.len()), (1, None, 0));
    assert_eq!((server.min_version, server.max_version), (TlsVersion::V1_2, TlsVersion::V1_3));
}

#[test]
fn the_tls_server_may_be_another_than_the_gateway() {
    let place = Workplace::new();
    let mut draft = place.eap();
    draft.password = Some(place.secret("password.txt"));
    draft.ttls = Some(Given::new(Ttls { inner: Some(Inner::EapGtc), anonymous_identity: Some("anon".into()) }, "here"));
    let ca = vec![place.content("ca.pem"), place.content("other.der")];
    let versions = (None, Some(TlsVersion::V1_2));
    draft.tls = Some(Given::new(Tls { ca, server_name: Some("radius".into()), versions, ..Tls::default() }, "here"));
    let found = methods(&mut draft).1;
    let [EapMethod::Ttls { server, anonymous_identity, inner: TtlsInner::Eap(inner) }] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(matches!(**inner, EapMethod::Gtc(_)) && anonymous_identity.as_deref() == Some("anon"));
    assert_eq!((server.anchors.len(), server.name.as_deref()), (2, Some("radius")));
    assert_eq!((server.min_version, server.max_version), (TlsVersion::V1_2, TlsVersion::V1_2));
}

#[test]
fn certificate_and_key_may_be_one_file() {
    let place = Workplace::new();
    let mut draft = Draft { ca: vec![place.content("ca.pem")], ..Draft::default() };
    draft.certificate = Some(place.content("both.pem"));
    assert!(matches!(proofs(&mut draft).unwrap().1, Credentials::Certificate(_)));
    draft.certificate = Some(place.content("client.pem"));
    let said = error(draft);
    assert!(
        said.starts_with("here: ") && said.contains("private key") && said.contains("give the key with --key"),
        "{said}"
    );
}

#[test]
fn what_has_no_use_is_refused() {
    let place = Workplace::new();
    let mut shared = place.eap();
    shared.auth = Some(Auth::Psk);
    shared.psk = Some(place.secret("psk.txt"));
    let said = error(shared);
    assert_eq!(
        said,
        "here: the authority of the gateway has no use, as a pre-shared key proves who we are; \
         hint: leave it away, or change `auth` or `eap`"
    );
    let mut password = place.certified(place.eap());
    password.password = Some(place.secret("password.txt"));
    password.eap = vec![Method::Tls];
    assert!(error(password).starts_with("here: the password has no use, as EAP (tls) proves who we are"));
    let mut certificate = place.certified(place.eap());
    certificate.auth = Some(Auth::Certificate);
    assert!(error(certificate).starts_with("here: the user name has no use, as a certificate proves who we are"));
    let mut both = place.eap();
    (both.password, both.nt_hash) = (Some(place.secret("password.txt")), Some(place.secret("hash.txt")));
    assert!(error(both).starts_with("here: there is a password already"));
    let mut ttls = place.eap();
    (ttls.password, ttls.eap) = (Some(place.secret("password.txt")), vec![Method::Ttls]);
    assert!(error(ttls).starts_with("here: nothing says what is inside of EAP-TTLS; hint: "));
}

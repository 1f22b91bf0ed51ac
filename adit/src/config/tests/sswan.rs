//! strongSwan profiles.

use base64::{Engine, prelude::BASE64_STANDARD};
use ikev2::{Credentials, EapMethod, ExpectedIdentity, PeerVerifier, SignatureChoice};

use super::{Workplace, build, proofs, sswan};
use crate::config::draft::{Auth, Draft, Method};

impl Workplace {
    fn sswan(&self, text: &str) -> Result<Draft, String> {
        sswan(&self.file("office.sswan", text)).map_err(|error| error.to_string().replace(&self.path(""), ""))
    }

    fn certificate(&self) -> String {
        BASE64_STANDARD.encode(std::fs::read(self.0.join("other.der")).unwrap())
    }
}

fn of_type(kind: &str) -> String {
    format!(r#"{{ "type": "{kind}", "remote": {{ "addr": "vpn.example" }} }}"#)
}

#[test]
fn a_profile_with_user_and_password_needs_nothing_else() {
    let place = Workplace::new();
    let certificate = place.certificate();
    let text = format!(
        r#"{{ "uuid": "f0c7f8c8-0b0d-4a6e-9d0c-8f4f6e1c3f11", "name": "Office", "type": "ikev2-eap",
            "remote": {{ "addr": "192.0.2.1", "port": 4500, "id": "vpn.example", "cert": "{certificate}" }},
            "local": {{ "eap_id": "alice", "shared_secret": "secret", "id": "alice@example", "rsa-pss": true }},
            "ike-proposal": "aes256gcm16-prfsha384-ecp384", "esp-proposal": "aes256gcm16",
            "mtu": 1400, "nat-keepalive": 30, "ipv6-transport": false }}"#
    );
    let mut draft = place.sswan(&text).unwrap();
    assert_eq!(draft.warnings, <[String; 0]>::default());
    let remote = &draft.remotes[0];
    assert_eq!((remote.host.as_str(), remote.port, remote.family), ("192.0.2.1", 4500, Some(adit_tunnel::Family::V4)));
    let (PeerVerifier::Certificate(peer), Credentials::Eap(eap)) = proofs(&mut draft).unwrap() else { panic!("EAP") };
    assert!(matches!(peer.identity, ExpectedIdentity::Exactly(_)) && peer.anchors.len() == 1);
    assert_eq!(eap.identity, "alice");
    assert!(matches!(eap.methods[..], [EapMethod::MsChapV2(_), EapMethod::Gtc(_), EapMethod::Md5(_)]));
    let config = build(draft).unwrap();
    let settings = config.settings();
    assert_eq!((settings.mtu, settings.nat_keepalive.as_secs()), (Some(1400), 30));
    assert_eq!((settings.signature, settings.local_identity.is_some()), (SignatureChoice::RsaPss, true));
}

#[test]
fn what_its_type_does_not_use_is_warned_about() {
    let place = Workplace::new();
    let text = |kind: &str, ca: &str| {
        let remote = format!(r#""remote": {{ "addr": "a", "cert": "{ca}" }}"#);
        let local = r#""local": { "eap_id": "alice", "shared_secret": "secret", "p12": "aGVsbG8=" }"#;
        format!("\u{feff}{{ \"type\": \"{kind}\", {remote}, {local} }}")
    };
    let certificate = place.certificate();
    let mut draft = place.sswan(&text("ikev2-eap", &certificate)).unwrap();
    assert!(matches!(proofs(&mut draft).unwrap().1, Credentials::Eap(_)));
    assert_eq!(draft.warnings.len(), 1, "{:?}", draft.warnings);
    assert!(draft.warnings[0].contains("`local.p12`: the PKCS#12 file has no use"), "{:?}", draft.warnings);
    let mut draft = place.sswan(&text("ikev2-cert", &certificate)).unwrap();
    draft.pkcs12 = None;
    draft.certificate =
        Some(crate::config::draft::Given::new(crate::config::files::Content::File(place.0.join("both.pem")), "--cert"));
    assert!(matches!(proofs(&mut draft).unwrap().1, Credentials::Certificate(_)));
    let said = draft.warnings.join("\n");
    assert!(
        draft.warnings.len() == 2 && said.contains("`local.eap_id`") && said.contains("`local.shared_secret`"),
        "{said}"
    );
}

#[test]
fn old_algorithms_of_a_profile_want_an_option() {
    let place = Workplace::new();
    let certificate = place.certificate();
    let text = format!(
        r#"{{ "type": "ikev2-eap", "remote": {{ "addr": "a", "cert": "{certificate}" }},
            "local": {{ "eap_id": "alice", "shared_secret": "secret" }}, "esp-proposal": "3des-sha256" }}"#
    );
    let error = build(place.sswan(&text).unwrap()).unwrap_err().to_string().replace(&place.path(""), "");
    assert_eq!(error, "office.sswan: `esp-proposal`: `3des` is no longer safe; hint: --legacy allows it all the same");
}

#[test]
fn types_say_how_we_prove_ourselves() {
    let place = Workplace::new();
    let draft = place.sswan(&of_type("ikev2-cert")).unwrap();
    assert_eq!((draft.auth, draft.eap.len()), (Some(Auth::Certificate), 0));
    let draft = place.sswan(&of_type("ikev2-eap-tls")).unwrap();
    assert_eq!((draft.auth, &draft.eap[..]), (Some(Auth::Eap), &[Method::Tls][..]));
    for (kind, why) in [
        ("ikev2-cert-eap", "RFC 4739"),
        ("ikev2-byod-eap", "EAP-TNC"),
        ("ikev1-psk", "the type `ikev1-psk` is unknown"),
    ] {
        let said = place.sswan(&of_type(kind)).map(|_| ()).unwrap_err();
        assert!(said.starts_with("office.sswan: `type`: ") && said.contains(why) && said.contains("hint: "), "{said}");
    }
}

#[test]
fn what_is_not_understood_or_has_no_effect_is_said() {
    let place = Workplace::new();
    let draft = place
        .sswan(
            r#"{ "type": "ikev2-eap", "colour": "blue", "dns-servers": "10.0.0.1", "proxy": { "host": "h", "port": 1 },
                "split-tunneling": { "subnets": ["10.0.0.0/8"] },
                "remote": { "addr": "a", "certreq": false, "size": 9, "revocation": { "crl": true, "ocsp": false } },
                "local": { "eap_id": "alice", "shape": "round" } }"#,
        )
        .unwrap();
    let said = draft.warnings.join("\n").replace(&place.path(""), "");
    for what in [
        "`remote.certreq` has no",
        "`remote.revocation.crl` has no",
        "`remote.size` is unknown",
        "`local.shape` is",
        "`split-tunneling` has no",
        "`proxy` has no",
        "`dns-servers` has no",
        "`colour` is unknown",
    ] {
        assert!(said.contains(&format!("office.sswan: {what}")), "{what}: {said}");
    }
    assert_eq!(draft.warnings.len(), 8, "{said}");
}

#[test]
fn what_makes_no_sense_is_refused_without_showing_secrets() {
    let place = Workplace::new();
    for (text, said) in [
        ("{\n\"type\":\n", "office.sswan line 3: this is no JSON: it ends too early; hint: copy"),
        ("{\n\"type\" 1 }", "office.sswan line 2: this is no JSON: something else was expected here; hint: "),
        ("[]", "office.sswan: this is no strongSwan profile"),
        ("{}", "office.sswan: `remote` is missing"),
        (r#"{ "remote": {} }"#, "office.sswan: `remote.addr` is missing"),
        (r#"{ "remote": { "addr": "a" } }"#, "office.sswan: `type` is missing"),
        (r#"{ "remote": { "addr": "a:b" } }"#, "office.sswan: `remote.addr`: `a:b` is no gateway"),
        (
            r#"{ "remote": { "addr": "a", "port": 65536 } }"#,
            "office.sswan: `remote.port`: this has to be a number from 1",
        ),
        (r#"{ "remote": { "addr": "a", "cert": "!" } }"#, "office.sswan: `remote.cert`: this has to be base64"),
        (
            r#"{ "remote": { "addr": "a" }, "local": { "shared_secret": 4711 } }"#,
            "office.sswan: `local.shared_secret`: this has to be a text",
        ),
        (
            r#"{ "remote": { "addr": "a", "revocation": { "strict": true } } }"#,
            "office.sswan: `remote.revocation.strict`: nothing is fetched",
        ),
    ] {
        let error = place.sswan(text).map(|_| ()).unwrap_err();
        assert!(error.contains(said) && !error.contains("4711"), "{text}: {error}");
    }
}

#[test]
fn everything_wrong_with_a_profile_is_said_at_once() {
    let place = Workplace::new();
    let path = place.file(
        "office.sswan",
        r#"{ "type": "ikev1", "mtu": "big", "ike-proposal": "blowfish",
            "remote": { "addr": "a b", "port": 0, "id": "C=CH, X", "cert": "!", "revocation": { "strict": true, "crl": 1 } },
            "local": { "eap_id": 1, "shared_secret": 4711, "id": "C=CH, Y", "p12": "!", "rsa-pss": 1 } }"#,
    );
    let said = crate::config::check(&path, None).complaints();
    for place in ["`type`", "`mtu`", "`ike-proposal`"] {
        assert!(said.contains(&format!("office.sswan: {place}: ")), "{place}\n{said}");
    }
    for place in ["addr", "port", "id", "cert", "revocation.strict", "revocation.crl"] {
        assert!(said.contains(&format!("office.sswan: `remote.{place}`: ")), "{place}\n{said}");
    }
    for place in ["eap_id", "shared_secret", "id", "p12", "rsa-pss"] {
        assert!(said.contains(&format!("office.sswan: `local.{place}`: ")), "{place}\n{said}");
    }
    assert_eq!(said.matches("error: ").count(), 14, "{said}");
}

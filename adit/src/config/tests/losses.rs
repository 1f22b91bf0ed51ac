//! What an import does not take over is said, above all where more is trusted without it.

use super::{Workplace, import::says};

const PINNED: &str = "cannot be pinned: every certificate is accepted that an authority of `ca` vouches for";

fn silent(text: &str, comment: &str) {
    assert!(!text.contains(comment), "{comment}\n{text}");
}

#[test]
fn the_gateway_s_own_certificate_in_ipsec_conf_is_not_forgotten_in_silence() {
    let place = Workplace::new();
    for folder in ["ipsec.d/cacerts", "ipsec.d/certs", "ipsec.d/crls"] {
        place.folder(folder);
    }
    place.file("ipsec.d/cacerts/ca.pem", place.text("ca.pem"));
    place.file("ipsec.secrets", "alice : EAP \"secret\"\n: RSA client.key\n");
    for ours in ["leftauth=eap-mschapv2\n eap_identity=alice", "leftauth=pubkey\n leftcert=client.pem"] {
        let conf = format!("conn a\n right=vpn.example\n rightcert=peer.pem\n left=192.0.2.7\n {ours}\n");
        place.file("ipsec.conf", &conf);
        let text = place.imported("ipsec.conf").text(None);
        says(&text, &[&format!("ipsec.conf line 3: `rightcert`: the gateway's own certificate {PINNED}")]);
        says(&text, &["ipsec.conf line 4: `left`: the address we send from is chosen by the system"]);
        assert!(text.contains("/ipsec.d/cacerts/ca.pem\"]"), "{text}");
        silent(&text, "revocation lists");
    }
    place.file("ipsec.d/crls/one.crl", "");
    let text = place.imported("ipsec.conf").text(None);
    says(&text, &["ipsec.d/crls: `revocation lists`: a list lies there: `crl = ["]);
    // The certificate that a gateway shows says nothing of what its callers want.
    place.file(
        "ipsec.conf",
        "conn a\n left=vpn.example\n leftcert=peer.pem\n leftauth=pubkey\n right=%any\n rightauth=eap-mschapv2\n",
    );
    let text = place.imported("ipsec.conf").text(None);
    says(&text, &["It answers whoever calls", "is its own matter, and not taken over"]);
    silent(&text, PINNED);
}

#[test]
fn the_gateway_s_own_certificate_in_swanctl_conf_is_not_forgotten_in_silence() {
    let place = Workplace::new();
    place.folder("x509ca");
    place.file("x509ca/ca.pem", place.text("ca.pem"));
    for (certs, key) in [("certs = peer.pem", "certs"), ("cert-1 {\n file = peer.pem\n }", "cert-1.file")] {
        place.file(
            "swanctl.conf",
            format!("connections {{\n a {{\n remote_addrs = a.example\n local {{ auth = eap\n cacerts = x.pem\n }}\n remote {{\n auth = rsa-4096-sha512\n {certs}\n }}\n children {{ one {{ }} }}\n }}\n}}\n"),
        );
        let text = place.imported("swanctl.conf").text(None);
        says(&text, &[&format!("`{key}`: the gateway's own certificate {PINNED}")]);
        says(
            &text,
            &[
                "line 8: `auth`: which keys, lengths and hashes of the gateway's certificate",
                "line 5: `cacerts`: our certificate is shown as it is",
                "No network behind the gateway is named",
            ],
        );
    }
    // Where the gateway had to show a certificate, and would have to know a key only.
    place.file(
        "swanctl.conf",
        "connections {\n a {\n remote_addrs = a.example\n local { auth = psk\n }\n remote {\n auth = pubkey\n certs = peer.pem\n cacerts = ca.pem\n }\n }\n}\n",
    );
    let text = place.imported("swanctl.conf").text(None);
    says(
        &text,
        &[
            "We prove ourselves by a pre-shared key, and the gateway by something else",
            "line 8: `certs`: with `auth = \"psk\"`, the gateway is not asked for a certificate",
            "line 9: `cacerts`: with `auth = \"psk\"`",
        ],
    );
    // With a key on both sides there is nothing to say.
    place.file(
        "swanctl.conf",
        "connections {\n stray = 1\n a {\n remote_addrs = a.example\n local { auth = psk\n }\n remote { auth = psk\n }\n children { one { remote_ts = 10.0.0.0/8\n } }\n }\n}\n",
    );
    let text = place.imported("swanctl.conf").text(None);
    silent(&text, "certificate");
    silent(&text, "No network behind the gateway is named");
    says(&text, &["line 2: `connections.stray`: there are sections in this one, and no keys"]);
}

#[test]
fn an_authority_that_is_switched_off_vouches_for_nobody() {
    let place = Workplace::new();
    place.file(
        "ipsec.conf",
        "ca off\n cacert=off.pem\n auto=ignore\nca on\n cacert=on.pem\n auto=add\nconn a\n right=vpn.example\n leftauth=eap\n",
    );
    let text = place.imported("ipsec.conf").text(None);
    assert!(text.contains("on.pem\"]") && !text.contains("off.pem"), "{text}");
    says(&text, &["ipsec.conf line 2: `ca off: cacert`: with `auto=ignore`, nobody is vouched for by it"]);
}

#[test]
fn a_file_of_strongswan_with_mistakes_is_no_profile_of_openvpn() {
    let place = Workplace::new();
    place.folder("swanctl");
    for (name, text, said) in [
        ("x.swanctl.conf", "conections\n office = {\n remote_addrs = a\n", "x.swanctl.conf"),
        ("swanctl/office.conf", "remote_addrs = a\n", "there is no connection in it"),
        ("office.conf", "conections {\n office {\n remote_addrs = a\n }\n", "the section `conections` is not closed"),
        ("old-ipsec.conf", "con a\n right=b\n", "this is neither a section nor a key of one"),
    ] {
        place.file(name, text);
        let refused = place.refused_import(name);
        assert!(
            refused.contains(said) && !refused.contains("OpenVPN") && !refused.contains("ignore-unknown-option"),
            "{refused}"
        );
    }
}

#[test]
fn of_very_many_mistakes_the_first_are_said_and_how_many_more_there_are() {
    let place = Workplace::new();
    let junk: String = (0..60_000).map(|number| format!("junk {number} x\n")).collect();
    place.file("ipsec.conf", junk);
    let Err(problems) = crate::config::Import::read(&place.0.join("ipsec.conf"), None) else { panic!("junk") };
    let complaints = problems.complaints("is it the right file?");
    let lines: Vec<_> = complaints.lines().collect();
    assert_eq!(lines.len(), 51);
    assert!(lines.iter().all(|line| line.starts_with("error: ")), "{complaints}");
    let more = problems.errors() - 50;
    assert_eq!(lines[50], format!("error: {more} more; hint: is it the right file?"));
    // The few there are in another file are all said.
    place.file("empty.ovpn", "");
    let Err(problems) = crate::config::Import::read(&place.0.join("empty.ovpn"), None) else { panic!("empty") };
    assert_eq!(problems.complaints("").lines().count(), problems.errors());
}

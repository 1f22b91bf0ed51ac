//! What other programs are configured with becomes a file that can be used.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Workplace;
use crate::config::{Import, check};

impl Workplace {
    pub(super) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    pub(super) fn folder(&self, name: &str) {
        std::fs::create_dir_all(self.0.join(name)).unwrap();
    }

    pub(super) fn imported(&self, name: &str) -> Import {
        Import::read(&self.0.join(name), None).unwrap_or_else(|problems| panic!("{:#?}", problems.sorted()))
    }

    /// What becomes of a file: it passes the check, and what is in it and beside it is this.
    pub(super) fn import(&self, name: &str) -> (String, Vec<String>) {
        let import = self.imported(name);
        self.folder("out");
        let out = self.0.join("out/new.toml");
        let files = import.write(&out).unwrap();
        let checked = check(&out, None);
        assert!(checked.is_fine(), "{}{}", checked.complaints(), self.text("out/new.toml"));
        let names = files.iter().skip(1).map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
        (self.text("out/new.toml").replace(&self.path(""), ""), names.collect())
    }

    pub(super) fn refused_import(&self, name: &str) -> String {
        match Import::read(&self.0.join(name), None) {
            Ok(import) => panic!("{}", import.text(None)),
            Err(problems) => {
                let said: Vec<_> = problems.sorted().iter().map(ToString::to_string).collect();
                said.join("\n").replace(&self.path(""), "")
            }
        }
    }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
    }
}

pub(super) fn says(text: &str, comments: &[&str]) {
    for comment in comments {
        let found = text.lines().any(|line| line.starts_with('#') && line.contains(comment));
        assert!(found, "{comment}\n{text}");
    }
}

/// The gateway that the documentation of the product tells its customers to run.
const CUSTOMERS: &str = "config setup
  charondebug=\"ike 1, knl 1, cfg 0\"
  uniqueids=no
conn ikev2-vpn
  auto=add
  compress=no
  type=tunnel
  keyexchange=ikev2
  fragmentation=yes
  forceencaps=yes
  dpdaction=clear
  dpddelay=300s
  rekey=no
  left=%any
  leftid=18.188.145.101
  leftcert=server-cert.pem
  leftsendcert=always
  leftsubnet=0.0.0.0/0
  right=%any
  rightid=%any
  rightauth=eap-mschapv2
  rightsourceip=10.10.10.0/24
  rightdns=8.8.8.8,8.8.4.4
  rightsendcert=never
  eap_identity=%identity
";

#[test]
fn the_gateway_of_a_customer_is_turned_round() {
    let place = Workplace::new();
    place.folder("ipsec.d/cacerts");
    place.file("ipsec.d/cacerts/ca-cert.pem", place.text("ca.pem"));
    place.file("ipsec.conf", CUSTOMERS);
    place.file("ipsec.secrets", ": RSA \"server-key.pem\"\nmyuser : EAP \"mypassword\"\n");
    let (text, files) = place.import("ipsec.conf");
    has(
        &text,
        &[
            "[connection.ikev2-vpn]",
            "remotes = [\"18.188.145.101\"]",
            "remote_id = \"18.188.145.101\"",
            "auth = \"eap\"",
            "eap = [\"mschapv2\"]",
            "user = \"myuser\"",
            "password = { file = \"ikev2-vpn-password.txt\" }",
            "ca = [\"ipsec.d/cacerts/ca-cert.pem\"]",
            "fragmentation = true",
        ],
    );
    assert_eq!(files, ["ikev2-vpn-password.txt"]);
    assert_eq!(place.text("out/ikev2-vpn-password.txt"), "mypassword\n");
    // Every key that is not taken over is named, with its line; nothing of the gateway's own times is.
    says(
        &text,
        &[
            "It answers whoever calls",
            "ipsec.conf line 2: `charondebug`",
            "line 3: `uniqueids`",
            "line 10: `forceencaps`",
            "line 11: `dpdaction`",
            "line 17: `leftsendcert`",
            "line 22: `rightsourceip`",
            "line 23: `rightdns`",
            "line 24: `rightsendcert`",
        ],
    );
    assert!(
        !text.contains("liveness_seconds") && !text.contains("rekey_seconds") && !text.contains("mypassword"),
        "{text}"
    );
}

#[test]
fn the_list_of_methods_that_the_documentation_has_is_understood_as_it_was_meant() {
    let place = Workplace::new();
    place.folder("ipsec.d/cacerts");
    place.file("ipsec.d/cacerts/ca-cert.pem", place.text("ca.pem"));
    place.file("ipsec.conf", CUSTOMERS.replace("rightauth=eap-mschapv2", "rightauth=eap-mschapv2,eap-tls!"));
    place.file("ipsec.secrets", "myuser : EAP \"mypassword\"\n");
    let (text, _) = place.import("ipsec.conf");
    has(&text, &["eap = [\"mschapv2\"]", "user = \"myuser\""]);
    says(&text, &["strongSwan itself takes one method there", "EAP-TLS wants a certificate of ours"]);
    // With the client's PKCS#12 file, as the documentation has it on the gateway.
    place.file("ipsec.secrets", ": P12 client.p12 'password'\n");
    let text = place.imported("ipsec.conf").text(None).replace(&place.path(""), "");
    has(
        &text,
        &[
            "eap = [\"mschapv2\", \"tls\"]",
            "pkcs12 = \"ipsec.d/private/client.p12\"",
            "passphrase = { file = \"ikev2-vpn-passphrase.txt\" }",
        ],
    );
    says(&text, &["ikev2-vpn-passphrase.txt: the passphrase of the PKCS#12 file, on a line: ipsec.secrets line 1"]);
    assert!(!text.contains("'password'"), "{text}");
}

#[test]
fn the_openvpn_gateway_of_a_customer_is_no_profile_and_the_profile_for_it_is_kept() {
    let place = Workplace::new();
    place.file(
        "server.conf",
        "port 1194\nproto udp\ndev tun\nserver 10.10.20.0 255.255.255.0\nca ca.pem\ncert server.crt\nkey server.key\ndh dh2048.pem\n\
        keepalive 10 120\ncipher AES-256-CBC\nauth SHA256\ncompress lz4-v2\npush \"compress lz4-v2\"\nverify-client-cert none\n",
    );
    let said = place.refused_import("server.conf");
    assert!(said.contains("profile server.conf: line 4: `server`") && said.contains("line 13: `push`"), "{said}");
    place.file(
        "client.ovpn",
        "client\ndev tun\nproto udp\nremote 18.188.145.101 1194\nca ca.pem\nauth-user-pass\nremote-cert-tls server\n\
        cipher AES-256-CBC\nauth SHA256\ncompress lz4-v2\nup /etc/openvpn/up.sh\nscript-security 2\n",
    );
    let (text, files) = place.import("client.ovpn");
    has(&text, &["[connection.client]", "protocol = \"openvpn\"", "profile = \"client.ovpn\""]);
    says(&text, &["line 11: `up`: "]);
    assert!(files.is_empty());
}

#[test]
fn a_profile_with_everything_inside_is_taken_apart() {
    let place = Workplace::new();
    let certificate = BASE64_STANDARD.encode(std::fs::read(place.0.join("other.der")).unwrap());
    place.file(
        "office.sswan",
        format!(
            r#"{{ "uuid": "x", "name": "Head Office", "type": "ikev2-eap",
            "remote": {{ "addr": "2001:db8::1", "port": 4500, "id": "vpn.example", "cert": "{certificate}", "certreq": false,
                "revocation": {{ "crl": true }} }},
            "local": {{ "eap_id": "alice", "shared_secret": "hunter2\"", "id": "alice@example", "rsa-pss": true, "shape": 1 }},
            "ike-proposal": "aes256gcm16-prfsha384-ecp384", "esp-proposal": "aes256gcm16", "mtu": 1400, "nat-keepalive": 30,
            "ipv6-transport": false, "split-tunneling": {{ "subnets": ["10.0.0.0/8"] }}, "proxy": {{}}, "dns-servers": "x",
            "colour": "blue" }}"#
        ),
    );
    let printed = place.imported("office.sswan").text(None);
    says(
        &printed,
        &["Head-Office-password.txt: the password, `local.shared_secret`", "Head-Office-ca.crt: the certificate"],
    );
    assert!(!printed.contains("hunter2") && !printed.contains(&certificate), "{printed}");
    let (text, files) = place.import("office.sswan");
    has(
        &text,
        &[
            "[connection.\"Head Office\"]",
            "remotes = [\"[2001:db8::1]:4500\"]",
            "remote_id = \"vpn.example\"",
            "ca = [\"Head-Office-ca.crt\"]",
            "auth = \"eap\"",
            "eap = [\"mschapv2\", \"gtc\", \"md5\"]",
            "user = \"alice\"",
            "password = { file = \"Head-Office-password.txt\" }",
            "local_id = \"alice@example\"",
            "signature = \"rsa-pss\"",
            "ike_proposals = \"aes256gcm16-prfsha384-ecp384\"",
            "mtu = 1400",
            "nat_keepalive_seconds = 30",
        ],
    );
    let lost = [
        "remote.certreq",
        "remote.revocation.crl",
        "local.shape",
        "ipv6-transport",
        "split-tunneling",
        "proxy",
        "dns-servers",
        "colour",
    ];
    for key in lost {
        says(&text, &[&format!("office.sswan: `{key}`: ")]);
    }
    assert_eq!(files, ["Head-Office-ca.crt", "Head-Office-password.txt"]);
    assert_eq!(place.text("out/Head-Office-password.txt"), "hunter2\"\n");
}

#[cfg(unix)]
#[test]
fn what_was_inside_is_for_its_owner_alone_and_nothing_is_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let place = Workplace::new();
    let text =
        r#"{ "type": "ikev2-eap", "remote": { "addr": "a" }, "local": { "eap_id": "u", "shared_secret": "x" } }"#;
    place.file("office.sswan", text);
    place.folder("out");
    let import = place.imported("office.sswan");
    let out = place.0.join("out/new.toml");
    let files = import.write(&out).unwrap();
    assert_eq!(files.len(), 2);
    for file in &files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    let error = import.write(&out).unwrap_err().to_string();
    assert!(error.contains("new.toml is there already; hint: "), "{error}");
    std::fs::remove_file(&out).unwrap();
    let error = import.write(&out).unwrap_err().to_string();
    assert!(error.contains("office-password.txt is there already; hint: ") && !out.exists(), "{error}");
}

#[test]
fn swanctl_with_references_includes_and_secrets_is_understood() {
    let place = Workplace::new();
    place.folder("x509ca");
    place.folder("conf.d");
    place.file("x509ca/ca.pem", place.text("ca.pem"));
    place.file("conf.d/secrets.conf", "secrets {\n  eap-alice {\n    id = alice\n    secret = \"hun#ter2\" # a comment\n  }\n  eap-bob {\n    id = bob\n    secret = 0s/w==\n  }\n}\n");
    place.file("conf.d/ignored.txt", "}}}");
    place.file(
        "swanctl.conf",
        "# strongSwan\nconnections {\n  office : templates.common {\n    remote_addrs = vpn.example, 192.0.2.1\n    remote_port = 4500\n\
        \x20   local { auth = eap-mschapv2\n      eap_id = alice\n      id = alice@example }\n    remote {\n      auth = pubkey\n      id = vpn.example\n\
        \x20     cacerts = ca.pem\n      revocation = strict\n    }\n    children {\n      net {\n        remote_ts = 192.168.100.0/24, 10.0.0.0/8[tcp/80]\n\
        \x20       local_ts = dynamic\n        esp_proposals = aes256gcm16,aes128-sha1\n        start_action = start\n        rekey_time = 1h\n        updown = /x\n      }\n    }\n  }\n\
        \x20 old { version = 1\n    remote_addrs = a\n  }\n}\ntemplates {\n  common {\n    version = 2\n    vips = 0.0.0.0, ::\n    dpd_delay = 10s\n    rekey_time = 4h\n\
        \x20   mobike = no\n    fragmentation = yes\n    encap = yes\n    dscp = 000000\n    proposals = aes256gcm16-prfsha384-ecp384,blowfish-md5-modp768,default\n  }\n}\n\
        include conf.d/*.conf\n",
    );
    let (text, files) = place.import("swanctl.conf");
    has(
        &text,
        &[
            "[connection.office]",
            "remotes = [\"vpn.example:4500\", \"192.0.2.1:4500\"]",
            "remote_id = \"vpn.example\"",
            "local_id = \"alice@example\"",
            "auth = \"eap\"",
            "eap = [\"mschapv2\"]",
            "user = \"alice\"",
            "password = { file = \"office-password.txt\" }",
            "ca = [\"x509ca/ca.pem\"]",
            "ike_proposals = \"aes256gcm16-prfsha384-ecp384,default\"",
            "esp_proposals = \"aes256gcm16,aes128-sha1\"",
            "legacy = true",
            "remote_ts = [\"192.168.100.0/24\"]",
            "liveness_seconds = 10",
            "ike_rekey_seconds = 14400",
            "child_rekey_seconds = 3600",
            "autostart = true",
            "mobike = false",
            "fragmentation = true",
        ],
    );
    says(
        &text,
        &[
            "`connections.old`: this is IKEv1",
            "`revocation`",
            "`remote_ts`: a network is",
            "`updown`",
            "`encap`",
            "`dscp`",
            "`blowfish-md5-modp768` is not taken",
            "several passwords",
        ],
    );
    assert!(text.lines().filter(|line| line.starts_with("[connection.")).count() == 1, "{text}");
    assert_eq!(
        (files.as_slice(), place.text("out/office-password.txt").as_str()),
        (&["office-password.txt".to_owned()][..], "hun#ter2\n")
    );
}

#[test]
fn swanctl_with_a_shared_key_and_with_a_certificate_is_understood() {
    let place = Workplace::new();
    for folder in ["x509", "x509ca", "private"] {
        place.folder(folder);
    }
    place.file("x509ca/ca.pem", place.text("ca.pem"));
    place.file("x509/client.pem", place.text("client.pem"));
    place.file("private/client.pem", place.text("client.key"));
    place.file(
        "swanctl.conf",
        "connections {\n  lab {\n    remote_addrs = 192.0.2.1\n    local {\n auth = psk\n }\n remote {\n auth = psk\n id = lab.example\n }\n children { net { } }\n  }\n\
        branch {\n remote_addrs = 2001:db8::1\n local { certs = client.pem\n }\n remote { id = vpn.example\n }\n children { net { start_action = trap\n } }\n }\n}\n\
        secrets {\n ike-lab {\n id-1 = lab.example\n secret = 0x736861726564\n }\n ike-other {\n id = other\n secret = other\n }\n}\n",
    );
    let (text, _) = place.import("swanctl.conf");
    has(
        &text,
        &[
            "auth = \"psk\"",
            "psk = { file = \"lab-psk.txt\" }",
            "remotes = [\"2001:db8::1\"]",
            "auth = \"certificate\"",
            "certificate = \"x509/client.pem\"",
            "key = \"private/client.pem\"",
            "ca = [\"x509ca/ca.pem\"]",
        ],
    );
    assert_eq!(place.text("out/lab-psk.txt"), "shared\n");
    says(&text, &["`start_action`: it is connected at start"]);
}

#[test]
fn ipsec_with_defaults_and_sections_of_others_is_understood() {
    let place = Workplace::new();
    place.folder("ipsec.d/cacerts");
    place.folder("ipsec.d/private");
    place.file("ipsec.d/cacerts/ca.pem", place.text("ca.pem"));
    place.file("client.pem", place.text("client.pem"));
    place.file("ipsec.d/private/client.key", place.text("client.key"));
    place.file(
        "more.conf",
        "conn site\n\talso=common\n\tright=site.example\n\trightid=\"C=CH, CN=site\" # quoted\n\tauto=start\n",
    );
    place.file(
        "ipsec.conf",
        "version 2\n\nconn %default\n\tkeyexchange=ikev2\n\tike=aes256-sha256-modp2048!\n\tdpdaction=restart\n\nconn common\n\tleft=%defaultroute\n\
        \tleftsourceip=%config\n\tleftcert=client.pem\n\trightsubnet=10.0.0.0/8,192.168.0.0/16\n\tikelifetime=60m\n\tkeyingtries=%forever\n\
        conn old\n\tkeyexchange=ikev1\n\tright=a\n\ninclude more.conf\n",
    );
    place.file("ipsec.secrets", "# keys\n: RSA client.key\n@vpn.example %any : PSK \"not this\"\n");
    let (text, _) = place.import("ipsec.conf");
    has(
        &text,
        &[
            "[connection.site]",
            "remotes = [\"site.example\"]",
            "remote_id = \"C=CH, CN=site\"",
            "auth = \"certificate\"",
            "certificate = \"client.pem\"",
            "key = \"ipsec.d/private/client.key\"",
            "ike_proposals = \"aes256-sha256-modp2048\"",
            "remote_ts = [\"10.0.0.0/8\", \"192.168.0.0/16\"]",
            "ike_rekey_seconds = 3600",
            "autostart = true",
        ],
    );
    says(&text, &["`conn old`: this is IKEv1", "`dpdaction`", "`keyingtries`"]);
    assert_eq!(text.matches("[connection.").count(), 1, "{text}");
}

#[test]
fn ipsec_is_read_as_strongswan_reads_it() {
    let place = Workplace::new();
    place.file("certificate.pem", place.text("client.pem"));
    place.file(
        "ipsec.conf",
        "conn %default\n\tleftid=default@example\n\tauto=add\nconn mixed\n\tright=192.0.2.1\n\tauthby=secret\n\tleftauth=eap-md5\n\
        conn \"two words\"\n\tright=%two.example\n\trightid=\"C=CH, O=\\\"Example, Ltd\\\"\"\n\talso=first\n\talso=second\n\tleftid=\n\
        \tike=aes256-sha256-modp2048\n\trightsubnet=\"10.0.0.0/8,\\\n10.1.0.0/16\" # networks\nconn first\n\tdpddelay=3\nconn second\n\tdpddelay=4\n\tauthby=psk\n\
        conn named\n\tright=192.0.2.3\n\tleftcert=certificate.pem\n\tleftid=somebody.else\n",
    );
    place.file("ipsec.secrets", "alice : EAP \"x\"\n");
    let text = place.imported("ipsec.conf").text(None);
    // `authby` is for neither end where `leftauth` is for one; the only password is somebody else's.
    has(&text, &["auth = \"eap\"", "user = \"default@example\""]);
    says(&text, &["The password is in none of the files"]);
    assert!(!text.contains("pre-shared key, and we do by something else"), "{text}");
    has(
        &text,
        &[
            "[connection.\"two words\"]",
            "remotes = [\"two.example\"]",
            "remote_id = \"C=CH, O=Example\\\\, Ltd\"",
            "liveness_seconds = 4",
            "ike_proposals = \"aes256-sha256-modp2048,default\"",
            "remote_ts = [\"10.0.0.0/8\", \"10.1.0.0/16\"]",
            "certificate = \"certificate.pem\"",
        ]
        .map(|line| line.replace("certificate.pem", &place.path("certificate.pem")))
        .each_ref()
        .map(String::as_str),
    );
    assert_eq!(text.matches("local_id").count(), 1, "{text}");
    says(&text, &["`leftid`: the certificate does not bear this name"]);
}

#[test]
fn swanctl_is_read_as_strongswan_reads_it() {
    let place = Workplace::new();
    for folder in ["sites/a", "sites/b"] {
        place.folder(folder);
    }
    place.file(
        "sites/b/x.conf",
        "connections { b { remote_addrs = b.example\n local { auth = eap\n eap_id = bob\n } } }\n",
    );
    place.file(
        "swanctl.conf",
        "connections {\n a : t {\n remote_addrs = a.example\n rekey_time =\n local { auth = psk\n }\n children {\n one { remote_ts = 0.0.0.0/0, 10.0.0.0/8\n\
        esp_proposals = aes256gcm16\n }\n two { esp_proposals = aes128gcm16,aes256gcm16\n }\n }\n }\n}\nt {\n rekey_time = 1h\n dpd_delay = 9s\n}\ninclude sites/*/*.conf\n",
    );
    let text = place.imported("swanctl.conf").text(None);
    let lines = [
        "remote_ts = [\"0.0.0.0/0\", \"10.0.0.0/8\"]",
        "esp_proposals = \"aes256gcm16,aes128gcm16\"",
        "liveness_seconds = 9",
    ];
    has(&text, &lines);
    has(&text, &["[connection.b]", "user = \"bob\""]);
    assert!(!text.contains("rekey"), "{text}");
    says(&text, &["strongSwan takes whoever the authority vouches for, as no `id` of the gateway is said"]);
}

#[test]
fn what_cannot_be_understood_is_refused_in_a_line_each() {
    let place = Workplace::new();
    for (name, text, said) in [
        (
            "swanctl.conf",
            "connections {\n a {\n  x = \"y\n }\n}\n",
            "swanctl.conf line 3: a quotation mark is not closed",
        ),
        (
            "swanctl.conf",
            "connections {\n a {\n",
            "swanctl.conf: the section `connections.a` is not closed; hint: add `}`",
        ),
        ("swanctl.conf", "connections {\n}\n}\n", "swanctl.conf line 3: this brace closes nothing"),
        ("swanctl.conf", "connections {\n include swanctl.conf\n}\n", "files include each other too deeply"),
        ("swanctl.conf", "connections {\n}\n", "there is no connection in it that could be taken over"),
        ("ipsec.conf", "conn a\n  also=b\nconn b\n  also=a\n", "sections take each other over in a circle"),
        ("ipsec.conf", "conn a\n  also=c\n  right=x\n", "ipsec.conf line 2: there is no `conn c`"),
        ("ipsec.conf", "conn a\nright=x\n", "ipsec.conf line 2: this is neither a section nor a key of one"),
        ("x.sswan", "{ \"type\": \"ikev2-cert-eap\", \"remote\": { \"addr\": \"a\" } }", "RFC 4739"),
        ("x.toml", "", "this is a TOML file of connections already"),
        ("x.txt", "", "nothing is known by this extension"),
        ("ipsec.conf", "conn a\n  right=\"x\n  left=y\n", "ipsec.conf line 2: a quotation mark is not closed"),
        ("ipsec.conf", "conn a b\n  right=x\n", "ipsec.conf line 1: this is neither a section nor a key of one"),
        (
            "swanctl.conf",
            "connections {\n a {\n remote_addrs = 10.0.0.0/8\n }\n}\n",
            "no connection in it that could be taken over; hint: swanctl.conf line 3: `remote address`",
        ),
        ("wg0.conf", "[Interface]\nPrivateKey = x\n", "this is a configuration of WireGuard"),
        ("x.sswan", "\u{0}{\u{0}", "it is UTF-16; hint: save it as UTF-8"),
        ("missing.ovpn", "", ""),
    ] {
        if name != "missing.ovpn" {
            place.file(name, text);
        }
        let refused = place.refused_import(name);
        assert!(refused.contains(said) && !refused.is_empty(), "{said}\n{refused}");
    }
    place.file("two.conf", "connections { a { remote_addrs = a\n local { auth = psk\n } }\n b { remote_addrs = b\n local { auth = psk\n } } }\n");
    let Err(problems) = Import::read(&place.0.join("two.conf"), Some("x")) else { panic!("one name for two") };
    assert!(problems.sorted()[0].to_string().contains("several connections in it: `a`, `b`"));
}

#[test]
fn a_profile_with_compression_becomes_one_without() {
    let place = Workplace::new();
    for (line, directive) in [("comp-lzo yes", "comp-lzo"), ("comp-lzo", "comp-lzo"), ("compress lzo", "compress")] {
        let place = Workplace::new();
        place.folder("profiles");
        let ca = place.text("ca.pem");
        place.file("profiles/the ca.pem", &ca);
        place.file(
            "profiles/old.ovpn",
            format!("client\ndev tun\nremote vpn.example 1194\n{line}\nca \"the ca.pem\"\nremote-cert-tls server\nauth-user-pass\n"),
        );
        let (text, files) = place.import("profiles/old.ovpn");
        assert_eq!(files, ["old-plain.ovpn"]);
        has(&text, &["profile = \"old-plain.ovpn\""]);
        says(
            &text,
            &[
                &format!("line 4: `{directive}`: LZO compression is not supported"),
                "another one, without what is not supported",
            ],
        );
        let made = place.text("out/old-plain.ovpn");
        has(&made, &["comp-lzo no", &format!("ca \"{}\"", place.path("profiles/the ca.pem")), "auth-user-pass"]);
        assert!(!made.lines().any(|made| made == line), "{made}");
    }
    // What is wrong besides is no better for it; and a certificate is no place for directives.
    place.file("other.ovpn", "client\ndev tap\nremote vpn.example 1194\ncomp-lzo yes\n<ca>\ncomp-lzo yes\n</ca>\n");
    let refused = place.refused_import("other.ovpn");
    assert!(refused.contains("line 2: `dev`") && refused.contains("line 4: `comp-lzo`"), "{refused}");
    place.file(
        "nobody.ovpn",
        format!("client\ndev tun\nremote a 1194\ncomp-lzo\n<ca>\n{}</ca>\n", place.text("ca.pem")),
    );
    let refused = place.refused_import("nobody.ovpn");
    assert!(refused.contains("line 4: `comp-lzo`") && refused.lines().count() == 2, "{refused}");
}

#[test]
fn what_a_profile_can_do_without_is_left_out_with_a_comment() {
    let place = Workplace::new();
    place.file(
        "old.ovpn",
        format!(
            "client\ndev tun\nremote vpn.example 1194\nfoo s3cret\nfragment 1300\nhttp-proxy 192.0.2.1 80\n<bar>\nca x\n</bar>\n\
             comp-lzo\n<ca>\n{}</ca>\nremote-cert-tls server\nauth-user-pass\n",
            place.text("ca.pem")
        ),
    );
    let (text, files) = place.import("old.ovpn");
    assert_eq!(files, ["old-plain.ovpn"]);
    says(&text, &["line 4: `foo`: unknown", "line 5: `fragment`: fragments are not supported", "line 10: `comp-lzo`"]);
    says(&text, &["line 6: `http-proxy`: proxies are not supported", "line 7: `bar`: unknown", "made is without it"]);
    let made = place.text("out/old-plain.ovpn");
    has(
        &made,
        &[
            "# left out: foo",
            "# left out: fragment",
            "# left out: http-proxy",
            "# left out: bar",
            "comp-lzo no",
            "</ca>",
        ],
    );
    assert!(!made.contains("s3cret") && !made.contains("</bar>") && !text.contains("s3cret"), "{made}{text}");
    // Who the server must be is not left out.
    place.file(
        "strict.ovpn",
        format!(
            "client\ndev tun\nremote a 1194\nverify-x509-name ou=x name ou\nfragment 1300\n<ca>\n{}</ca>\nauth-user-pass\n",
            place.text("ca.pem")
        ),
    );
    let refused = place.refused_import("strict.ovpn");
    assert!(refused.contains("line 4: `verify-x509-name`") && refused.contains("line 5: `fragment`"), "{refused}");
}

#[test]
fn of_the_times_of_several_children_the_shortest_is_taken() {
    let place = Workplace::new();
    let child = |name: &str, keys: &str| format!("{name} {{\n remote_ts = 10.{}.0.0/16\n{keys} }}\n", name.len());
    let conf = |children: String| {
        format!(
            "connections {{\noffice {{\nremote_addrs = vpn.example\nlocal {{\nauth = psk\n}}\nremote {{\nauth = psk\nid = x\n}}\n\
            children {{\n{children}}}\n}}\n}}\nsecrets {{\nike {{\nsecret = \"s\"\n}}\n}}\n"
        )
    };
    let rekey = |time: &str| format!("rekey_time = {time}\n");
    for (times, taken) in [(["20m", "1h", "40m"], 1200), (["1h", "20m", "0"], 1200), (["0", "0", "2h"], 7200)] {
        let place = Workplace::new();
        let children = ["a", "bb", "ccc"].iter().zip(times).map(|(name, time)| child(name, &rekey(time)));
        place.file("swanctl.conf", conf(children.collect()));
        let (text, _) = place.import("swanctl.conf");
        has(&text, &[&format!("child_rekey_seconds = {taken}")]);
        says(&text, &["`rekey_time`: another child has another one, and one is made: "]);
    }
    let children = child("a", "start_action = start\nreplay_window = 512\n")
        + &child("bb", "start_action = none\nreplay_window = 64\n");
    place.file("swanctl.conf", conf(children));
    let (text, _) = place.import("swanctl.conf");
    has(&text, &["autostart = true", "replay_window = 512"]);
}

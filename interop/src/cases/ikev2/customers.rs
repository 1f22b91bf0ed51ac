//! The customers' own gateway: `ipsec.conf`, `ipsec.secrets` and certificates as their documentation has them.

use anyhow::{Result, ensure};

use super::{Case, case};
use crate::{
    ike::{
        charon::Charon,
        pki::{CUSTOMERS_ADDRESS, CUSTOMERS_PASSWORD},
        session::IkeSession,
        setup::IkeClient,
    },
    needs::Need,
    net::Place,
    process::run,
    rig::Rig,
    tools::serve::HELLO,
};

/// `/etc/ipsec.conf`, byte for byte (facts, servers §2.1).
const IPSEC_CONF: &str = include_str!("../../../testdata/customers-ipsec.conf");
/// `/etc/ipsec.secrets`.
const IPSEC_SECRETS: &str = ": RSA \"server-key.pem\"\nmyuser : EAP \"mypassword\"\n";
/// Where their recipe copies what it made.
const FILES: [(&str, &str); 3] = [
    ("customers-ca.crt", "cacerts/ca-cert.pem"),
    ("customers-server.crt", "certs/server-cert.pem"),
    ("customers-server.key", "private/server-key.pem"),
];

pub(super) fn cases() -> Vec<Case> {
    let customers = |name, run: fn(&Rig) -> Result<()>| case(name, run).takes(4).needs(Need::Curl);
    vec![
        customers("customers_ipsec_conf", mschapv2),
        customers("customers_eap_tls", |rig| eap_tls(rig, Key::Files)),
        customers("customers_eap_tls_p12", |rig| eap_tls(rig, Key::Container("customers-client.p12"))),
        customers("customers_eap_tls_p12_rc2", |rig| eap_tls(rig, Key::Container("customers-client-rc2.p12"))),
    ]
}

/// What the issue is about: `curl 127.0.0.1:33000`, with what the customers' form asks for and nothing else.
fn mschapv2(rig: &Rig) -> Result<()> {
    let client =
        client().set("eap", "[\"mschapv2\"]").text("user", "myuser").secret("password", "mypassword").reference(
            |charon| {
                charon
                    .conn("local.auth", "eap-mschapv2")
                    .conn("local.id", "myuser")
                    .secret("eap-my.id", "myuser")
                    .secret("eap-my.secret", "mypassword")
            },
        );
    let session = open(rig, IPSEC_CONF, &FILES, &client)?;
    session.gateway.expect("EAP method EAP_MSCHAPV2 succeeded, MSK established")?;
    session.close()
}

/// How the user keeps key and certificate.
enum Key {
    Files,
    Container(&'static str),
}

/// The second part of their recipe, in the form that works (facts, servers §2.1, faults 1 and 2).
fn eap_tls(rig: &Rig, key: Key) -> Result<()> {
    let conf = IPSEC_CONF.replace("rightauth=eap-mschapv2\n", "rightauth=eap-tls\n");
    ensure!(conf != IPSEC_CONF, "the customers' file has another rightauth");
    let files: Vec<_> = FILES.into_iter().chain([("customers-tls-ca.crt", "cacerts/tls-ca-cert.pem")]).collect();
    let client = client().set("eap", "[\"tls\"]").text("user", "client").reference(|charon| {
        charon
            .certificate("customers-client")
            .conn("local.auth", "eap-tls")
            .conn("local.id", "client")
            .file("x509ca", "customers-tls-ca.crt")
    });
    let client = match key {
        Key::Files => client.text("certificate", "@PKI/customers-client.crt").text("key", "@PKI/customers-client.key"),
        Key::Container(name) => client.text("pkcs12", &format!("@PKI/{name}")).secret("passphrase", CUSTOMERS_PASSWORD),
    };
    let session = open(rig, &conf, &files, &client)?;
    session.gateway.expect("EAP method EAP_TLS succeeded, MSK established")?;
    session.close()
}

/// Their address and CA; the identity expected is the address, as the only name in the certificate.
fn client() -> IkeClient {
    IkeClient::new()
        .set("remotes", &format!("[{CUSTOMERS_ADDRESS:?}]"))
        .text("auth", "eap")
        .set("ca", "[\"@PKI/customers-ca.crt\"]")
        .reference(|charon| {
            charon
                .conn("remote_addrs", CUSTOMERS_ADDRESS)
                .conn("remote.id", CUSTOMERS_ADDRESS)
                .conn("remote.auth", "pubkey")
                .file("x509ca", "customers-ca.crt")
        })
}

/// The tunnel, and `curl` through it.
fn open<'a>(rig: &'a Rig, conf: &str, files: &[(&str, &str)], client: &IkeClient) -> Result<IkeSession<'a>> {
    rig.net.change(Place::Gateway, &format!("addr add {CUSTOMERS_ADDRESS}/32 dev client\n"))?;
    rig.net.change(Place::Client, &format!("route add {CUSTOMERS_ADDRESS}/32 dev eth0\n"))?;
    let gateway = || Charon::start_customers(rig, conf, IPSEC_SECRETS, files);
    let mut session = IkeSession::open_with(rig, gateway, client)?;
    let mut curl = rig.net.command(Place::Client, "curl");
    let said = run(curl.args(["--silent", "--show-error", "--max-time", "20", &session.client.web().to_string()]))?;
    ensure!(said == HELLO, "curl printed {said:?}");
    session.exchange()?;
    session.client.expect_event("tunnel up", &[("address", "10.10.10.1/32")])?;
    Ok(session)
}

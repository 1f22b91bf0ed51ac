//! EAP against FreeRADIUS behind the gateway, and against strongSwan's own TLS: what passes, what is refused, and how long
//! it holds.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Case, case,
    paced::Transfer,
    passes,
    refusals::{NO_AGREEMENT, OUR_AUTHENTICATION, PEER_AUTHENTICATION, refused},
};
use crate::{
    ike::{
        charon::GATEWAY_ID,
        radius::{self, FreeRadius, FreeRadiusConfig},
        session::IkeSession,
        setup::{IkeClient, PASSWORD, Setup, USER},
    },
    needs::Need,
    rig::Rig,
};

/// The RADIUS server's name in its certificate.
const RADIUS_NAME: &str = "radius.example.org";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("radius_nak", nak),
        case("radius_tls12_at_most", tls12_at_most),
        case("radius_framed_address", framed_address),
        case("radius_session_timeout", session_timeout).takes(40).paced(),
        case("radius_session_timeout_and_rekey", session_timeout_and_rekey).takes(40).paced(),
        case("radius_session_timeout_short", session_timeout_short).takes(25).paced(),
        case("radius_wrong_password", wrong_password),
        case("radius_wrong_password_told", wrong_password_told),
        case("radius_unknown_user", unknown_user),
        case("radius_unknown_client", unknown_client),
        case("radius_wrong_ca", |rig| wrong_server(rig, "other-ca.crt", RADIUS_NAME, "CA")),
        case("radius_wrong_name", |rig| wrong_server(rig, "ca.crt", "other.example.org", "other.example.org")),
    ];
    for (version, suffix) in [("1.2", "tls12"), ("1.3", "tls13")] {
        cases.push(case(&format!("radius_eap_tls_{suffix}"), move |rig| eap_tls(rig, version)));
        for inner in ["pap", "mschapv2", "eap-md5", "eap-mschapv2"] {
            let name = format!("radius_ttls_{}_{suffix}", inner.replace('-', "_"));
            cases.push(case(&name, move |rig| ttls(rig, inner, version)));
            let name = format!("radius_ttls_{}_{suffix}_wrong_password", inner.replace('-', "_"));
            cases.push(case(&name, move |rig| ttls_wrong_password(rig, inner, version)));
        }
    }
    let mut cases: Vec<Case> = cases.into_iter().map(|case| case.needs(Need::FreeRadius)).collect();
    cases.push(case("eap_ttls", own_ttls));
    cases.push(case("eap_tls13_unprotected", own_tls13));
    cases.push(case("eap_tls13_not_wanted", own_tls12));
    cases.push(case("eap_no_common_method", no_common_method));
    cases
}

/// The gateway leaves EAP to FreeRADIUS; the client knows these methods.
fn behind_radius(methods: &str) -> Setup {
    let mut setup = Setup::eap("eap-mschapv2").client(|client| client.set("eap", methods));
    setup.gateway = radius::gateway();
    setup
}

/// A FreeRADIUS that knows the user.
fn config(method: &'static str, replies: &[&str]) -> FreeRadiusConfig {
    let mut config = FreeRadiusConfig::new(method);
    config.users = radius::user(USER, PASSWORD, replies);
    config
}

/// What the client expects of the RADIUS server.
fn server(client: IkeClient, ca: &str, name: &str) -> IkeClient {
    client.set("eap_tls", &format!("{{ ca = [\"@PKI/{ca}\"], server_name = {name:?} }}"))
}

/// The user name only travels inside.
fn ttls_setup(inner: &str) -> Setup {
    behind_radius("[\"ttls\"]").client(|client| {
        let client = server(client, "ca.crt", RADIUS_NAME);
        client.set("ttls", &format!("{{ inner = {inner:?}, anonymous_identity = \"nobody@example.org\" }}"))
    })
}

fn ttls_config(inner: &str, version: &'static str) -> FreeRadiusConfig {
    let inner = if inner == "eap-md5" { "md5" } else { "mschapv2" };
    FreeRadiusConfig { inner_eap_type: inner, tls_versions: (version, version), ..config("ttls", &[]) }
}

/// The reference can only do what `rig` has a setting for.
fn adit_only(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "strongSwan's client cannot do this; this case needs adit");
    Ok(())
}

fn open<'a>(rig: &'a Rig, config: &FreeRadiusConfig, setup: &Setup) -> Result<(FreeRadius, IkeSession<'a>)> {
    let radius = FreeRadius::start(rig, config)?;
    let session = IkeSession::open(rig, setup)?;
    ensure!(radius.logins() == 1, "FreeRADIUS has let {} in", radius.logins());
    Ok((radius, session))
}

fn passes_radius(rig: &Rig, config: &FreeRadiusConfig, setup: &Setup) -> Result<FreeRadius> {
    let (radius, mut session) = open(rig, config, setup)?;
    session.exchange()?;
    session.close()?;
    Ok(radius)
}

/// Refused by the RADIUS server, or by the client when it sees that one.
fn refused_radius(rig: &Rig, config: &FreeRadiusConfig, setup: &Setup, code: i32, text: &str) -> Result<FreeRadius> {
    let radius = FreeRadius::start(rig, config)?;
    refused(rig, setup, code, text)?;
    ensure!(radius.logins() == 0, "FreeRADIUS has let somebody in");
    Ok(radius)
}

/// Another method is offered than the client has.
fn nak(rig: &Rig) -> Result<()> {
    let (_radius, mut session) = open(rig, &config("md5", &[]), &behind_radius("[\"mschapv2\"]"))?;
    session.gateway.expect("EAP/REQ/MD5")?;
    session.gateway.expect("EAP/RES/NAK")?;
    session.exchange()?;
    session.close()
}

/// strongSwan offers nothing else either.
fn no_common_method(rig: &Rig) -> Result<()> {
    let setup = Setup::eap("eap-md5").client(|client| client.set("eap", "[\"mschapv2\"]"));
    let gateway = refused(rig, &setup, NO_AGREEMENT, "supports no method of ours")?;
    gateway.expect("EAP/RES/NAK")
}

fn eap_tls_setup(certificate: &str) -> Setup {
    behind_radius("[\"tls\"]").client(|client| {
        server(client, "ca.crt", RADIUS_NAME)
            .without("password")
            .text("user", "client.example.org")
            .text("certificate", &format!("@PKI/{certificate}.crt"))
            .text("key", &format!("@PKI/{certificate}.key"))
    })
}

/// With TLS 1.3 the server has to say under its protection that all is well; FreeRADIUS does.
fn eap_tls(rig: &Rig, version: &'static str) -> Result<()> {
    adit_only(rig)?;
    let config = FreeRadiusConfig { tls_versions: (version, version), ..config("tls", &[]) };
    let radius = passes_radius(rig, &config, &eap_tls_setup("client"))?;
    radius.expect(&format!("TLS-Session-Version = \"TLS {version}\""))
}

/// The server could do more than the client wants.
fn tls12_at_most(rig: &Rig) -> Result<()> {
    adit_only(rig)?;
    let setup = eap_tls_setup("client").client(|client| {
        let words = format!("{{ ca = [\"@PKI/ca.crt\"], server_name = {RADIUS_NAME:?}, max_version = \"1.2\" }}");
        client.set("eap_tls", &words)
    });
    let config = FreeRadiusConfig { tls_versions: ("1.2", "1.3"), ..config("tls", &[]) };
    let radius = passes_radius(rig, &config, &setup)?;
    radius.expect("TLS-Session-Version = \"TLS 1.2\"")
}

/// A certificate of another CA: with TLS 1.3 the client only hears of it when it is done.
fn unknown_client(rig: &Rig) -> Result<()> {
    adit_only(rig)?;
    let config = FreeRadiusConfig { tls_versions: ("1.3", "1.3"), ..config("tls", &[]) };
    refused_radius(rig, &config, &eap_tls_setup("customers-client"), OUR_AUTHENTICATION, "refused").map(drop)
}

fn ttls(rig: &Rig, inner: &str, version: &'static str) -> Result<()> {
    adit_only(rig)?;
    let radius = passes_radius(rig, &ttls_config(inner, version), &ttls_setup(inner))?;
    radius.expect(&format!("TLS-Session-Version = \"TLS {version}\""))?;
    radius.expect("via TLS tunnel")
}

fn ttls_wrong_password(rig: &Rig, inner: &str, version: &'static str) -> Result<()> {
    adit_only(rig)?;
    let setup = ttls_setup(inner).client(|client| client.secret("password", "guess"));
    refused_radius(rig, &ttls_config(inner, version), &setup, OUR_AUTHENTICATION, "refused").map(drop)
}

fn wrong_password(rig: &Rig) -> Result<()> {
    let setup = behind_radius("[\"mschapv2\"]").client(|client| {
        client.secret("password", "guess").reference(|charon| charon.secret("eap-alice.secret", "guess"))
    });
    refused_radius(rig, &config("mschapv2", &[]), &setup, OUR_AUTHENTICATION, "refused us").map(drop)
}

/// The server says in MSCHAPv2's own words what was wrong.
fn wrong_password_told(rig: &Rig) -> Result<()> {
    let setup = behind_radius("[\"mschapv2\"]").client(|client| {
        client.secret("password", "guess").reference(|charon| charon.secret("eap-alice.secret", "guess"))
    });
    let config = FreeRadiusConfig { send_error: true, ..config("mschapv2", &[]) };
    refused_radius(rig, &config, &setup, OUR_AUTHENTICATION, "wrong user or password").map(drop)
}

fn unknown_user(rig: &Rig) -> Result<()> {
    let setup = behind_radius("[\"mschapv2\"]").client(|client| {
        client.text("user", "mallory").reference(|charon| {
            charon.conn("local.eap_id", "mallory").secret("eap-alice.id", "mallory").secret("eap-alice.secret", "guess")
        })
    });
    refused_radius(rig, &config("mschapv2", &[]), &setup, OUR_AUTHENTICATION, "refused us").map(drop)
}

/// The client sees in time that this is not the server it was told of: its user name and password stay with it.
fn wrong_server(rig: &Rig, ca: &str, name: &str, text: &str) -> Result<()> {
    adit_only(rig)?;
    let setup = ttls_setup("pap").client(|client| server(client, ca, name));
    let radius = refused_radius(rig, &ttls_config("pap", "1.3"), &setup, PEER_AUTHENTICATION, text)?;
    for secret in [USER, PASSWORD] {
        ensure!(radius.process.count(&format!("\"{secret}\"")) == 0, "the server has seen {secret:?}");
    }
    Ok(())
}

fn framed_address(rig: &Rig) -> Result<()> {
    let config = config("mschapv2", &["Framed-IP-Address = 10.10.10.77"]);
    let (_radius, mut session) = open(rig, &config, &behind_radius("[\"mschapv2\"]"))?;
    session.client.expect_event("tunnel up", &[("address", "10.10.10.77/32")])?;
    session.exchange()?;
    session.close()
}

/// The gateway lets a login last 20 seconds and would throw the client out after 25: it authenticates anew in time, beside
/// the old tunnel, and nothing is lost.
fn session_timeout(rig: &Rig) -> Result<()> {
    reauthenticates(rig, &behind_radius("[\"mschapv2\"]"))
}

/// The same while both ends change keys every few seconds.
fn session_timeout_and_rekey(rig: &Rig) -> Result<()> {
    let setup = behind_radius("[\"mschapv2\"]")
        .gateway(|gateway| gateway.child("rekey_time", "3s").child("life_time", "3600s").child("rand_time", "2s"))
        .client(|client| client.set("child_rekey_seconds", "2").set("ike_rekey_seconds", "3"));
    reauthenticates(rig, &setup)
}

fn reauthenticates(rig: &Rig, setup: &Setup) -> Result<()> {
    adit_only(rig)?;
    let config = config("mschapv2", &["Session-Timeout = 25"]);
    let (radius, session) = open(rig, &config, setup)?;
    session.gateway.expect("N(AUTH_LFT)")?;
    let transfer = Transfer { seconds: 28 };
    transfer.run(&session)?.nothing_lost()?;
    let logins = radius.logins();
    let established = session.gateway.process.count("established between");
    rig.note(&format!("{logins} logins, {established} IKE SAs"))?;
    ensure!(logins == 2 && established == 2, "{logins} logins and {established} IKE SAs instead of two");
    ensure!(session.client.events("tunnel up").len() == 1, "the tunnel was set up again");
    rig.hello(session.client.web())?;
    session.close()
}

/// More time to authenticate anew than there is: the gateway announces a lifetime of zero. The client does not run in circles
/// over it, and comes again when it is thrown out.
fn session_timeout_short(rig: &Rig) -> Result<()> {
    adit_only(rig)?;
    let config = config("mschapv2", &["Session-Timeout = 12"]);
    let setup = behind_radius("[\"mschapv2\"]").gateway(|gateway| gateway.conn("over_time", "20s"));
    let (radius, mut session) = open(rig, &config, &setup)?;
    session.gateway.expect("N(AUTH_LFT)")?;
    session.exchange()?;
    let (client, gateway) = (session.client.process.mark(), session.gateway.process.mark());
    session.gateway.process.wait_text(gateway, "deleting IKE_SA", Duration::from_secs(30))?;
    ensure!(radius.logins() == 1, "{} logins before the session was over", radius.logins());
    session.client.wait_up_again(client, Duration::from_secs(20))?;
    session.recount()?;
    session.exchange()?;
    session.close()
}

/// strongSwan's own server of EAP-TTLS does inner EAP only.
fn own_ttls(rig: &Rig) -> Result<()> {
    adit_only(rig)?;
    let setup = Setup::eap("eap-ttls")
        .gateway(|gateway| gateway.daemon("plugins.eap-ttls.phase2_method", "md5"))
        .client(|client| server(client, "ca.crt", GATEWAY_ID).set("ttls", "{ inner = \"eap-md5\" }"));
    let mut session = IkeSession::open(rig, &setup)?;
    session.gateway.expect("EAP method EAP_TTLS succeeded")?;
    session.exchange()?;
    session.close()
}

fn own_tls(max_version: &str) -> Setup {
    Setup::eap("eap-tls").gateway(|gateway| gateway.daemon("tls.version_max", "1.3")).client(|client| {
        client
            .without("password")
            .text("user", "client.example.org")
            .text("certificate", "@PKI/client.crt")
            .text("key", "@PKI/client.key")
            .set("eap_tls", &format!("{{ server_name = {GATEWAY_ID:?}, max_version = {max_version:?} }}"))
    })
}

/// strongSwan 5.9.8 speaks TLS 1.3, but knows nothing of RFC 9190: its word could be anybody's.
fn own_tls13(rig: &Rig) -> Result<()> {
    adit_only(rig)?;
    refused(rig, &own_tls("1.3"), PEER_AUTHENTICATION, "protected success").map(drop)
}

/// What the message above recommends.
fn own_tls12(rig: &Rig) -> Result<()> {
    adit_only(rig)?;
    passes(rig, &own_tls("1.2"))
}

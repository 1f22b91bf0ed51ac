//! `adit import` of strongSwan's own files, with strongSwan as the judge: it reads a file, then what `adit import` made of it, in
//! words of its own; both must be the same to it. And what was imported connects.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use toml::Table;

use super::{Case, case, passes};
use crate::{
    client::client_file,
    ike::{
        charon::{Charon, CharonConfig, GATEWAY_ID},
        settings::Settings,
        setup::{PASSWORD, PSK, Setup, USER},
    },
    net::Place,
    pki::CLIENT_UID,
    process::run,
    rig::Rig,
    running::Running,
};

/// Files beside those that are imported, which they include.
const INCLUDED: [(&str, &str); 3] = [
    ("conf.d/keys.inc", include_str!("../../../testdata/import/conf.d/keys.inc")),
    ("conf.d/branches/north/branch.conf", include_str!("../../../testdata/import/conf.d/branches/north/branch.conf")),
    ("conf.d/branches/south/branch.conf", include_str!("../../../testdata/import/conf.d/branches/south/branch.conf")),
];
/// Each, and the connections in it.
const SWANCTL: [(&str, &str, &[&str]); 3] = [
    ("office.conf", include_str!("../../../testdata/import/office.conf"), &["office"]),
    ("site.conf", include_str!("../../../testdata/import/site.conf"), &["keyed", "north", "plain", "site", "south"]),
    ("edges.conf", include_str!("../../../testdata/import/edges.conf"), &["fqdn", "names", "tabs", "tls"]),
];
const IPSEC_CONF: &str = include_str!("../../../testdata/import/ipsec.conf");
const IPSEC_SECRETS: &str = include_str!("../../../testdata/import/ipsec.secrets");
const IPSEC_INCLUDED: [(&str, &str); 1] =
    [("ipsec.d/more/certificate.conf", include_str!("../../../testdata/import/ipsec.d/more/certificate.conf"))];
const IPSEC: &[&str] = &["certificate", "mixed", "office", "psk", "site", "with blank"];
/// Where the forward of a connection that was imported is.
const WEB: &str = "127.0.0.1:33000";

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("import_swanctl_conf", swanctl_conf),
        case("import_ipsec_conf", ipsec_conf),
        case("import_swanctl_conf_connects", swanctl_connects).takes(4),
        case("import_ipsec_conf_connects", ipsec_connects).takes(4),
    ]
}

/// A connection as strongSwan understands it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Heard {
    remotes: Vec<String>,
    /// By the end, `local` or `remote`: how it proves itself, and who it is.
    ends: BTreeMap<String, BTreeSet<String>>,
    /// When keys are renewed and the other end is asked whether it lives.
    times: BTreeSet<String>,
    networks: BTreeSet<String>,
    ike: BTreeSet<String>,
    esp: BTreeSet<String>,
}

/// What `swanctl --list-conns` says, by name; proposals are not in it.
fn listed(charon: &Charon) -> Result<BTreeMap<String, Heard>> {
    let text = charon.swanctl(&["--list-conns"])?;
    let mut found: BTreeMap<String, Heard> = BTreeMap::new();
    let (mut name, mut end, mut child) = (String::new(), String::new(), false);
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let (word, rest) = line.trim().split_once(':').with_context(|| format!("a line {line:?}"))?;
        let rest = rest.trim().to_owned();
        let heard = found.entry(if depth == 0 { word.to_owned() } else { name.clone() }).or_default();
        match (depth, word) {
            (0, _) => {
                name = word.to_owned();
                // "IKEv2, no reauthentication, rekeying every 14400s, dpd delay 30s"
                heard.times.extend(rest.split(", ").skip(1).map(str::to_owned));
            }
            (2, "local") if !rest.is_empty() => {}
            (2, "remote") if !rest.is_empty() => heard.remotes.push(rest),
            (2, _) if word.ends_with(" authentication") => {
                child = false;
                let (which, class) = word.split_once(' ').context("an end")?;
                which.clone_into(&mut end);
                heard.ends.entry(end.clone()).or_default().insert(class.to_owned());
            }
            (2, _) => {
                child = true;
                heard
                    .times
                    .extend(rest.split(", ").filter(|part| part.contains("rekeying")).map(|p| format!("child {p}")));
            }
            (_, "local") if child => {}
            (_, "remote") if child => heard.networks.extend(rest.split_whitespace().map(str::to_owned)),
            _ => {
                heard.ends.entry(end.clone()).or_default().insert(format!("{word}: {rest}"));
            }
        }
    }
    Ok(found)
}

/// Has strongSwan read a file of connections, and tell what it makes of them.
fn understood(charon: &Charon, file: &Path) -> Result<BTreeMap<String, Heard>> {
    let mark = charon.process.mark();
    charon.swanctl(&["--load-conns", "--file", &file.display().to_string()])?;
    let mut found = listed(charon)?;
    // The log tells the proposals: "conn NAME:", then "proposals = ESP:…" of each child and "proposals = IKE:…".
    let mut name = String::new();
    for line in charon.process.lines(mark, |line| Some(line.text.clone())) {
        let Some((_, line)) = line.split_once("[CFG] ") else { continue };
        if let Some(conn) = line.strip_prefix(" conn ") {
            conn.trim_end_matches(':').clone_into(&mut name);
        } else if let Some((_, proposals)) = line.split_once(" proposals = ") {
            let heard = found.get_mut(&name).with_context(|| format!("no connection {name} is listed"))?;
            for proposal in proposals.split(", ") {
                let kind = if proposal.starts_with("IKE:") { &mut heard.ike } else { &mut heard.esp };
                kind.insert(proposal.to_owned());
            }
        }
    }
    Ok(found)
}

/// What `adit import` makes of a file: its connections, and the text.
fn imported(rig: &Rig, file: &Path) -> Result<(Table, String)> {
    let out = rig.dir.join(rig.process_name("imported"));
    fs::create_dir_all(&out)?;
    let out = out.join("adit.toml");
    run(Command::new(&rig.adit).arg("import").arg(file).arg("-o").arg(&out))?;
    let checked = run(Command::new(&rig.adit).arg("check").arg(&out));
    let text = fs::read_to_string(&out)?;
    checked.with_context(|| text.clone())?;
    let table: Table = text.parse()?;
    let connections = table["connection"].as_table().context("connections")?;
    Ok((connections.clone(), text))
}

/// A connection of ours in strongSwan's words. `host`: without an identity, the gateway has to be who it is called.
fn retold(connection: &Table, host: bool) -> Result<Settings> {
    let mut said = Settings::default();
    let text = |key: &str| connection.get(key).and_then(|value| value.as_str());
    let texts = |key: &str| -> Vec<&str> {
        connection
            .get(key)
            .and_then(|value| value.as_array())
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_str())
            .collect()
    };
    let remotes: Vec<_> =
        texts("remotes").into_iter().map(|remote| remote.strip_suffix(":4500").unwrap_or(remote)).collect();
    said.set("remote_addrs", &remotes.join(", "));
    let (local, remote) = match text("auth").context("auth")? {
        "psk" => ("psk".to_owned(), "psk"),
        "certificate" => ("pubkey".to_owned(), "pubkey"),
        "eap" => (texts("eap").first().map_or_else(|| "eap".to_owned(), |method| format!("eap-{method}")), "pubkey"),
        other => anyhow::bail!("auth = {other:?}"),
    };
    said.set("local.auth", &local);
    said.set("remote.auth", remote);
    let expected = text("remote_id").or_else(|| remotes.first().copied().filter(|_| host));
    for (key, value) in [
        ("local.id", text("local_id").map(quoted).as_deref()),
        ("local.eap_id", text("user").filter(|user| text("local_id") != Some(*user))),
        ("local.certs", text("certificate")),
        // `%any` is what is not said there.
        ("remote.id", expected.filter(|id| *id != "%any").map(quoted).as_deref()),
        ("proposals", text("ike_proposals")),
        ("children.all.esp_proposals", text("esp_proposals")),
    ] {
        value.into_iter().for_each(|value| said.set(key, value));
    }
    said.set("children.all.remote_ts", &texts("remote_ts").join(", "));
    for (key, ours) in [
        ("rekey_time", "ike_rekey_seconds"),
        ("dpd_delay", "liveness_seconds"),
        ("children.all.rekey_time", "child_rekey_seconds"),
    ] {
        connection
            .get(ours)
            .and_then(toml::Value::as_integer)
            .into_iter()
            .for_each(|value| said.set(key, &value.to_string()));
    }
    Ok(said)
}

/// A distinguished name as strongSwan has it: values with commas in quotation marks, where ours have a backslash before them.
fn quoted(id: &str) -> String {
    if !id.contains("\\,") {
        return id.to_owned();
    }
    let names = id.replace("\\,", "\n");
    let names = names.split(',').map(|name| match name.split_once('=') {
        Some((key, value)) if value.contains('\n') => format!("{key}=\"{}\"", value.replace('\n', ",")),
        _ => name.to_owned(),
    });
    names.collect::<Vec<_>>().join(",")
}

/// Without what `adit import` leaves out, which it says in a comment: networks with protocols, ranges; with several children, all but
/// the last time; addresses of gateways that are networks. Everything is what is asked for without a word.
fn comparable(mut heard: Heard) -> Heard {
    heard.networks.retain(|network| !network.contains(['[', '-']) && network != "dynamic");
    if heard.networks.iter().all(|network| network.ends_with("/0")) {
        heard.networks.clear();
    }
    heard.remotes.retain(|remote| !remote.contains('/'));
    heard.times.retain(|time| !time.starts_with("child "));
    heard.ends.values_mut().for_each(|end| end.retain(|line| !line.starts_with("cacerts") && line != "id: %any"));
    heard
}

fn same(name: &str, original: Heard, ours: Heard, toml: &str) -> Result<()> {
    let (original, ours) = (comparable(original), comparable(ours));
    ensure!(
        original == ours,
        "{name}: strongSwan understands\n{original:#?}\nand of what was imported\n{ours:#?}\n{toml}"
    );
    Ok(())
}

fn write(dir: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// Has strongSwan read what was imported.
fn understood_again(charon: &Charon, connections: &Table, host: bool) -> Result<BTreeMap<String, Heard>> {
    let mut text = String::new();
    for (name, connection) in connections {
        let said = retold(connection.as_table().context("a table")?, host)?;
        text.push_str(&format!("connections {{\n{} {{\n{}}}\n}}\n", name.replace(' ', "-"), said.to_text()));
    }
    let again = charon.dir().join("again.conf");
    fs::write(&again, text)?;
    understood(charon, &again)
}

fn swanctl_conf(rig: &Rig) -> Result<()> {
    let config = CharonConfig::empty().daemon("filelog.stderr.cfg", "2");
    let config = config.file("x509ca", "ca.crt").file("x509", "client.crt").file("private", "client.key");
    let charon = Charon::start(rig, Place::Gateway, &config)?;
    write(charon.dir(), &INCLUDED)?;
    let mut compared = 0;
    for (file, text, names) in SWANCTL {
        let path = charon.dir().join(file);
        write(charon.dir(), &[(file, text)])?;
        let mut original = understood(&charon, &path)?;
        ensure!(original.keys().eq(names.iter()), "strongSwan has the connections {:?}", original.keys());
        let (connections, toml) = imported(rig, &path)?;
        ensure!(connections.len() == names.len(), "{file}: the connections are others\n{toml}");
        let mut again = understood_again(&charon, &connections, false)?;
        for name in names {
            let (Some(original), Some(again)) = (original.remove(*name), again.remove(*name)) else {
                anyhow::bail!("{file}: {name} is not there\n{toml}");
            };
            same(name, original, again, &toml)?;
            compared += 1;
        }
    }
    rig.note(&format!("{compared} connections mean the same to strongSwan as before"))
}

fn ipsec_conf(rig: &Rig) -> Result<()> {
    let files =
        [("ca.crt", "cacerts/ca.crt"), ("client.crt", "certs/client.crt"), ("client.key", "private/client.key")];
    let starter = Charon::start_with_starter(rig, IPSEC_CONF, IPSEC_SECRETS, &files, &IPSEC_INCLUDED)?;
    for name in IPSEC {
        starter.wait(&format!("added configuration '{name}'"), Duration::from_secs(20))?;
    }
    let mut original = listed(&starter)?;
    ensure!(original.keys().eq(IPSEC.iter()), "strongSwan has the connections {:?}", original.keys());
    // What it lists has no proposals, but its log has: "conn NAME", then "  ike=…" and "  esp=…" as in the file.
    let mut proposals: BTreeMap<(String, &str), String> = BTreeMap::new();
    let mut name = String::new();
    for line in starter.process.lines(0, |line| Some(line.text.clone())) {
        let Some((_, line)) = line.split_once("[CFG] ") else { continue };
        if let Some(conn) = line.strip_prefix("conn ") {
            conn.clone_into(&mut name);
        }
        for key in ["ike", "esp"] {
            if let Some(value) = line.strip_prefix("  ").and_then(|line| line.strip_prefix(key)?.strip_prefix('=')) {
                proposals.insert((name.clone(), key), value.replace(' ', ""));
            }
        }
    }
    let (connections, toml) = imported(rig, &starter.dir().join("ipsec.conf"))?;
    ensure!(connections.len() == IPSEC.len(), "the connections are others\n{toml}");
    let config = CharonConfig::empty().daemon("filelog.stderr.cfg", "2").file("x509ca", "ca.crt");
    let judge = Charon::start(rig, Place::Client, &config)?;
    let mut again = understood_again(&judge, &connections, true)?;
    for name in IPSEC {
        for (theirs, ours) in [("ike", "ike_proposals"), ("esp", "esp_proposals")] {
            // `!`: these and no others.
            let wanted = proposals.get(&((*name).to_owned(), theirs)).map(|value| match value.strip_suffix('!') {
                Some(strict) => strict.to_owned(),
                None => format!("{value},default"),
            });
            let found = connections[*name].get(ours).and_then(|value| value.as_str()).map(str::to_owned);
            ensure!(wanted == found, "{name}: {wanted:?} has become {found:?}\n{toml}");
        }
        let (Some(mut original), Some(mut ours)) = (original.remove(*name), again.remove(&name.replace(' ', "-")))
        else {
            anyhow::bail!("{name} is not there\n{toml}");
        };
        for heard in [&mut original, &mut ours] {
            // It counts margins off, and lists no times of liveness; proposals were compared.
            heard.times.clear();
            heard.ike.clear();
            heard.esp.clear();
        }
        same(name, original, ours, &toml)?;
    }
    rig.note(&format!("{} connections mean the same to strongSwan as before", IPSEC.len()))
}

/// A folder of the client's own, with the authority of the gateway where strongSwan has it.
fn folder(rig: &Rig, authorities: &str) -> Result<std::path::PathBuf> {
    let dir = rig.dir.join("etc");
    fs::create_dir_all(dir.join(authorities))?;
    fs::copy(rig.pki.ike("ca.crt"), dir.join(authorities).join("ca.crt"))?;
    std::os::unix::fs::chown(&dir, Some(CLIENT_UID), Some(CLIENT_UID))?;
    Ok(dir)
}

/// Imports as the client's user, who alone can read what was made of secrets.
fn import(rig: &Rig, dir: &Path, file: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = client_file(&dir.join(file), text)?;
    let out = dir.join("adit.toml");
    run(crate::client::unprivileged(rig, false).arg(&rig.adit).arg("import").arg(path).arg("-o").arg(&out))?;
    Ok(out)
}

/// By `adit forward`, with traffic both ways.
fn swanctl_connects(rig: &Rig) -> Result<()> {
    ensure!(!rig.reference, "this case needs adit");
    let dir = folder(rig, "x509ca")?;
    let text = format!(
        "connections {{\n  office : t.ours {{\n    remote_addrs = 203.0.113.1\n    local {{\n      auth = eap-mschapv2\n      eap_id = {USER}\n    }}\n    \
         remote {{\n      id = {GATEWAY_ID}\n      cacerts = ca.crt\n    }}\n    children {{\n      net {{ remote_ts = 0.0.0.0/0\n      }}\n    }}\n  }}\n}}\n\
         t {{\n  ours {{\n    vips = 0.0.0.0\n    proposals = aes256-sha256-ecp256\n  }}\n}}\nsecrets {{\n  eap-a {{\n    id = {USER}\n    secret = \"{PASSWORD}\"\n  }}\n}}\n"
    );
    let file = import(rig, &dir, "swanctl.conf", &text)?.display().to_string();
    let setup = Setup::eap("eap-mschapv2").client(|mut client| {
        client.instead = Some(vec!["--config".to_owned(), file]);
        client
    });
    passes(rig, &setup)
}

/// By `adit run`, to which a forward was added.
fn ipsec_connects(rig: &Rig) -> Result<()> {
    let dir = folder(rig, "ipsec.d/cacerts")?;
    client_file(&dir.join("ipsec.secrets"), &format!("client@example.org {GATEWAY_ID} : PSK \"{PSK}\"\n"))?;
    let text = format!(
        "conn %default\n\tkeyexchange=ikev2\n\tike=aes256gcm16-prfsha384-ecp384!\n\nconn office\n\tright=203.0.113.1\n\trightid=@{GATEWAY_ID}\n\
         \trightsubnet=0.0.0.0/0\n\tleftid=client@example.org\n\tleftsourceip=%config\n\tauthby=secret\n\tauto=start\n"
    );
    let made = fs::read_to_string(import(rig, &dir, "ipsec.conf", &text)?)?;
    let secret = dir.join("office-psk.txt").display().to_string();
    let made = made.replace("\"office-psk.txt\"", &format!("{secret:?}"));
    let forward = format!("[[connection.office.forward]]\nlisten = {WEB:?}\nto = \"192.168.100.30:8080\"\n");
    let _lan = rig.start_lan()?;
    rig.prove_unreachable()?;
    let gateway = Charon::start(rig, Place::Gateway, &Setup::psk().gateway)?;
    let running = Running::start(rig, &format!("{made}\n{forward}"))?;
    running.wait_state(rig, "office", "connected", Duration::from_secs(30))?;
    rig.hello(WEB.parse()?)?;
    rig.download(WEB.parse()?, 1 << 20)?;
    gateway.expect("selected proposal: IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384")?;
    let counters = gateway.counters()?;
    ensure!(counters.sas == 1 && counters.sent >= 1 << 20, "strongSwan has {counters:?}");
    running.terminate(Duration::from_secs(30))
}

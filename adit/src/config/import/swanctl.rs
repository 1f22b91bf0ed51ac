//! `swanctl.conf`: connections, their ends and children, and secrets.

use std::path::Path;

use super::{
    Import, Value,
    dirs::Store,
    ike::{Connection, Credential, CredentialKind, End, Said, flag, is_anybody, seconds, secret},
    settings::{self, Key, Section},
};
use crate::config::Problems;

pub(super) fn import(path: &Path, bytes: &[u8], import: &mut Import, problems: &mut Problems) -> Option<()> {
    let root = settings::load(path, bytes, problems)?;
    let store = Store::of_swanctl(path);
    let credentials = root.section("secrets").map_or_else(Vec::new, |section| credentials(section, import));
    let authorities = root.section("authorities").map_or_else(Vec::new, |section| authorities(section, import));
    for (name, section) in &root.sections {
        match name.as_str() {
            "connections" | "secrets" | "authorities" => {}
            "pools" => {
                for (name, pool) in &section.sections {
                    let place = pool.keys.first().map_or("swanctl.conf", |key| key.place.as_str());
                    import.lose(
                        place,
                        format_args!("pools.{name}"),
                        "addresses are given by the gateway; `adit serve` is one",
                    );
                }
            }
            // Templates that others refer to.
            _ => {}
        }
    }
    for key in &root.keys {
        import.lose(&key.place, &key.name, "a key outside of every section");
    }
    for name in ["connections", "secrets", "authorities", "pools"] {
        for key in root.section(name).map_or(&[][..], |section| &section.keys) {
            import.lose(&key.place, format_args!("{name}.{}", key.name), "there are sections in this one, and no keys");
        }
    }
    for (name, section) in root.section("connections").map_or(&[][..], |section| &section.sections) {
        connection(name, section, &authorities, import)
            .into_iter()
            .for_each(|made| made.finish(&store, &credentials, import));
    }
    Some(())
}

fn said(key: &Key) -> Said {
    Said { place: key.place.clone(), key: key.name.clone(), value: key.value.clone() }
}

fn list(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty())
}

fn connection(name: &str, section: &Section, authorities: &[String], import: &mut Import) -> Option<Connection> {
    let place = section.keys.first().map_or_else(|| "swanctl.conf".to_owned(), |key| key.place.clone());
    if section.value("version") == Some("1") {
        import.lose(&place, format_args!("connections.{name}"), "this is IKEv1, which is not supported");
        return None;
    }
    let mut made = Connection { name: name.to_owned(), place, any_identity: true, ..Connection::default() };
    let mut vips = false;
    for key in &section.keys {
        vips |= key.name == "vips";
        of_connection(key, &mut made, import);
    }
    if !vips {
        made.notes.push("An address is asked of the gateway (`vips`) always.".into());
    }
    let mut locals = 0;
    let mut remotes = 0;
    for (name, inner) in &section.sections {
        match name.as_str() {
            "children" => children(inner, &mut made, import),
            name if name.starts_with("local") => {
                locals += 1;
                if locals == 1 {
                    end(inner, &mut made.ours, import);
                } else {
                    let place = inner.keys.first().map_or_else(|| made.place.clone(), |key| key.place.clone());
                    import.lose(place, name, "a second proof of ours (RFC 4739) is not supported");
                }
            }
            name if name.starts_with("remote") => {
                remotes += 1;
                if remotes == 1 {
                    end(inner, &mut made.theirs, import);
                } else {
                    let place = inner.keys.first().map_or_else(|| made.place.clone(), |key| key.place.clone());
                    import.lose(place, name, "a second proof of the gateway (RFC 4739) is not supported");
                }
            }
            name => {
                let place = inner.keys.first().map_or_else(|| made.place.clone(), |key| key.place.clone());
                import.lose(place, name, "this section is not known");
            }
        }
    }
    if made.theirs.authorities.is_empty() {
        made.theirs.authorities = authorities.to_vec();
    }
    Some(made)
}

fn of_connection(key: &Key, made: &mut Connection, import: &mut Import) {
    let value = key.value.as_str();
    let lose = |import: &mut Import, why: &str| import.lose(&key.place, &key.name, why);
    match key.name.as_str() {
        "version" => {}
        "remote_addrs" => made.theirs.addresses = list(value).collect(),
        "local_addrs" => {
            made.ours.addresses = list(value).collect();
            made.ours.addresses_said = Some(said(key));
        }
        "remote_port" => match value.parse().ok().filter(|port| *port != 0) {
            Some(port) => made.port = Some(port),
            None => lose(import, "this is no port"),
        },
        "local_port" => lose(import, "any free port is taken, so that no rights are needed"),
        "proposals" => made.ike_proposals = Some(said(key)),
        "vips" => {
            if !list(value).all(|address| is_anybody(&address)) {
                lose(import, "an address is asked for, and the gateway chooses which");
            }
        }
        "mobike" | "fragmentation" => {
            let name = if key.name == "mobike" { "mobike" } else { "fragmentation" };
            match (flag(value), value) {
                (Some(flag), _) => made.keys.push((name, Value::Flag(flag))),
                (None, "force" | "accept") => {
                    made.keys.push((name, Value::Flag(true)));
                    lose(import, "messages are fragmented where both ends can");
                }
                (None, _) => lose(import, "neither yes nor no"),
            }
        }
        "dpd_delay" => match seconds(value) {
            Some(0) | None => lose(
                import,
                "whether the gateway lives is always asked, after 30 seconds of silence unless `liveness` says otherwise",
            ),
            Some(seconds) => made.keys.push(("liveness_seconds", Value::Number(seconds))),
        },
        "rekey_time" => match seconds(value) {
            Some(seconds) => made.keys.push(("ike_rekey_seconds", Value::Number(seconds))),
            None => lose(import, "this is no time"),
        },
        "reauth_time" if seconds(value) == Some(0) => {}
        "reauth_time" => lose(import, "keys are renewed without proving ourselves again"),
        "unique" => match value {
            "never" => made.keys.push(("initial_contact", Value::Flag(false))),
            _ => lose(import, "that is the gateway's matter; `initial_contact = false` leaves older sessions alone"),
        },
        "encap" if flag(value) == Some(false) => {}
        "encap" => lose(
            import,
            "NAT traversal is used where there is NAT, and always with another port than 500 (`remotes = [\"HOST:4500\"]`)",
        ),
        "aggressive" | "pull" | "dpd_timeout" => lose(import, "it is of IKEv1"),
        "keyingtries" => lose(import, "it is tried again for as long as it takes"),
        "send_cert" | "send_certreq" => lose(import, "certificates are asked for and shown where they are needed"),
        "pools" => lose(import, "addresses are given by the gateway"),
        "ppk_id" | "ppk_required" => lose(import, "post-quantum pre-shared keys (RFC 8784) are not supported"),
        "over_time" | "rand_time" => lose(import, "the times of rekeying vary by themselves"),
        name if name.starts_with("if_id") || name.starts_with("mark") || name.starts_with("set_mark") => {
            lose(import, "packets never enter the kernel, which would mark them");
        }
        name if name.starts_with("mediat") => lose(import, "mediation is not supported"),
        "dscp" => lose(import, "packets are not marked"),
        "childless" => lose(import, "the child is made together with the connection"),
        _ => lose(import, "this key is not known"),
    }
}

fn end(section: &Section, end: &mut End, import: &mut Import) {
    for key in &section.keys {
        let value = key.value.as_str();
        let lose = |import: &mut Import, why: &str| import.lose(&key.place, &key.name, why);
        match key.name.as_str() {
            "auth" => end.auth = Some(said(key)),
            "id" => end.id = Some(said(key)),
            "eap_id" => end.eap_id = Some(said(key)),
            "certs" => {
                end.certificates.extend(list(value));
                end.certificates_said = Some(said(key));
            }
            "cacerts" => {
                end.authorities.extend(list(value));
                end.authorities_said = Some(said(key));
            }
            // The place among several proofs: one is made, and the others are named.
            "round" => {}
            "revocation" => lose(
                import,
                "nothing is fetched to see what was revoked; `crl = [\"…\"]` names lists, which are then needed for every certificate",
            ),
            "aaa_id" => lose(
                import,
                "`eap_tls = { server_name = \"…\" }` says which name the server of EAP-TLS and EAP-TTLS has",
            ),
            "xauth_id" => lose(import, "it is of IKEv1"),
            "pubkeys" | "pubkey" => lose(import, "keys without a certificate are not supported"),
            "groups" | "cert_policy" | "ca_id" => {
                lose(import, "whoever the authority vouches for is accepted, by `remote_id`")
            }
            _ => lose(import, "this key is not known"),
        }
    }
    for (name, inner) in &section.sections {
        for key in &inner.keys {
            let whole = Said { key: format!("{name}.{}", key.name), ..said(key) };
            match (name.as_str(), key.name.as_str()) {
                (name, "file") if name.starts_with("cert") => {
                    end.certificates.push(key.value.clone());
                    end.certificates_said = Some(whole);
                }
                (name, "file") if name.starts_with("cacert") => {
                    end.authorities.push(key.value.clone());
                    end.authorities_said = Some(whole);
                }
                _ => import.lose(&key.place, format_args!("{name}.{}", key.name), "only files are taken over"),
            }
        }
    }
}

fn children(section: &Section, made: &mut Connection, import: &mut Import) {
    if section.sections.len() > 1 {
        made.notes.push("It has several children: one is made, for the networks of all of them.".into());
    }
    for key in &section.keys {
        import.lose(&key.place, format_args!("children.{}", key.name), "there are sections in this one, and no keys");
    }
    for (child_name, child) in &section.sections {
        for key in &child.keys {
            of_child(key, made, import);
        }
        for (name, inner) in &child.sections {
            let place = inner.keys.first().map_or_else(|| made.place.clone(), |key| key.place.clone());
            import.lose(place, format_args!("{child_name}.{name}"), "this section is not known");
        }
    }
}

fn of_child(key: &Key, made: &mut Connection, import: &mut Import) {
    let value = key.value.as_str();
    let lose = |import: &mut Import, why: &str| import.lose(&key.place, &key.name, why);
    let each = || list(value).map(|value| Said { value, ..said(key) });
    match key.name.as_str() {
        "remote_ts" => made.theirs.networks.extend(each()),
        "local_ts" => made.ours.networks.extend(each()),
        "esp_proposals" => match &mut made.esp_proposals {
            // Of another child.
            Some(known) => {
                let more = list(value).filter(|more| !list(&known.value).any(|known| known == *more));
                known.value = list(&known.value).chain(more).collect::<Vec<_>>().join(",");
            }
            None => made.esp_proposals = Some(said(key)),
        },
        "ah_proposals" => lose(import, "AH is not supported"),
        "mode" if value == "tunnel" => {}
        "mode" => lose(import, "there is tunnel mode alone"),
        // Zero is never; another child may want more often.
        "rekey_time" => match seconds(value) {
            Some(seconds) => one_number(key, "child_rekey_seconds", seconds, made, import, |one, other| {
                if one.min(other) > 0 { one.min(other) } else { one.max(other) }
            }),
            None => lose(import, "this is no time"),
        },
        "start_action" => match value {
            "start" => made.keys.push(("autostart", Value::Flag(true))),
            // One of several that is started is enough.
            "none" if made.keys.iter().any(|(known, _)| *known == "autostart") => {}
            "none" => made.keys.push(("autostart", Value::Flag(false))),
            _ => {
                made.keys.push(("autostart", Value::Flag(true)));
                lose(import, "it is connected at start, not by the first packet");
            }
        },
        "replay_window" => match value.parse::<i64>() {
            Ok(size @ 64..=65_536) => one_number(key, "replay_window", size, made, import, std::cmp::max),
            _ => lose(import, "the window has 64 to 65536 packets"),
        },
        "ipcomp" if flag(value) == Some(false) => {}
        "ipcomp" => lose(import, "packets are not compressed"),
        "dpd_action" | "close_action" => lose(import, "a connection that was lost is always brought back"),
        "updown" => lose(import, "no script is run"),
        "rekey_bytes" | "rekey_packets" | "life_time" | "life_bytes" | "life_packets" | "rand_time" | "rand_bytes"
        | "rand_packets" => {
            lose(import, "keys are renewed by time (`child_rekey_seconds`), and before their counters end");
        }
        "inactivity" => lose(import, "an idle connection stays"),
        _ => lose(import, "it is about the kernel's part, which does not exist here, or is not known"),
    }
}

/// A number that there is once, where each of several children has its own: `choose` says which of two is taken.
fn one_number(
    key: &Key,
    name: &'static str,
    number: i64,
    made: &mut Connection,
    import: &mut Import,
    choose: fn(i64, i64) -> i64,
) {
    let known = made.keys.iter_mut().find(|(known, _)| *known == name);
    let Some((_, Value::Number(known))) = known else {
        made.keys.push((name, Value::Number(number)));
        return;
    };
    if *known != number {
        *known = choose(*known, number);
        let why = format!("another child has another one, and one is made: {known} is taken of the two");
        import.lose(&key.place, &key.name, why);
    }
}

fn authorities(section: &Section, import: &mut Import) -> Vec<String> {
    let mut found = Vec::new();
    for (name, authority) in &section.sections {
        for key in &authority.keys {
            match key.name.as_str() {
                "cacert" | "file" => found.push(key.value.clone()),
                _ => import.lose(
                    &key.place,
                    format_args!("authorities.{name}.{}", key.name),
                    "nothing is fetched to see what was revoked",
                ),
            }
        }
    }
    found
}

fn credentials(section: &Section, import: &mut Import) -> Vec<Credential> {
    let mut found = Vec::new();
    for (name, inner) in &section.sections {
        let place = inner.keys.first().map_or_else(|| "swanctl.conf".to_owned(), |key| key.place.clone());
        let kind = name.trim_end_matches(|c: char| c != '-').trim_end_matches('-');
        let kind = if name.contains('-') { kind } else { name.trim_end_matches(|c: char| c.is_ascii_digit()) };
        let kind = if kind.is_empty() { name.as_str() } else { kind };
        let kind = kind.split('-').next().unwrap_or_default();
        let file = inner.value("file").unwrap_or_default().to_owned();
        let kind = match kind {
            _ if kind.starts_with("eap") || kind.starts_with("xauth") => CredentialKind::Eap,
            _ if kind.starts_with("ntlm") => CredentialKind::NtHash,
            _ if kind.starts_with("ike") => CredentialKind::Psk,
            _ if kind.starts_with("pkcs12") => CredentialKind::Pkcs12(file),
            _ if ["private", "rsa", "ecdsa", "pkcs8"].iter().any(|known| kind.starts_with(known)) => {
                CredentialKind::Key(file)
            }
            _ => {
                import.lose(&place, format_args!("secrets.{name}"), "a secret of this kind has no use here");
                continue;
            }
        };
        let mut credential = Credential { kind, ids: Vec::new(), secret: None, place };
        for key in &inner.keys {
            match key.name.as_str() {
                "secret" => {
                    credential.place.clone_from(&key.place);
                    credential.secret = Some(secret(&key.value));
                }
                "file" => {}
                id if id.starts_with("id") => credential.ids.push(key.value.clone()),
                _ => import.lose(&key.place, format_args!("secrets.{name}.{}", key.name), "this key is not known"),
            }
        }
        found.push(credential);
    }
    found
}

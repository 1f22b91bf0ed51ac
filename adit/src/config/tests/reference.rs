//! The documentation and the example have every key, and no other.

use std::{collections::BTreeMap, path::PathBuf};

use super::Workplace;
use crate::config::{
    keys,
    schema::{self, Kind},
};

/// Rewrites what the test can know by itself.
const BLESS: &str = "ADIT_BLESS";

fn tree(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Every key with its path, and what it may be.
fn every_key() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect("", keys::PROCESS, &mut found);
    // Tables of the process are headings.
    found.retain(|path, _| path.contains('.'));
    for keys in [schema::IKEV2, schema::OPENVPN, keys::CONNECTION] {
        collect("connection.NAME.", keys, &mut found);
    }
    found
}

fn collect(prefix: &str, keys: &[(&str, Kind)], found: &mut BTreeMap<String, String>) {
    for (key, kind) in keys {
        let path = format!("{prefix}{key}");
        found.insert(path.clone(), kind.describe());
        inside(&path, *kind, found);
    }
}

fn inside(path: &str, kind: Kind, found: &mut BTreeMap<String, String>) {
    match kind {
        Kind::Table(keys) | Kind::Tables(keys) | Kind::Named(keys) => collect(&format!("{path}."), keys, found),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| inside(path, *kind, found)),
        Kind::Text
        | Kind::Texts
        | Kind::Choice(_)
        | Kind::Choices(_)
        | Kind::Flag
        | Kind::Number(..)
        | Kind::Secret => {}
    }
}

/// With line breaks of Unix.
fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap().replace("\r\n", "\n")
}

#[test]
fn the_reference_has_every_key_with_what_it_may_be() {
    let path = tree("docs/configuration.md");
    let (text, known) = (read(&path), every_key());
    let (mut prefix, mut seen, mut here, mut lines) = (None, Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            // Both protocols have a user.
            seen.append(&mut here);
            let table = heading.split(['[', ']']).find(|part| !part.is_empty() && *part != "`");
            prefix = heading.starts_with("`[").then(|| format!("{}.", table.unwrap()));
        }
        let key = line.strip_prefix("| `").and_then(|rest| rest.split_once("` | "));
        match (&prefix, key) {
            (Some(prefix), Some((key, rest))) => {
                let path = format!("{prefix}{key}");
                let kind = known.get(&path).unwrap_or_else(|| panic!("there is no key `{path}`: {line}"));
                let (_, rest) = rest.split_once('|').unwrap();
                lines.push(format!("| `{key}` | {kind} |{rest}"));
                assert!(!here.contains(&path), "twice: {path}");
                here.push(path);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    seen.append(&mut here);
    let missing: Vec<_> = known.keys().filter(|path| !seen.contains(path)).collect();
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:#?}");
    let made = lines.join("\n") + "\n";
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &made).unwrap();
    } else {
        assert_eq!(text, made, "`{BLESS}=1 cargo test -p adit reference` writes what each key may be");
    }
}

#[test]
fn the_example_has_every_key_and_can_be_used() {
    let text = read(&tree("examples/adit.toml"));
    let table: toml::Table = text.parse().unwrap();
    let mut seen = Vec::new();
    for (name, value) in &table {
        match name.as_str() {
            "connection" => {
                for (_, connection) in value.as_table().unwrap() {
                    paths("connection.NAME", connection, &mut seen);
                }
            }
            name => paths(name, value, &mut seen),
        }
    }
    // Keys of gateways are those of the connection.
    let seen: Vec<_> = seen.into_iter().flat_map(|path| [path.replace(".gateway.", "."), path]).collect();
    let missing: Vec<_> = every_key().into_keys().filter(|path| !seen.contains(path)).collect();
    let repeated: Vec<_> = missing.iter().filter(|path| !path.starts_with("connection.NAME.gateway.probe.")).collect();
    assert!(repeated.is_empty(), "not in examples/adit.toml: {repeated:#?}");

    let place = Workplace::new();
    let (ca, list) = (super::read_text(&place, "ca.pem"), super::revocation_list());
    place.file("crl.pem", list);
    place.file("b.ovpn", format!("client\ndev tun\nremote vpn.example 1194\nauth-user-pass\n<ca>\n{ca}</ca>\n"));
    let mut usable = text.replace("[connection.branch]", "[connection.branch]\nautostart = false");
    // A PKCS#12 file takes other tools to make; that one is read is shown where there are such tools.
    usable = usable.replace(
        "pkcs12 = \"client.p12\"\npassphrase = { file = \"password.txt\" }",
        "certificate = \"both.pem\"\nauth = \"certificate\"",
    );
    assert_ne!(usable, text);
    let plan = place.plan(&usable);
    assert_eq!(plan.connections.len(), table["connection"].as_table().unwrap().len());
}

fn paths(path: &str, value: &toml::Value, seen: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = format!("{path}.{key}");
                paths(&path, value, seen);
                seen.push(path);
            }
        }
        toml::Value::Array(values) => values.iter().for_each(|value| paths(path, value, seen)),
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => {}
    }
}

//! A whole TOML file: its connections, and what belongs to the process.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    address,
    connection::{self, Connection},
    draft::Given,
    keys,
    problems::Problems,
    schema,
    source::Source,
};
use crate::{
    error::Error,
    plan::{ActivityPlan, ControlPlan},
};

const MAX_KIB: u64 = 1024;
const KEEP: usize = 5;
const HANDSHAKES: usize = 16;
/// Of the buffers of all connections through all tunnels: 10,000 that are small, and 500 large ones besides.
const MEMORY_MIB: usize = 512;
const DRAIN: Duration = Duration::from_secs(25);

/// What a file says.
pub(super) struct Document {
    /// In the order of the file.
    pub(super) connections: Vec<Connection>,
    pub(super) admin: Option<Given<SocketAddr>>,
    pub(super) control: ControlPlan,
    pub(super) activity: Option<ActivityPlan>,
    pub(super) handshakes: usize,
    pub(super) memory: usize,
    pub(super) drain: Duration,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ProcessTables {
    admin: AdminTable,
    control: ControlTable,
    activity: Option<ActivityTable>,
    limits: LimitsTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AdminTable {
    listen: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ControlTable {
    socket: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivityTable {
    file: Option<Spanned<PathBuf>>,
    max_kib: Option<u64>,
    keep: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    handshakes: Option<usize>,
    memory_mib: Option<usize>,
    drain_seconds: Option<u32>,
}

/// Reads the text; what it names is not looked at.
pub(super) fn document(source: &Source, problems: &mut Problems) -> Document {
    let (table, errors) = source.document();
    // Where the syntax is broken, something may only seem to be missing.
    let whole = errors.is_empty();
    errors.into_iter().for_each(|error| problems.error(error));
    let mut connections = Vec::new();
    let mut process = DeTable::new();
    let mut seen = false;
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "connection" => {
                seen = true;
                let span = value.span();
                let DeValue::Table(named) = value.into_inner() else {
                    let error = source.wrong(&span, "`connection` is no table");
                    problems.error(error.hint("write [connection.NAME]"));
                    continue;
                };
                for (name, table) in named {
                    // Two tables may stand side by side in a line.
                    let start = table.span().start;
                    let described = connection::connection(source, name.get_ref(), table, whole, problems);
                    connections.push((start, described));
                }
            }
            name if keys::PROCESS.iter().any(|(known, _)| *known == name) => {
                process.insert(key, value);
            }
            "serve" => {
                let error = source.wrong(&key.span(), "`serve` belongs to `adit serve`, `connection` to `adit run`");
                problems.error(error.hint("put it into a file of its own"));
            }
            name => {
                let error = source.wrong(&key.span(), format!("unknown table `{}`", name.escape_debug()));
                let near = schema::nearest(name, keys::PROCESS.iter().map(|(name, _)| *name).chain(["connection"]));
                let hint = match near {
                    Some("connection") => "did you mean [connection.NAME]?".to_owned(),
                    Some(near) => format!("did you mean [{near}]?"),
                    None => "connections are described in [connection.NAME]".to_owned(),
                };
                problems.error(error.hint(hint));
            }
        }
    }
    if connections.is_empty() && whole && problems.errors() == 0 {
        let error = Error::at(source.name(), "there is no connection in it");
        let hint = if seen { "name it: [connection.NAME]" } else { "connections are described in [connection.NAME]" };
        problems.error(error.hint(hint));
    }
    connections.sort_by_key(|(start, _)| *start);
    let connections = connections.into_iter().filter_map(|(_, described)| described).collect();
    finish(source, connections, process, problems)
}

fn finish(
    source: &Source,
    connections: Vec<Connection>,
    mut process: DeTable<'_>,
    problems: &mut Problems,
) -> Document {
    let activity = process.get("activity").map(Spanned::span);
    connection::check(source, &mut process, 0, keys::PROCESS, problems);
    let tables = Spanned::new(0..0, DeValue::Table(process));
    let tables: ProcessTables = problems.catch(source.deserialized(tables)).unwrap_or_default();
    let admin = tables.admin.listen.and_then(|text| {
        let text = source.given(text);
        let address = address::socket_address(&text);
        problems.catch(address).map(|address| Given::new(address, text.place))
    });
    let control = match tables.control.socket.map(|text| source.given(text)) {
        None => ControlPlan::Default,
        Some(text) if text.value == "off" => ControlPlan::Off,
        Some(text) => {
            if text.value.is_empty() {
                problems.error(text.error("the path is empty").hint("write a path, or \"off\""));
            }
            ControlPlan::At(source.beside(text.value.as_ref()))
        }
    };
    let activity = tables.activity.zip(activity).and_then(|(table, span)| {
        let Some(file) = table.file.filter(|file| !file.get_ref().as_os_str().is_empty()) else {
            if !problems.is_spoiled(span.start, "file") {
                let error = source.wrong(&span, "`activity` has no `file`");
                problems.error(error.hint("add `file = \"/var/log/adit/activity.log\"`"));
            }
            return None;
        };
        let file = source.given(file);
        let (place, file) = (file.place, source.beside(&file.value));
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| problems.looks_around() && !folder.is_dir()) {
            let warning = Error::at(&place, format!("there is no folder {} on this machine", folder.display()));
            problems.warning(warning.hint("make it, or have systemd make it (`LogsDirectory=`): `adit run` does not"));
        }
        Some(ActivityPlan {
            file,
            max_bytes: table.max_kib.unwrap_or(MAX_KIB) * 1024,
            keep: table.keep.unwrap_or(KEEP),
        })
    });
    Document {
        connections,
        admin,
        control,
        activity,
        handshakes: tables.limits.handshakes.unwrap_or(HANDSHAKES),
        memory: tables.limits.memory_mib.unwrap_or(MEMORY_MIB) << 20,
        drain: tables.limits.drain_seconds.map_or(DRAIN, |seconds| Duration::from_secs(seconds.into())),
    }
}

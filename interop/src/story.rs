//! What a connection has come through, as rows of `docs/states.md`, read from all that tells of it: `adit status --json`, the
//! metrics over the admin port, and the activity log.
//!
//! A row says where it leads from and to, and what the activity log has of it. A case tells the story of its connection row by
//! row, and each part of it must be seen in all three before the case goes on.

use std::{collections::BTreeMap, sync::OnceLock, thread, time::Duration, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{rig::Rig, running::Running};

const DOCUMENT: &str = include_str!("../../docs/states.md");
/// Between looks at what has no event here.
const LOOK: Duration = Duration::from_millis(100);

/// One row of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// Empty is any.
    from: Vec<String>,
    to: Vec<String>,
    /// What the activity log has, in this order.
    told: Vec<Told>,
}

/// An entry of the activity log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    /// One of them.
    kinds: Vec<String>,
    about: About,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// The gateway of the row; where the row is the connection's, any or none.
    Subject,
    /// The same, and its reason has this text.
    Because(String),
    /// Any gateway.
    EachGateway,
    /// No gateway.
    Connection,
    /// Another gateway, which takes over from that of the row.
    Successor,
}

/// All rows, by their ids.
pub(crate) fn rows() -> &'static BTreeMap<String, Row> {
    static ROWS: OnceLock<BTreeMap<String, Row>> = OnceLock::new();
    ROWS.get_or_init(|| DOCUMENT.lines().filter_map(Row::parse).map(|row| (row.id.clone(), row)).collect())
}

impl Row {
    /// A line `| id | from | trigger | to | … | activity |`; `None` for what is no row of the two tables of states.
    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [id, from, _, to, _, activity] = cells[..] else { return None };
        let number = id.strip_prefix(['C', 'G'])?;
        number.parse::<u32>().ok()?;
        let states = |cell: &str| {
            let names = cell.split(',').map(|name| name.trim().trim_start_matches("or ").to_owned());
            names.filter(|name| name != "any" && !name.is_empty()).collect()
        };
        let told = activity.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Told::parse).collect();
        Some(Self { id: id.to_owned(), from: states(from), to: states(to), told })
    }

    fn is_of_gateway(&self) -> bool {
        self.id.starts_with('G')
    }

    /// Whether it can follow this one.
    fn follows(&self, before: &Self) -> bool {
        self.from.is_empty() || before.to.iter().any(|state| self.from.contains(state))
    }

    /// Whether what is in this state has come through the row, and perhaps gone on by itself: whoever waits is tried again.
    fn leads_to(&self, state: &str) -> bool {
        const TRIED: [&str; 2] = ["waiting", "connecting"];
        let is_tried = |state: &str| TRIED.contains(&state);
        let to = |wanted: &String| wanted == state || self.is_of_gateway() && is_tried(wanted) && is_tried(state);
        self.to.iter().any(to)
    }
}

impl Told {
    fn parse(text: &str) -> Self {
        let (kinds, rest) = text.split_once(" (").unwrap_or((text, ""));
        let about = match rest.trim_end_matches(')') {
            "" => About::Subject,
            "of each gateway" => About::EachGateway,
            "of the connection" => About::Connection,
            "from it" => About::Successor,
            reason => About::Because(reason.to_owned()),
        };
        Self { kinds: kinds.split(" or ").map(str::to_owned).collect(), about }
    }

    fn fits(&self, entry: &Value, gateway: Option<&str>) -> bool {
        let (of, reason) = (entry["gateway"].as_str(), entry["reason"].as_str().unwrap_or_default());
        let is_subject = gateway.is_none() || of == gateway;
        let about = match &self.about {
            About::Subject => is_subject && (gateway.is_some() || reason != STANDS_BY),
            About::Because(text) => is_subject && reason.contains(text),
            About::EachGateway => of.is_some(),
            About::Connection => of.is_none(),
            About::Successor => gateway.is_some_and(|name| reason.starts_with(&format!("from {name}: "))),
        };
        about && self.kinds.iter().any(|kind| entry["kind"] == **kind)
    }
}

/// What the activity log says of a gateway that is up beside the one in use: that is no connect of the connection.
const STANDS_BY: &str = "stands by";

/// What a process tells of itself, in three ways, at about the same time.
pub(crate) struct Look {
    status: Value,
    metrics: Vec<Sample>,
    activity: Vec<Value>,
}

/// A line of the metrics.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Name and labels.
    series: String,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
        Some(Self { series: series.to_owned(), value: value.parse().ok()? })
    }

    /// Whether it has this name, and at least these labels.
    pub(crate) fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let mut parts = self.series.splitn(2, '{');
        let (own, text) = (parts.next(), format!(",{}", parts.next().unwrap_or_default().trim_end_matches('}')));
        own == Some(name) && labels.iter().all(|(label, value)| text.contains(&format!(",{label}={value:?}")))
    }

    fn label(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.series.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    }
}

impl Look {
    pub(crate) fn take(rig: &Rig, running: &Running) -> Result<Self> {
        Ok(Self { status: running.status(rig)?, metrics: running.metrics(rig)?, activity: running.activity()? })
    }

    fn connection(&self, name: &str) -> Result<&Value> {
        let all = self.status["connections"].as_array().context("no connections in the status")?;
        all.iter().find(|connection| connection["name"] == name).with_context(|| format!("no {name} in the status"))
    }

    /// The only state whose gauge is 1.
    fn state_by_metrics(&self, name: &str, labels: &[(&str, &str)]) -> Result<String> {
        let of: Vec<&Sample> = self.metrics.iter().filter(|sample| sample.is(name, labels)).collect();
        let now: Vec<&str> =
            of.iter().filter(|sample| sample.value == 1.0).filter_map(|sample| sample.label("state")).collect();
        let [state] = now[..] else { bail!("of {} gauges {name} of {labels:?} these are 1: {now:?}", of.len()) };
        Ok(state.to_owned())
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let found = self.metrics.iter().find(|sample| sample.is(name, labels));
        Ok(found.with_context(|| format!("no {name} of {labels:?} in the metrics"))?.value)
    }
}

/// The story of one connection and its gateways.
pub(crate) struct Story<'a> {
    rig: &'a Rig,
    running: &'a Running,
    name: String,
    /// The rows of the connection (no gateway), and of each gateway, in their order.
    chains: BTreeMap<Option<String>, Vec<&'static Row>>,
    /// Since the latest connect, from which they are counted.
    failovers: u64,
}

impl<'a> Story<'a> {
    /// One that has not begun yet.
    pub(crate) fn new(rig: &'a Rig, running: &'a Running, name: &str) -> Self {
        Self { rig, running, name: name.to_owned(), chains: BTreeMap::new(), failovers: 0 }
    }

    /// It goes on by these rows, `C4` or `G2:a` with the gateway's name, as all three must say within the limit.
    pub(crate) fn shows(&mut self, limit: Duration, rows: &str) -> Result<()> {
        self.goes_on(rows)?;
        let deadline = Instant::now() + limit;
        loop {
            // The socket may not be there yet.
            let agreed = Look::take(self.rig, self.running).and_then(|look| self.check(&look));
            let Err(error) = agreed else { break };
            ensure!(self.running.process.is_running(), "adit has ended, and {error:#}");
            if Instant::now() > deadline {
                return Err(error.context(format!("{} after {rows:?}, for {limit:?}", self.name)));
            }
            thread::sleep(LOOK);
        }
        self.shown(rows)
    }

    /// It has ended by these rows, with the process or with the connection: nobody is left to be asked, but the activity log is.
    pub(crate) fn ends(&mut self, rows: &str) -> Result<()> {
        self.goes_on(rows)?;
        self.check_activity(&self.running.activity()?).with_context(|| format!("{} after {rows:?}", self.name))?;
        self.shown(rows)
    }

    /// A fail-over without a row: the other gateway was in use before, too. The next rows show it.
    pub(crate) fn fails_over(&mut self) {
        self.failovers += 1;
    }

    /// All of them have gone on by these rows, by one look at their process.
    pub(crate) fn all_show(stories: &mut [Self], look: &Look, rows: &str) -> Result<()> {
        for story in stories {
            story.goes_on(rows)?;
            story.check(look).with_context(|| format!("{} after {rows:?}", story.name))?;
            story.shown(rows)?;
        }
        Ok(())
    }

    fn check(&self, look: &Look) -> Result<()> {
        let connection = look.connection(&self.name)?;
        for (gateway, chain) in &self.chains {
            let Some(last) = chain.last() else { continue };
            match gateway {
                None => self.check_connection(look, connection, last),
                Some(gateway) => self.check_gateway(look, connection, gateway, last),
            }
            .with_context(|| format!("row {} ({:?} to {:?})", last.id, last.from, last.to))?;
        }
        let by_metrics = look.value("vpn_failovers_total", &[("connection", &self.name)])?;
        ensure!(
            connection["failovers"] == self.failovers && by_metrics == self.failovers as f64,
            "{} fail-overs (row {TAKEN_OVER}), but {} in the status and {by_metrics} in the metrics",
            self.failovers,
            connection["failovers"]
        );
        self.check_activity(&look.activity)
    }

    fn check_connection(&self, look: &Look, connection: &Value, last: &Row) -> Result<()> {
        let status = connection["state"].as_str().context("the connection has no state in the status")?;
        ensure!(last.leads_to(status), "the status says that {} is {status}", self.name);
        let metrics = look.state_by_metrics("vpn_connection_state", &[("connection", &self.name)])?;
        ensure!(last.leads_to(&metrics), "the metrics say that {} is {metrics}", self.name);
        Ok(())
    }

    fn check_gateway(&self, look: &Look, connection: &Value, gateway: &str, last: &Row) -> Result<()> {
        let gateways = connection["gateways"].as_array().context("no gateways in the status")?;
        let found = gateways.iter().find(|found| found["name"] == gateway);
        let found = found.with_context(|| format!("no gateway {gateway} in the status"))?;
        let status = found["state"].as_str().context("the gateway has no state in the status")?;
        ensure!(last.leads_to(status), "the status says that gateway {gateway} is {status}");
        let labels = [("connection", self.name.as_str()), ("tunnel", gateway)];
        let metrics = look.state_by_metrics("vpn_tunnel_state", &labels)?;
        ensure!(last.leads_to(&metrics), "the metrics say that gateway {gateway} is {metrics}");
        let up = look.value("vpn_tunnel_up", &labels)?;
        let is_up = ["active", "standby", "draining"].contains(&metrics.as_str());
        ensure!((up == 1.0) == is_up, "gateway {gateway} is {metrics}, but vpn_tunnel_up is {up}");
        let active = look.value("vpn_active_server", &[("connection", &self.name), ("server", gateway)])?;
        ensure!(
            (active == 1.0) == (metrics == "active"),
            "gateway {gateway} is {metrics}, but vpn_active_server {active}"
        );
        Ok(())
    }

    /// Each chain must be in the activity log, in its order.
    fn check_activity(&self, all: &[Value]) -> Result<()> {
        for (gateway, chain) in &self.chains {
            let mut entries = all.iter().filter(|entry| entry["connection"] == *self.name);
            for row in chain {
                for told in &row.told {
                    let found = entries.any(|entry| told.fits(entry, gateway.as_deref()));
                    ensure!(
                        found,
                        "row {} of {gateway:?}: the activity log has no {told:?} where it belongs: {all:?}",
                        row.id
                    );
                }
            }
        }
        Ok(())
    }

    fn goes_on(&mut self, rows: &str) -> Result<()> {
        for (row, gateway) in parse(rows)? {
            let chain = self.chains.entry(gateway.clone()).or_default();
            if let Some(before) = chain.last() {
                ensure!(row.follows(before), "row {} cannot follow {} ({gateway:?})", row.id, before.id);
            }
            chain.push(row);
            match row.id.as_str() {
                TAKEN_OVER => self.failovers += 1,
                id if BEGINS_ANEW.contains(&id) => self.failovers = 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn shown(&self, rows: &str) -> Result<()> {
        for (row, _) in parse(rows)? {
            self.rig.shows_row(&row.id);
        }
        Ok(())
    }
}

/// `failovers` counts it.
const TAKEN_OVER: &str = "G8";
/// Nothing is counted of what was before.
const BEGINS_ANEW: [&str; 5] = ["C1", "C2", "C3", "C20", "C21"];

/// `C4 G2:a`: rows, with the gateways of those that are a gateway's.
fn parse(text: &str) -> Result<Vec<(&'static Row, Option<String>)>> {
    let word = |word: &str| {
        let (id, gateway) = match word.split_once(':') {
            Some((id, gateway)) => (id, Some(gateway.to_owned())),
            None => (word, None),
        };
        let row = rows().get(id).with_context(|| format!("docs/states.md has no row {id}"))?;
        ensure!(row.is_of_gateway() == gateway.is_some(), "{word}: rows of gateways, and no others, name theirs");
        Ok((row, gateway))
    };
    text.split_whitespace().map(word).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_has_rows_that_can_be_read() {
        let states = |id: &str| (rows()[id].from.clone(), rows()[id].to.clone());
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(rows().len(), 21 + 16);
        assert_eq!(states("C9"), (list(&["connected"]), list(&["reconnecting"])));
        assert_eq!(states("G12"), (list(&["draining"]), list(&["standby", "idle"])));
        assert_eq!(states("G13").0, ["active", "standby"]);
        assert_eq!(states("G15").0, [""; 0], "any");
        const KINDS: [&str; 11] = [
            "created",
            "edited",
            "connecting",
            "connected",
            "failed",
            "switched",
            "restored",
            "disconnected",
            "cancelled",
            "deleted",
            "reloaded",
        ];
        for row in rows().values() {
            assert!(!row.to.is_empty(), "{row:?}");
            let mut kinds = row.told.iter().flat_map(|told| &told.kinds);
            assert!(kinds.all(|kind| KINDS.contains(&kind.as_str())), "{row:?}");
        }
    }

    #[test]
    fn a_row_follows_only_one_that_leads_to_where_it_begins() {
        let follows = |id: &str, before: &str| rows()[id].follows(&rows()[before]);
        assert!(follows("C9", "C4") && follows("G7", "G8") && follows("G15", "G7"));
        assert!(!follows("C13", "C4") && !follows("G8", "G2"));
        assert!(rows()["G7"].leads_to("connecting") && !rows()["G7"].leads_to("active"));
        assert!(!rows()["C9"].leads_to("connecting"));
    }

    #[test]
    fn an_entry_of_the_activity_log_tells_of_one_row_and_not_of_another() {
        let entry = |kind: &str, gateway: Option<&str>, reason: &str| json!({ "connection": "office", "kind": kind, "gateway": gateway, "reason": reason });
        let fits = |id: &str, gateway, entry: &Value| rows()[id].told[0].fits(entry, gateway);
        let standby = entry("connected", Some("b"), STANDS_BY);
        assert!(fits("G3", Some("b"), &standby) && !fits("G3", Some("a"), &standby) && !fits("C4", None, &standby));
        assert!(fits("C4", None, &entry("connected", Some("a"), "")));
        let switched = entry("switched", Some("b"), "from a: lost");
        assert!(fits("G8", Some("b"), &switched) && fits("G11", Some("a"), &switched));
        assert!(!fits("G8", Some("a"), &switched) && !fits("G11", Some("b"), &switched));
        assert!(fits("C9", None, &entry("disconnected", Some("a"), "tried again in 1.0 s")));
        assert!(!fits("C9", None, &entry("disconnected", None, "")), "somebody wanted that");
        assert!(!fits("C11", None, &entry("disconnected", Some("a"), "")));
        assert!(!fits("G5", Some("a"), &entry("failed", Some("a"), "tried again in 1.0 s")));
    }

    #[test]
    fn names_that_are_no_rows_are_told() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert!(error("C4 C99").contains("no row C99"));
        assert!(error("G2").contains("name theirs") && error("C4:a").contains("name theirs"));
        assert_eq!(parse("C4 G2:a").unwrap().len(), 2);
    }

    #[test]
    fn a_sample_is_known_by_name_and_labels() {
        let line = "vpn_tunnel_state{connection=\"office\",tunnel=\"a\",state=\"active\"} 1";
        let sample = Sample::parse(line).unwrap();
        assert!(sample.is("vpn_tunnel_state", &[("tunnel", "a"), ("connection", "office")]));
        assert!(!sample.is("vpn_tunnel_state", &[("nel", "a")]) && !sample.is("vpn_tunnel", &[]));
        assert_eq!((sample.label("state"), sample.value), (Some("active"), 1.0));
        assert_eq!(Sample::parse("# HELP vpn_build What runs 1"), None);
    }
}

//! The states of a connection, and what moves it from one to another: the table of `docs/states.md`.

use crate::{
    error::{Error, Exit},
    status::{State, Timestamp},
};

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trigger {
    /// Somebody wants it, or it starts by itself.
    Connect,
    /// Nobody wants it any more.
    Disconnect,
    /// Somebody had enough of an attempt.
    Cancel,
    /// The process ends, or the connection is no longer configured.
    Stop,
    /// The configuration of its gateways changed.
    Edited,
    /// A tunnel is up.
    Up,
    /// No tunnel is up any more; it is tried again.
    Lost,
    /// No gateway may be tried again by itself.
    GaveUp,
    /// The live connections have ended, or their time is over.
    Drained,
    /// The farewells are sent.
    Closed,
}

/// One row: its id in the documents, where it leads from, by what, and to.
pub(super) type Row = (&'static str, State, Trigger, State);

use State::{Connected, Connecting, Disconnecting, Draining, Failed, Idle, Reconnecting};

pub(super) const TABLE: [Row; 21] = [
    ("C1", Idle, Trigger::Connect, Connecting),
    ("C2", Failed, Trigger::Connect, Connecting),
    ("C3", Failed, Trigger::Edited, Connecting),
    ("C4", Connecting, Trigger::Up, Connected),
    ("C5", Connecting, Trigger::GaveUp, Failed),
    ("C6", Connecting, Trigger::Cancel, Disconnecting),
    ("C7", Connecting, Trigger::Disconnect, Disconnecting),
    ("C8", Connecting, Trigger::Stop, Disconnecting),
    ("C9", Connected, Trigger::Lost, Reconnecting),
    ("C10", Connected, Trigger::GaveUp, Failed),
    ("C11", Connected, Trigger::Disconnect, Disconnecting),
    ("C12", Connected, Trigger::Stop, Draining),
    ("C13", Reconnecting, Trigger::Up, Connected),
    ("C14", Reconnecting, Trigger::GaveUp, Failed),
    ("C15", Reconnecting, Trigger::Cancel, Disconnecting),
    ("C16", Reconnecting, Trigger::Disconnect, Disconnecting),
    ("C17", Reconnecting, Trigger::Stop, Disconnecting),
    ("C18", Draining, Trigger::Drained, Disconnecting),
    ("C19", Draining, Trigger::Disconnect, Disconnecting),
    ("C20", Disconnecting, Trigger::Closed, Idle),
    ("C21", Failed, Trigger::Disconnect, Idle),
];

impl Trigger {
    #[cfg(test)]
    pub(super) const ALL: [Self; 10] = [
        Self::Connect,
        Self::Disconnect,
        Self::Cancel,
        Self::Stop,
        Self::Edited,
        Self::Up,
        Self::Lost,
        Self::GaveUp,
        Self::Drained,
        Self::Closed,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Cancel => "cancel",
            Self::Stop => "stop",
            Self::Edited => "edited",
            Self::Up => "up",
            Self::Lost => "lost",
            Self::GaveUp => "gave up",
            Self::Drained => "drained",
            Self::Closed => "closed",
        }
    }
}

/// The state of a connection, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    state: State,
    since: Timestamp,
    latest_update: Timestamp,
}

impl Machine {
    pub(super) fn new() -> Self {
        let now = Timestamp::now();
        Self { state: Idle, since: now, latest_update: now }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn latest_update(&self) -> Timestamp {
        self.latest_update
    }

    /// Something happened that is worth to be told.
    pub(super) fn touch(&mut self) {
        self.latest_update = Timestamp::now();
    }

    /// Moves on, if the table has such a row; its id.
    pub(super) fn on(&mut self, trigger: Trigger) -> Option<&'static str> {
        let (id, _, _, to) = TABLE.iter().find(|(_, from, on, _)| *from == self.state && *on == trigger)?;
        tracing::debug!("{id}: {} to {} ({})", self.state.name(), to.name(), trigger.name());
        self.touch();
        (self.state, self.since) = (*to, self.latest_update);
        Some(id)
    }

    /// Why an order cannot be followed now.
    pub(super) fn refusal(&self, name: &str, order: Trigger) -> Error {
        let because = |what: &str| Error::new(Exit::Other, format!("`{name}` is {what}"));
        match (self.state, order) {
            (Draining | Disconnecting, _) => because(self.state.name()).hint("try again in a moment"),
            (Connecting | Connected | Reconnecting, Trigger::Connect) => {
                because(&format!("{} already", self.state.name()))
            }
            (Connected, Trigger::Cancel) => {
                because("connected: there is no attempt to cancel").hint(format!("adit disconnect {name}"))
            }
            (Failed, Trigger::Cancel) => because("failed: there is no attempt to cancel"),
            _ => because("not connected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_row_has_an_id_of_its_own_and_no_two_lead_apart() {
        let ids: HashSet<_> = TABLE.iter().map(|row| row.0).collect();
        let begins: HashSet<_> = TABLE.iter().map(|row| (row.1, row.2)).collect();
        assert_eq!((ids.len(), begins.len()), (TABLE.len(), TABLE.len()));
    }

    #[test]
    fn the_documents_have_the_same_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/states.md");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (tables, _) = text.split_once("## What shows each row").unwrap();
        let rows: Vec<_> = tables
            .lines()
            .filter(|line| line.starts_with("| C"))
            .map(|line| line.split('|').skip(1).take(4).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>())
            .collect();
        let expected = TABLE.map(|(id, from, on, to)| {
            vec![id.to_owned(), from.name().to_owned(), on.name().to_owned(), to.name().to_owned()]
        });
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_the_table_does_not_have_changes_nothing() {
        for state in State::ALL {
            for trigger in Trigger::ALL {
                let before = Machine { state, ..Machine::new() };
                let mut after = before;
                let known = TABLE.iter().find(|row| row.1 == state && row.2 == trigger);
                assert_eq!(after.on(trigger), known.map(|row| row.0));
                assert_eq!(after.state, known.map_or(state, |row| row.3));
                assert!(known.is_some() || after == before);
            }
        }
    }

    #[test]
    fn every_state_can_be_left_and_reached() {
        for state in State::ALL {
            assert!(TABLE.iter().any(|row| row.1 == state) && TABLE.iter().any(|row| row.3 == state), "{state:?}");
        }
    }

    #[test]
    fn an_order_that_does_not_fit_is_refused_with_what_does() {
        let refusal = |state, order| Machine { state, ..Machine::new() }.refusal("office", order).to_string();
        assert!(refusal(Connected, Trigger::Cancel).contains("adit disconnect office"));
        assert_eq!(refusal(Connected, Trigger::Connect), "`office` is connected already");
        assert_eq!(refusal(Idle, Trigger::Disconnect), "`office` is not connected");
        assert!(refusal(Disconnecting, Trigger::Connect).contains("try again in a moment"));
    }
}

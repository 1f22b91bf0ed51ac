//! One connection while the process runs: its gateways, its forwards, its state, and what is told to it.
//!
//! ```text
//!   adit connect, SIGHUP, …          one task per connection
//!        │ orders       ┌────────────────────────────────────────────┐
//!        ▼              │ Machine (docs/states.md)                   │
//!   Environment ───────▶│ Redundant ── events ──▶ activity, state    │
//!        ▲ status       │ Forwards: bound, serving, or tried again   │
//!        └───── View ◀──┴────────────────────────────────────────────┘
//! ```
//!
//! A connection with `tun` has a device, too, kept by a thread of its own ([`device`]).
//!
//! Nothing is shared between two of them but the log, the cap on simultaneous handshakes, and the person who is asked.

mod apply;
mod device;
mod forwards;
mod machine;
mod outside;
mod prompts;
mod task;
mod view;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adit_driver::MemoryPool;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{Instrument, Span};

pub(crate) use self::prompts::Desk;
#[cfg(target_os = "linux")]
pub(crate) use self::{apply::Applied, task::way};
use self::{task::Task, view::View};
use crate::{
    activity::{Activity, By},
    admin::Handshakes,
    error::{Error, Exit},
    forward::Places,
    plan::ConnectionPlan,
    status::ConnectionStatus,
    up::Open,
};

/// What somebody wants of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Connect,
    Disconnect,
    Cancel,
}

/// How a connection behaves when something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One of many: what cannot listen is tried again, what ends waits for somebody to start it.
    Patient,
    /// The only one of `adit forward`: everything must be there, and is announced on standard output.
    Strict,
}

/// What all connections of a process share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) activity: Activity,
    /// Told whenever there is something new to be seen.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) handshakes: Handshakes,
    /// How many handshakes there may be at the same time.
    pub(crate) limit: Arc<Semaphore>,
    /// What the connections through all tunnels may take.
    pub(crate) memory: MemoryPool,
    pub(crate) desk: Desk,
    /// Where their forwards listen.
    pub(crate) places: Places,
    pub(crate) manner: Manner,
    /// Makes devices.
    pub(crate) devices: Open,
}

/// What was done, for whoever ordered it.
type Reply<T = String> = oneshot::Sender<Result<T, Error>>;

enum Command {
    Order(Order, By, Reply),
    /// Connects for the first time.
    Begin(By, Reply<Vec<Error>>),
    Apply(Box<ConnectionPlan>, By, Reply<Applied>),
    Stop(Stop, By, Reply),
}

/// The end of a connection in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    /// How long live connections may go on.
    pub(crate) drain: Duration,
    /// Whether it is no longer configured.
    pub(crate) deleted: bool,
}

/// The handle of a connection. Cheap to clone; when the last clone is dropped, everything of it ends.
#[derive(Clone)]
pub(crate) struct Environment {
    commands: mpsc::UnboundedSender<Command>,
    view: Arc<Mutex<View>>,
    ended: watch::Receiver<Option<Ended>>,
}

/// How the connection of `adit forward` ended.
#[derive(Debug, Clone)]
enum Ended {
    /// Standard input and output were carried to their ends.
    Done,
    Failed(Arc<Error>),
}

impl Environment {
    /// Makes it, and leaves it idle.
    pub(crate) fn start(plan: ConnectionPlan, context: Context, by: By) -> Self {
        let span = match context.manner {
            Manner::Patient => tracing::info_span!("connection", connection = plan.name),
            // It is alone: who else should speak?
            Manner::Strict => Span::none(),
        };
        let (commands, receiver) = mpsc::unbounded_channel();
        let view = Arc::new(Mutex::new(View::new(&plan)));
        let (ends, ended) = watch::channel(None);
        let task = Task::new(plan, context, Arc::clone(&view), ends, by);
        tokio::spawn(task.run(receiver).instrument(span));
        Self { commands, view, ended }
    }

    pub(crate) fn status(&self) -> ConnectionStatus {
        lock(&self.view).status()
    }

    /// Whom questions are for whose answers its gateways have refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        lock(&self.view).refused()
    }

    /// Does as it is told, or says why not.
    pub(crate) async fn order(&self, order: Order, by: By) -> Result<String, Error> {
        self.ask(|reply| Command::Order(order, by, reply)).await
    }

    /// Connects for the first time; why some of its forwards do not listen.
    pub(crate) async fn begin(&self, by: By) -> Result<Vec<Error>, Error> {
        self.ask(|reply| Command::Begin(by, reply)).await
    }

    /// Goes on with another configuration, with as little interruption as possible.
    pub(crate) async fn apply(&self, plan: ConnectionPlan, by: By) -> Result<Applied, Error> {
        self.ask(|reply| Command::Apply(Box::new(plan), by, reply)).await
    }

    /// Ends it in good order, and waits for that.
    pub(crate) async fn stop(&self, stop: Stop, by: By) {
        // Without its task it has ended.
        drop(self.ask(|reply| Command::Stop(stop, by, reply)).await);
    }

    /// Waits until the connection of `adit forward` has ended by itself.
    pub(crate) async fn ended(&self) -> Result<(), Arc<Error>> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
            Ok(Some(Ended::Failed(error))) => Err(error),
            Ok(Some(Ended::Done) | None) | Err(_) => Ok(()),
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::new(Exit::Other, "the connection is gone");
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

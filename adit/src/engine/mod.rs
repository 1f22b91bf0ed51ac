//! All connections of a process, and what is asked about them and told to them.

mod cap;
mod files;
mod forward;
mod run;
mod services;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(not(target_os = "linux"))]
#[path = "no_systemd.rs"]
mod systemd;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use adit_driver::MemoryPool;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use self::cap::Cap;
pub(crate) use self::{
    forward::forward,
    run::{Load, Unreadable, run},
};
pub(crate) use crate::environment::Order;
use crate::{
    activity::{Activity, By, Entry, Kind},
    admin::Handshakes,
    config::Questions,
    environment::{Context, Desk, Environment, Manner, Stop},
    error::{Error, Exit},
    forward::Places,
    plan::{ConnectionPlan, Plan},
    prompt::Person,
    status::{LastError, Memory, ProcessStatus, Readiness, State, Timestamp},
    up,
};

/// The main loop shows that it turns once a second; after so long it hangs.
const HANGS: Duration = Duration::from_secs(15);

/// Everything that runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    since: Timestamp,
    context: Context,
    /// By name.
    environments: Mutex<BTreeMap<String, Environment>>,
    handshakes: Cap,
    reload: mpsc::Sender<Reload>,
    /// Who was asked for what is in no file.
    questions: Arc<Questions>,
    /// Why the newest configuration is not in force.
    refused: Mutex<Option<LastError>>,
    /// When the one in force was read.
    in_force_since: Mutex<Timestamp>,
    stopping: AtomicBool,
    /// Whether everything was ready once.
    started: AtomicBool,
    beat: Mutex<Instant>,
}

/// Somebody wants the configuration to be read again.
struct Reload {
    by: By,
    reply: oneshot::Sender<Result<String, Error>>,
}

impl Engine {
    /// With no connections; those who want a reload are heard at the other end.
    fn new(
        manner: Manner,
        handshakes: usize,
        memory: usize,
        questions: Arc<Questions>,
    ) -> (Self, mpsc::Receiver<Reload>) {
        let (reload, reloads) = mpsc::channel(16);
        let cap = Cap::new(handshakes);
        let context = Context {
            activity: Activity::new(),
            changes: watch::Sender::new(0),
            handshakes: Handshakes::new(),
            limit: cap.permits(),
            memory: MemoryPool::new(memory),
            desk: Desk::new(Person::new()),
            places: Places::default(),
            manner,
            devices: Arc::new(up::open),
        };
        let inner = Inner {
            since: Timestamp::now(),
            context,
            environments: Mutex::default(),
            handshakes: cap,
            reload,
            questions,
            refused: Mutex::default(),
            in_force_since: Mutex::new(Timestamp::now()),
            stopping: AtomicBool::new(false),
            started: AtomicBool::new(false),
            beat: Mutex::new(Instant::now()),
        };
        (Self { inner: Arc::new(inner) }, reloads)
    }

    pub(crate) fn status(&self) -> ProcessStatus {
        let memory = &self.inner.context.memory;
        ProcessStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.inner.since,
            stopping: self.inner.stopping.load(Relaxed),
            tasks: tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks()),
            memory: Memory { used_bytes: memory.used() as u64, limit_bytes: memory.limit() as u64 },
            configuration_error: lock(&self.inner.refused).clone(),
            configuration_since: *lock(&self.inner.in_force_since),
            connections: self.environments().values().map(Environment::status).collect(),
        }
    }

    /// Told whenever there is something new to be seen.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.context.changes.subscribe()
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.inner.context.activity
    }

    pub(crate) fn handshakes(&self) -> &Handshakes {
        &self.inner.context.handshakes
    }

    /// Whether the process does its work, whatever its gateways do.
    pub(crate) fn liveness(&self) -> Readiness {
        let silent = lock(&self.inner.beat).elapsed();
        let hangs = silent > HANGS;
        let reasons =
            if hangs { vec![format!("the main loop hangs since {} s", silent.as_secs())] } else { Vec::new() };
        Readiness { ready: !hangs, reasons }
    }

    /// Whether everything that is to be connected was connected once.
    pub(crate) fn startup(&self) -> Readiness {
        if self.inner.started.load(Relaxed) {
            return Readiness { ready: true, reasons: Vec::new() };
        }
        self.status().readiness(None, None)
    }

    /// Does with a connection as it is told.
    pub(crate) async fn order(&self, name: &str, order: Order, by: By) -> Result<String, Error> {
        let found = self.environments().get(name).cloned();
        let Some(environment) = found else { return Err(self.unknown(name)) };
        if order == Order::Connect && self.is_to_be_asked(&environment) {
            // What somebody has typed was refused: reading asks again, and another answer is another gateway.
            let before = environment.status().since;
            self.reload(by.clone()).await?;
            if environment.status().since != before {
                return Ok(format!("`{name}`: connecting"));
            }
        }
        environment.order(order, by).await
    }

    /// Whether something is to be asked again before this one is connected. It is forgotten then.
    fn is_to_be_asked(&self, environment: &Environment) -> bool {
        if !matches!(environment.status().state, State::Idle | State::Failed) {
            return false;
        }
        let refused = environment.refused();
        refused.iter().filter(|subject| self.inner.questions.forget(subject)).count() > 0
    }

    /// Reads the configuration again; what was changed.
    pub(crate) async fn reload(&self, by: By) -> Result<String, Error> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Error::new(Exit::Other, "the process is stopping");
        self.inner.reload.send(Reload { by, reply }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    fn unknown(&self, name: &str) -> Error {
        let names: Vec<_> = self.environments().keys().cloned().collect();
        let error = Error::new(Exit::Usage, format!("there is no connection `{name}`"));
        match names.is_empty() {
            true => error,
            false => error.hint(format!("there is {}", names.join(", "))),
        }
    }

    /// The main loop turns.
    fn beat(&self) {
        *lock(&self.inner.beat) = Instant::now();
        if !self.inner.started.load(Relaxed) && self.status().readiness(None, None).ready {
            self.inner.started.store(true, Relaxed);
        }
    }

    /// Adds a connection, and starts it if it is to be. Why some of its forwards do not listen.
    async fn add(&self, plan: ConnectionPlan, by: By) -> Result<(Environment, Vec<Error>), Error> {
        let (name, autostart) = (plan.name.clone(), plan.autostart);
        let environment = Environment::start(plan, self.inner.context.clone(), by);
        self.environments().insert(name, environment.clone());
        let unbound = if autostart { environment.begin(By::Program).await? } else { Vec::new() };
        Ok((environment, unbound))
    }

    /// Goes on with these connections; what did not change is not touched. What was changed, in words, and what could not be
    /// done.
    async fn apply(&self, plan: Plan, by: By) -> (Vec<String>, Vec<Error>) {
        let (mut said, mut failed) = (Vec::new(), Vec::new());
        if self.inner.handshakes.set(plan.handshakes) {
            said.push(format!("`handshakes` is {}", plan.handshakes));
        }
        if self.inner.context.memory.limit() != plan.memory {
            said.push(format!("`memory_mib` is {}", plan.memory >> 20));
        }
        self.inner.context.memory.set_limit(plan.memory);
        // What goes from one connection to another, or on under another name, stays open meanwhile.
        let _held = self.inner.context.places.hold(plan.connections.iter().flat_map(|made| &made.forwards));
        let (mut deleted, drain) = (self.environments().clone(), plan.drain);
        for connection in plan.connections {
            let name = connection.name.clone();
            match deleted.remove(&name) {
                Some(environment) => match environment.apply(connection, by.clone()).await {
                    Ok(applied) => {
                        if !applied.changed.is_empty() {
                            said.push(format!("`{name}`: {}", applied.changed));
                        }
                        failed.extend(within(&name, applied.failed));
                    }
                    Err(error) => said.push(format!("`{name}`: {error}")),
                },
                None => {
                    match self.add(connection, by.clone()).await {
                        Ok((_, unbound)) => failed.extend(within(&name, unbound)),
                        Err(error) => tracing::error!("`{name}`: {error}"),
                    }
                    said.push(format!("`{name}` is new"));
                }
            }
        }
        for (name, environment) in deleted {
            said.push(format!("`{name}` is gone"));
            self.environments().remove(&name);
            let by = by.clone();
            // Its end takes its time, and holds up nobody.
            tokio::spawn(async move { environment.stop(Stop { drain, deleted: true }, by).await });
        }
        self.inner.context.changes.send_modify(|count| *count = count.wrapping_add(1));
        (said, failed)
    }

    /// Ends all in good order: nothing new, then the live connections may go on for a while, then farewells.
    async fn stop(&self, drain: Duration, by: By) {
        self.inner.stopping.store(true, Relaxed);
        self.inner.context.changes.send_modify(|count| *count = count.wrapping_add(1));
        let environments: Vec<_> = self.environments().values().cloned().collect();
        let mut stopping = JoinSet::new();
        for environment in environments {
            let by = by.clone();
            stopping.spawn(async move { environment.stop(Stop { drain, deleted: false }, by).await });
        }
        while stopping.join_next().await.is_some() {}
    }

    /// How many connections there are, and how many are connected, for people.
    fn summary(&self) -> String {
        let status = self.status();
        let connected = status.connections.iter().filter(|connection| connection.state == State::Connected).count();
        format!("{connected} of {} connected", status.connections.len())
    }

    /// What has come of the newest configuration, for everybody to see.
    fn show_read(&self, read: Result<(), &Error>) {
        let refused = read.err().map(|error| LastError {
            at: Timestamp::now(),
            text: error.message(),
            hint: error.hint_text().map(str::to_owned),
            code: if error.exit() == Exit::LocalSocket { "local_socket" } else { "configuration" }.to_owned(),
        });
        if refused.is_none() {
            *lock(&self.inner.in_force_since) = Timestamp::now();
        }
        *lock(&self.inner.refused) = refused;
        self.inner.context.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn note(&self, kind: Kind, by: By, reason: &str) {
        self.activity().add(Entry::new(kind, by).reason(reason));
    }

    /// Without a main loop: nobody answers to a reload.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::new(Manner::Patient, 16, 64 << 20, Arc::new(Questions::noted())).0
    }

    #[cfg(test)]
    pub(crate) async fn add_for_tests(&self, plan: ConnectionPlan) {
        self.add(plan, By::Program).await.unwrap();
    }

    fn environments(&self) -> MutexGuard<'_, BTreeMap<String, Environment>> {
        lock(&self.inner.environments)
    }
}

/// Says of which connection they are.
fn within(name: &str, errors: Vec<Error>) -> impl Iterator<Item = Error> {
    let at = format!("`{name}`");
    errors.into_iter().map(move |error| error.within(&at))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

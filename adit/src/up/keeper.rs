//! Keeps what is around a device, on a thread of its own: a bus, a program or a file that does not answer holds up nobody else.

use std::{
    future::pending,
    net::IpAddr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use adit_driver::{
    Names, Protocol,
    redundancy::{Gateway, RedundancyStatus, Redundant},
};
use adit_tunnel::NetworkConfig;
use tokio::{
    runtime::Handle,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};
use tracing::Span;

use super::TunOptions;
use crate::error::{Error, Exit};

/// A device, and what the machine looks like around it. Its methods block. Dropped, it undoes everything but what fails closed.
pub(crate) trait Surround: Send {
    /// What the kernel calls the device.
    fn name(&self) -> &str;

    /// The next device is to be so: the same but for what [`Self::renew`] and what follows do. After [`Self::rest`].
    fn change(&mut self, options: &TunOptions);

    /// Makes the device, where there is none.
    ///
    /// # Errors
    /// The system's.
    fn renew(&mut self) -> Result<(), Error>;

    /// Gives the device to the connection. Called within its tokio runtime.
    ///
    /// # Errors
    /// When the runtime takes no more descriptors.
    fn attach(&mut self, redundant: &Redundant) -> Result<(), Error>;

    /// Gateways may have these addresses: they are spoken to past the tunnel.
    fn know(&mut self, gateways: &[IpAddr]);

    /// Makes the machine fit the gateway that is active now, or none; `None` if it does already.
    ///
    /// # Errors
    /// The first time, if anything cannot be done. Later that is said in the log alone.
    fn follow(&mut self, status: &RedundancyStatus) -> Result<Option<Shape>, Error>;

    /// Whether something is blocked, and stays so without [`Self::undo`].
    fn blocks(&self) -> bool;

    /// Undoes everything but what fails closed.
    fn rest(&mut self);

    /// Undoes everything, the last first.
    fn undo(&mut self);
}

/// Makes a device for the connection of this name. `names` are what gateways' names mean: it adds what a process before us has known.
pub(crate) type Open = Arc<dyn Fn(&TunOptions, &str, &Names) -> Result<Box<dyn Surround>, Error> + Send + Sync>;

/// What the machine looks like now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Of the gateway that is active, or was.
    pub(crate) network: Arc<NetworkConfig>,
    /// Whether the tunnel is up.
    pub(crate) up: bool,
    /// For the first time.
    pub(crate) first: bool,
}

/// What became of what was asked.
#[derive(Debug)]
pub(crate) enum Told {
    /// The device is there, with this name.
    Opened(String),
    /// Another one is there in place of the device, with this name; or there is none.
    Replaced(Result<String, Error>),
    /// The machine fits; how, if that is new.
    Fits(Option<Shape>),
    /// Nothing is left but what fails closed, if there is anything.
    Rested { blocks: bool },
    /// It has ended.
    Gone,
    /// It could not be done; the rest can be undone.
    Failed(Error),
    /// It could not be done, and nobody is there any more who could do anything.
    Lost(Error),
}

enum Job {
    Renew,
    Replace(Option<Redundant>, Box<TunOptions>),
    Attach(Redundant, Vec<IpAddr>),
    Know(Vec<IpAddr>),
    Follow(Box<RedundancyStatus>),
    Rest(Option<Redundant>),
    /// And ends; what fails closed stays.
    Leave(Option<Redundant>),
    /// And ends.
    Undo(Option<Redundant>),
}

/// The handle of the thread. Dropped, it has the thread end, with all undone but what fails closed.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: mpsc::Sender<Job>,
    told: UnboundedReceiver<Told>,
    /// Jobs that were not answered yet.
    open: usize,
    /// When the next answer is due.
    due: Instant,
    limit: Duration,
    /// Nobody answers any more.
    lost: bool,
}

/// How long one thing may take: several questions to a service of which each has its own limit of 25 seconds.
const LIMIT: Duration = Duration::from_secs(90);

impl Keeper {
    /// Starts with what this gives, which is told as [`Told::Opened`]; as [`Told::Failed`] if it has no device, but something is
    /// blocked. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(
        open: impl FnOnce() -> Result<Box<dyn Surround>, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        Self::with_limit(open, LIMIT)
    }

    fn with_limit(
        open: impl FnOnce() -> Result<Box<dyn Surround>, Error> + Send + 'static,
        limit: Duration,
    ) -> Result<Self, Error> {
        let (jobs, receiver) = mpsc::channel();
        let (sender, told) = unbounded_channel();
        let (runtime, span) = (Handle::current(), Span::current());
        let work = move || {
            span.in_scope(|| {
                let first = match open() {
                    Ok(mut surround) => match surround.renew() {
                        // What was blocked before is ours now, also without a device.
                        Err(error) if !surround.blocks() => Told::Lost(error),
                        renewed => {
                            tell(&sender, opened(&*surround, renewed));
                            return work(surround, &receiver, &sender, &runtime);
                        }
                    },
                    Err(error) => Told::Lost(error),
                };
                tell(&sender, first);
            });
        };
        let thread = thread::Builder::new().name("device".to_owned()).spawn(work);
        thread.map_err(|error| Error::new(Exit::Other, format!("a thread for the device: {error}")))?;
        Ok(Self { jobs, told, open: 1, due: Instant::now() + limit, limit, lost: false })
    }

    /// What became of the next thing that was asked. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Told {
        if self.open == 0 {
            return pending().await;
        }
        if self.lost {
            self.open = 0;
            return Told::Lost(Error::new(Exit::Other, "the thread of the device has ended"));
        }
        match tokio::time::timeout_at(self.due, self.told.recv()).await {
            Ok(Some(told)) => {
                self.open -= 1;
                self.due = Instant::now() + self.limit;
                self.lost = matches!(told, Told::Gone | Told::Lost(_));
                told
            }
            Ok(None) => {
                (self.open, self.lost) = (0, true);
                Told::Lost(Error::new(Exit::Other, "the thread of the device has ended"))
            }
            Err(_) => {
                (self.open, self.lost) = (0, true);
                let seconds = self.limit.as_secs_f32();
                let error = Error::new(Exit::LocalSocket, format!("no device within {seconds} s: this system hangs"));
                Told::Lost(
                    error.hint(
                        "try another `dns` (`--dns`), or `off`: systemd-resolved or `resolvconf` does not answer",
                    ),
                )
            }
        }
    }

    /// Has the device made again, where it is gone: [`Told::Opened`].
    pub(crate) fn renew(&mut self) {
        self.ask(Job::Renew);
    }

    /// Puts one that is so in place of the device; what is blocked stays so: [`Told::Replaced`].
    pub(crate) fn replace(&mut self, redundant: Option<Redundant>, options: TunOptions) {
        self.ask(Job::Replace(redundant, Box::new(options)));
    }

    /// Gives the device to this connection, over these gateways.
    pub(crate) fn attach(&mut self, redundant: &Redundant, gateways: &[Gateway]) {
        self.ask(Job::Attach(redundant.clone(), fixed_addresses(gateways)));
    }

    /// There may be other gateways now.
    pub(crate) fn know(&mut self, gateways: &[Gateway]) {
        self.ask(Job::Know(fixed_addresses(gateways)));
    }

    pub(crate) fn follow(&mut self, status: RedundancyStatus) {
        self.ask(Job::Follow(Box::new(status)));
    }

    /// Takes the device away, and undoes all but what fails closed: [`Told::Rested`].
    pub(crate) fn rest(&mut self, redundant: Option<Redundant>) {
        self.ask(Job::Rest(redundant));
    }

    /// The same, and ends: [`Told::Gone`]. What fails closed can be taken over then.
    pub(crate) fn leave(&mut self, redundant: Option<Redundant>) {
        self.ask(Job::Leave(redundant));
    }

    /// Undoes everything, and ends: [`Told::Gone`].
    pub(crate) fn undo(&mut self, redundant: Option<Redundant>) {
        self.ask(Job::Undo(redundant));
    }

    fn ask(&mut self, job: Job) {
        if self.open == 0 {
            self.due = Instant::now() + self.limit;
        }
        self.open += 1;
        // Without the thread there will be no answer, which is told.
        drop(self.jobs.send(job));
    }
}

fn work(mut surround: Box<dyn Surround>, jobs: &mpsc::Receiver<Job>, told: &UnboundedSender<Told>, runtime: &Handle) {
    let mut next = None;
    loop {
        let Some(mut job) = next.take().or_else(|| jobs.recv().ok()) else { return };
        // Only how it is now matters.
        while matches!(job, Job::Follow(_))
            && let Ok(newer) = jobs.try_recv()
        {
            if !matches!(newer, Job::Follow(_)) {
                next = Some(newer);
                break;
            }
            tell(told, Told::Fits(None));
            job = newer;
        }
        let done = match job {
            Job::Renew => {
                let renewed = surround.renew();
                Ok(opened(&*surround, renewed))
            }
            Job::Replace(redundant, options) => {
                surround.rest();
                detach(redundant);
                surround.change(&options);
                Ok(Told::Replaced(surround.renew().map(|()| surround.name().to_owned())))
            }
            Job::Attach(redundant, gateways) => {
                surround.know(&gateways);
                let _within = runtime.enter();
                surround.attach(&redundant).map(|()| Told::Fits(None))
            }
            Job::Know(gateways) => {
                surround.know(&gateways);
                Ok(Told::Fits(None))
            }
            Job::Follow(status) => surround.follow(&status).map(Told::Fits),
            Job::Rest(redundant) => {
                surround.rest();
                detach(redundant);
                Ok(Told::Rested { blocks: surround.blocks() })
            }
            Job::Leave(redundant) => {
                detach(redundant);
                drop(surround);
                return tell(told, Told::Gone);
            }
            Job::Undo(redundant) => {
                surround.undo();
                detach(redundant);
                drop(surround);
                return tell(told, Told::Gone);
            }
        };
        tell(told, done.unwrap_or_else(Told::Failed));
    }
}

fn opened(surround: &dyn Surround, renewed: Result<(), Error>) -> Told {
    renewed.map_or_else(Told::Failed, |()| Told::Opened(surround.name().to_owned()))
}

fn detach(redundant: Option<Redundant>) {
    #[cfg(target_os = "linux")]
    if let Some(redundant) = &redundant {
        redundant.detach();
    }
    drop(redundant);
}

fn tell(told: &UnboundedSender<Told>, what: Told) {
    // Whoever has asked may have gone.
    drop(told.send(what));
}

/// The addresses among the gateways are known before any is spoken to: should it fail closed, they can be reached all the same. Names
/// show theirs when they are used.
fn fixed_addresses(gateways: &[Gateway]) -> Vec<IpAddr> {
    let hosts = gateways.iter().flat_map(|gateway| gateway.protocol.remotes());
    hosts.filter_map(|remote| remote.host.parse().ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, PoisonError};

    use tokio::sync::watch;

    use super::*;

    /// What was done with doubles, in order. Their threads do it: who wants to see something there waits for it.
    pub(crate) type Done = Arc<watch::Sender<Vec<String>>>;

    /// Waits until the latest that was done is this.
    pub(crate) async fn does(done: &Done, latest: &str) {
        let mut done = done.subscribe();
        let seen = done.wait_for(|done| done.last().is_some_and(|last| last == latest));
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("in time").unwrap();
    }

    /// A device that is none, and notes what is done with it.
    pub(crate) struct Double {
        pub(crate) name: String,
        pub(crate) fail_closed: bool,
        pub(crate) done: Done,
        made: Option<(Arc<NetworkConfig>, bool)>,
        blocks: bool,
        undone: bool,
        /// It was not made yet.
        fresh: bool,
        /// Why it cannot be made, while there is a reason.
        lacks: Option<Lacks>,
        /// What undoing waits for.
        held: Option<Held>,
    }

    /// Why a double that has taken over a block cannot be made.
    pub(crate) type Lacks = Arc<Mutex<Option<Error>>>;
    type Held = Arc<Mutex<mpsc::Receiver<()>>>;

    impl Double {
        pub(crate) fn new(options: &TunOptions, done: &Done) -> Self {
            let name = options.device.clone().unwrap_or_else(|| "adit0".to_owned());
            let this = Self {
                name,
                fail_closed: options.fail_closed,
                done: Arc::clone(done),
                made: None,
                blocks: false,
                undone: false,
                fresh: true,
                lacks: None,
                held: None,
            };
            this.note("open");
            this
        }

        fn note(&self, what: &str) {
            self.done.send_modify(|done| done.push(format!("{} {what}", self.name)));
        }
    }

    /// Doubles all the way.
    pub(crate) fn doubles(done: &Done) -> Open {
        let done = Arc::clone(done);
        Arc::new(move |options, _, _| Ok(Box::new(Double::new(options, &done))))
    }

    /// The same; each is undone only when that is said.
    pub(crate) fn held_doubles(done: &Done, held: mpsc::Receiver<()>) -> Open {
        let (done, held) = (Arc::clone(done), Arc::new(Mutex::new(held)));
        Arc::new(move |options, _, _| {
            let mut double = Double::new(options, &done);
            double.held = Some(Arc::clone(&held));
            Ok(Box::new(double))
        })
    }

    /// Doubles that block something from the start, and cannot be made while there is a reason.
    pub(crate) fn lacking_doubles(done: &Done, lacks: &Lacks) -> Open {
        let (done, lacks) = (Arc::clone(done), Arc::clone(lacks));
        Arc::new(move |options, _, _| {
            let mut double = Double::new(options, &done);
            (double.blocks, double.lacks) = (double.fail_closed, Some(Arc::clone(&lacks)));
            Ok(Box::new(double))
        })
    }

    impl Surround for Double {
        fn name(&self) -> &str {
            &self.name
        }

        fn change(&mut self, options: &TunOptions) {
            self.fail_closed = options.fail_closed;
            self.note("change");
        }

        fn renew(&mut self) -> Result<(), Error> {
            if let Some(error) = self.lacks.as_ref().and_then(|lacks| lacks.lock().unwrap().clone()) {
                self.note("lacks");
                return Err(error);
            }
            self.made = None;
            if !std::mem::replace(&mut self.fresh, false) {
                self.note("renew");
            }
            Ok(())
        }

        fn attach(&mut self, _: &Redundant) -> Result<(), Error> {
            assert!(Handle::try_current().is_ok());
            self.note("attach");
            Ok(())
        }

        fn know(&mut self, _: &[IpAddr]) {}

        fn follow(&mut self, status: &RedundancyStatus) -> Result<Option<Shape>, Error> {
            let active = status.gateways.iter().find(|gateway| status.active.as_deref() == Some(&*gateway.name));
            let (network, up) = match (active.and_then(|active| active.network.clone()), &self.made) {
                (Some(network), _) => (network, true),
                (None, Some((network, _))) => (Arc::clone(network), false),
                (None, None) => return Ok(None),
            };
            let (first, new) = (self.made.is_none(), Some((Arc::clone(&network), up)));
            if self.made == new {
                return Ok(None);
            }
            self.made = new;
            self.blocks = self.fail_closed;
            self.note(if up { "up" } else { "down" });
            Ok(Some(Shape { network, up, first }))
        }

        fn blocks(&self) -> bool {
            self.blocks
        }

        fn rest(&mut self) {
            self.note("rest");
        }

        fn undo(&mut self) {
            self.undone = true;
            self.note("undo");
            if let Some(held) = &self.held {
                held.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            }
        }
    }

    impl Drop for Double {
        fn drop(&mut self) {
            if !self.undone {
                self.note(if self.blocks { "left blocking" } else { "left" });
            }
        }
    }

    fn kept(done: &Done) -> Keeper {
        let double = Double::new(&TunOptions::default(), done);
        Keeper::start(move || Ok(Box::new(double))).unwrap()
    }

    #[tokio::test]
    async fn what_hangs_holds_up_nobody_and_is_given_up() {
        let (go, held) = mpsc::channel::<()>();
        let done = Done::default();
        let double = Double::new(&TunOptions::default(), &done);
        let open = move || {
            held.recv().ok();
            Ok(Box::new(double) as Box<dyn Surround>)
        };
        let mut keeper = Keeper::with_limit(open, Duration::from_millis(50)).unwrap();
        let Told::Lost(error) = keeper.next().await else { panic!("it hangs") };
        assert!(error.to_string().contains("within 0.05 s") && error.hint_text().is_some(), "{error}");
        drop(keeper);
        // When it comes after all, it is undone.
        go.send(()).unwrap();
        does(&done, "adit0 left").await;
    }

    #[tokio::test]
    async fn it_ends_when_told_to_or_when_nobody_is_left() {
        let done = Done::default();
        let mut keeper = kept(&done);
        assert!(matches!(keeper.next().await, Told::Opened(name) if name == "adit0"));
        keeper.rest(None);
        assert!(matches!(keeper.next().await, Told::Rested { blocks: false }));
        keeper.undo(None);
        assert!(matches!(keeper.next().await, Told::Gone));
        assert_eq!(*done.borrow(), ["adit0 open", "adit0 rest", "adit0 undo"]);
        keeper.renew();
        assert!(matches!(keeper.next().await, Told::Lost(_)));
        drop(kept(&done));
        does(&done, "adit0 left").await;
    }

    #[tokio::test]
    async fn what_cannot_be_opened_is_told() {
        let mut keeper = Keeper::start(|| Err(Error::new(Exit::LocalSocket, "no rights"))).unwrap();
        assert!(matches!(keeper.next().await, Told::Lost(error) if error.to_string() == "no rights"));
    }
}

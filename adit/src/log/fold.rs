//! Warnings that come again and again are said once, and then counted: "… 37 more in 60 s".

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Span, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// How long the same warning is counted instead of said.
const WINDOW: Duration = Duration::from_secs(60);
/// Different texts of one kind of warning that are said within a window; each further one is counted with the last of them.
const TEXTS: usize = 10;
/// The target of the sums. They pass always.
const TARGET: &str = "adit::fold";

/// The span of a forward.
const FORWARD: &str = "forward";

/// Lets a warning pass, or counts it.
pub(crate) struct Fold {
    clock: fn() -> Instant,
    folded: Mutex<HashMap<Place, Vec<Folded>>>,
}

/// Where a warning comes from: a line of the program, and the span of what it is about: of a forward, or else the outermost one,
/// which is that of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    callsite: Identifier,
    about: Option<u64>,
}

#[derive(Debug)]
struct Folded {
    text: String,
    begin: Instant,
    more: u64,
    /// In which it was said first.
    span: Span,
}

impl Fold {
    pub(crate) fn new() -> Self {
        Self { clock: Instant::now, folded: Mutex::default() }
    }

    /// Whether it is to be said.
    fn passes(&self, place: Place, text: String) -> bool {
        let now = (self.clock)();
        let mut folded = self.lock();
        let texts = folded.entry(place).or_default();
        // The sums of what is over are said by whoever asks for them.
        texts.retain(|known| known.more > 0 || now < known.begin + WINDOW);
        let is_current = |known: &Folded| now < known.begin + WINDOW;
        let current = texts.iter().filter(|known| is_current(known)).count();
        let same = texts.iter_mut().find(|known| is_current(known) && known.text == text);
        if let Some(known) = same {
            known.more += 1;
            return false;
        }
        if current >= TEXTS
            && let Some(last) = texts.iter_mut().rfind(|known| is_current(known))
        {
            last.more += 1;
            return false;
        }
        texts.push(Folded { text, begin: now, more: 0, span: Span::current() });
        true
    }

    /// Takes the sums of all that is over, or of everything, the oldest first.
    fn take(&self, all: bool) -> Vec<Folded> {
        let now = (self.clock)();
        let mut taken = Vec::new();
        self.lock().retain(|_, texts| {
            taken.extend(texts.extract_if(.., |known| all || now >= known.begin + WINDOW));
            !texts.is_empty()
        });
        taken.retain(|known| known.more > 0);
        taken.sort_by_key(|known| known.begin);
        taken
    }

    /// Says how often the warnings came whose time is over; all of them at the end of the program.
    pub(crate) fn say(&self, all: bool) {
        for Folded { text, begin, more, span } in self.take(all) {
            let seconds = (self.clock)().saturating_duration_since(begin).min(WINDOW).as_secs();
            span.in_scope(|| tracing::warn!(target: TARGET, "… {more} more in {seconds} s: {text}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Vec<Folded>>> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for &'static Fold {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, cx: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // What was otherwise in between is no repetition: without it nobody could tell why a gateway that flaps was left again.
        let is_exempt = [TARGET, adit_driver::STATE_CHANGES].contains(&metadata.target());
        if *metadata.level() != Level::WARN || is_exempt {
            return true;
        }
        let about = cx.event_scope(event).and_then(|scope| {
            let mut spans = scope.from_root();
            let root = spans.next();
            spans.find(|span| span.name() == FORWARD).or(root)
        });
        let about = about.map(|span| span.id().into_u64());
        let mut text = Message(String::new());
        event.record(&mut text);
        self.passes(Place { callsite: metadata.callsite(), about }, text.0)
    }
}

/// The text of an event, without its fields: those tell apart what is the same.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        io,
        sync::{Arc, LazyLock},
    };

    use tracing_subscriber::{Layer, layer::SubscriberExt};

    use super::*;

    thread_local! {
        static LATER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// A clock of the test's own.
    fn clock() -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + LATER.get()
    }

    fn pass(seconds: u64) {
        LATER.set(LATER.get() + Duration::from_secs(seconds));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged meanwhile, a line each.
    fn logged(act: impl FnOnce(&Fold)) -> Vec<String> {
        let fold: &'static Fold = Box::leak(Box::new(Fold { clock, folded: Mutex::default() }));
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time();
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(fold));
        tracing::subscriber::with_default(subscriber, || act(fold));
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn warn(peer: usize) {
        tracing::warn!(peer, "cannot connect: refused");
    }

    #[test]
    fn the_same_warning_is_said_once_and_then_counted() {
        let lines = logged(|fold| {
            for peer in 0..38 {
                warn(peer);
                fold.say(false);
            }
            pass(60);
            fold.say(false);
            fold.say(false);
            warn(99);
        });
        assert_eq!(
            lines,
            [
                "WARN cannot connect: refused peer=0",
                "WARN … 37 more in 60 s: cannot connect: refused",
                "WARN cannot connect: refused peer=99"
            ]
        );
    }

    #[test]
    fn a_sum_that_nobody_asked_for_is_not_lost() {
        let lines = logged(|fold| {
            warn(1);
            warn(2);
            pass(61);
            warn(3);
            fold.say(false);
            warn(4);
            fold.say(true);
        });
        let sums: Vec<_> = lines.iter().filter(|line| line.contains('…')).collect();
        assert_eq!(
            sums,
            ["WARN … 1 more in 60 s: cannot connect: refused", "WARN … 1 more in 0 s: cannot connect: refused"]
        );
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn connections_are_not_folded_into_each_other() {
        let lines = logged(|_| {
            for name in ["a", "b"] {
                tracing::info_span!("connection", connection = name).in_scope(|| {
                    warn(1);
                    tracing::info_span!("inner").in_scope(|| warn(2));
                });
            }
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn forwards_of_a_connection_are_not_folded_into_each_other() {
        let lines = logged(|_| {
            let _connection = tracing::info_span!("connection", connection = "office").entered();
            for name in ["web", "db"] {
                let forward = tracing::info_span!("forward", forward = name);
                forward.in_scope(|| warn(1));
                forward.in_scope(|| tracing::info_span!("inner").in_scope(|| warn(2)));
            }
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("db"), "{lines:?}");
    }

    #[test]
    fn a_flood_of_different_texts_is_folded_too() {
        let lines = logged(|fold| {
            for number in 0..1000 {
                tracing::warn!("strange thing {number}");
            }
            fold.say(true);
        });
        assert_eq!(lines.len(), TEXTS + 1, "{lines:?}");
        assert_eq!(lines[TEXTS], "WARN … 990 more in 0 s: strange thing 9");
    }

    #[test]
    fn changes_of_state_are_said_each_time() {
        let lines = logged(|fold| {
            for _ in 0..3 {
                tracing::warn!(target: adit_driver::STATE_CHANGES, "tunnel lost: silence");
            }
            fold.say(true);
        });
        assert_eq!(lines, ["WARN tunnel lost: silence"; 3]);
    }

    #[test]
    fn only_warnings_are_folded() {
        let lines = logged(|_| {
            for _ in 0..3 {
                tracing::error!("error");
                tracing::info!("info");
            }
        });
        assert_eq!(lines.len(), 6);
    }
}

//! The log of the demo: what happens step by step, each with its time since the start.

use std::{fmt, time::Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// `   12 ms  IKEv2 client: the gateway has proved to be …`. Spans say who speaks.
pub(crate) struct Steps {
    start: Instant,
}

impl Steps {
    /// What is shown though it is no more than a detail elsewhere: the algorithms agreed on.
    pub(crate) const DETAILS: &str = ",ikev2::sa=debug";

    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl<S, N> FormatEvent<S, N> for Steps
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, cx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(to, "{:>6} ms  ", self.start.elapsed().as_millis())?;
        let level = *event.metadata().level();
        if level <= Level::WARN {
            write!(to, "{}: ", if level == Level::WARN { "warning" } else { "error" })?;
        }
        // Of several, the outermost: it is the one that has a name for people.
        if let Some(speaker) = cx.event_scope().and_then(|scope| scope.from_root().next()) {
            write!(to, "{}: ", speaker.name())?;
        }
        cx.format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_step_has_its_time_and_who_speaks() {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Page {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let to = page.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).event_format(Steps::new());
        tracing::subscriber::with_default(log.with_writer(move || to.clone()).finish(), || {
            tracing::info!("begun");
            tracing::info_span!("IKEv2 client").in_scope(|| tracing::warn!(tries = 2, "no answer"));
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(" ms  ").unwrap()).collect();
        assert_eq!([lines[0].1, lines[1].1], ["begun", "warning: IKEv2 client: no answer tries=2"]);
        assert!(lines.iter().all(|(time, _)| time.len() == 6 && time.trim().parse::<u64>().is_ok()), "{text}");
    }
}

//! Questions to the person at the terminal, or to whatever writes to standard input.

use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use adit_driver::{PromptFuture, Prompter};
use adit_tunnel::{Answer, Prompt, Secret};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::terminal;

/// A longer line is no answer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Whether somebody can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Whether no answer can come from standard input: it is at its end, as `/dev/null` is. Neither blocks nor takes anything.
#[cfg(unix)]
pub(crate) fn is_at_end() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    if is_interactive() {
        return false;
    }
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    let readable = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
    readable && stdin.lock().fill_buf().is_ok_and(<[u8]>::is_empty)
}

#[cfg(not(unix))]
pub(crate) fn is_at_end() -> bool {
    false
}

/// Asks for something that may be seen.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    show(question)?;
    let line = read_line(false)?;
    Ok(String::from_utf8_lossy(line.expose()).into_owned())
}

/// Asks for something nobody must see.
pub(crate) fn ask_secret(question: &str) -> io::Result<Secret> {
    let _settings = terminal::Changed::note();
    Ok(Secret::new(rpassword::prompt_password(question)?))
}

/// Shows the gateway's questions on standard error. Answers come from the terminal, or else from standard input, a line
/// each.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    desk: Arc<Desk>,
}

impl Person {
    pub(crate) fn new() -> Self {
        Self { desk: Desk::new(Box::new(read_line)) }
    }
}

impl Prompter for Person {
    fn prompt(&self, prompt: Prompt) -> PromptFuture {
        match prompt {
            Prompt::Challenge { text, echo } => {
                terminal::prepare(echo);
                let shown = show(&format!("{text}: "));
                let question = self.desk.ask(!echo);
                return Box::pin(async move {
                    let answer = match shown {
                        Ok(()) => question.answer().await,
                        Err(error) => Err(error),
                    };
                    match answer {
                        Ok(response) => Answer::Response(response),
                        Err(error) => {
                            tracing::error!("the gateway's question was not answered: {error}");
                            Answer::Cancelled
                        }
                    }
                });
            }
            Prompt::OpenUrl { url } => tracing::warn!(url, "to go on, open this page in a browser: {url}"),
            Prompt::Message { text } => tracing::warn!("the gateway says: {text}"),
        }
        Box::pin(std::future::ready(Answer::Cancelled))
    }
}

fn show(question: &str) -> io::Result<()> {
    let mut stderr = io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()
}

/// A line of standard input. What is typed is hidden by the settings of the terminal, or else here.
fn read_line(hidden: bool) -> io::Result<Secret> {
    if cfg!(not(unix)) && hidden && is_interactive() {
        return Ok(Secret::new(rpassword::read_password()?));
    }
    let mut line = Zeroizing::new(Vec::new());
    io::stdin().lock().take(MAX_ANSWER_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "standard input has ended"));
    }
    let content = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(Secret::new(content.strip_suffix(b"\r").unwrap_or(content)))
}

/// Where the newest question waits for its answer.
///
/// A blocking read of standard input cannot be taken back. So one thread reads, as long as there is a question; what it gets
/// belongs to the question that is open then, and to nobody if there is none.
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

/// Reads a line; whether what is typed must be hidden.
type ReadLine = Box<dyn FnMut(bool) -> io::Result<Secret> + Send>;

struct State {
    open: Option<Open>,
    asked: u64,
    /// The thread is in its read.
    reading: bool,
    /// Until the thread is started.
    source: Option<ReadLine>,
}

struct Open {
    number: u64,
    hidden: bool,
    answer: oneshot::Sender<io::Result<Secret>>,
}

/// A question that was shown. Dropped without an answer, it is withdrawn.
struct Question {
    desk: Arc<Desk>,
    number: u64,
    answer: oneshot::Receiver<io::Result<Secret>>,
}

impl Desk {
    fn new(source: ReadLine) -> Arc<Self> {
        let state = State { open: None, asked: 0, reading: false, source: Some(source) };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, the next line answers this question.
    fn ask(self: &Arc<Self>, hidden: bool) -> Question {
        let mut state = self.lock();
        state.asked += 1;
        let (number, (sender, answer)) = (state.asked, oneshot::channel());
        state.open = Some(Open { number, hidden, answer: sender });
        if let Some(source) = state.source.take() {
            let desk = Arc::clone(self);
            // Ends with the process: nothing can interrupt its read.
            let started = thread::Builder::new().name("answers".into()).spawn(move || desk.read(source));
            if let Err(error) = started
                && let Some(open) = state.open.take()
            {
                drop(open.answer.send(Err(error)));
            }
        }
        self.changed.notify_all();
        Question { desk: Arc::clone(self), number, answer }
    }

    fn read(&self, mut source: ReadLine) {
        loop {
            let state = self.lock();
            let mut state =
                self.changed.wait_while(state, |state| state.open.is_none()).unwrap_or_else(PoisonError::into_inner);
            state.reading = true;
            let hidden = state.open.as_ref().is_some_and(|open| open.hidden);
            drop(state);
            let line = source(hidden);
            let mut state = self.lock();
            state.reading = false;
            match state.open.take() {
                // An error says that it was withdrawn this moment.
                Some(open) => drop(open.answer.send(line)),
                None if line.is_ok() => tracing::warn!("a line was discarded: the question it was typed for is gone"),
                None => {}
            }
            self.changed.notify_all();
        }
    }

    /// Waits until the thread has done something with the line it was given.
    #[cfg(test)]
    fn wait_idle(&self) {
        drop(self.changed.wait_while(self.lock(), |state| state.reading).unwrap());
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Question {
    async fn answer(mut self) -> io::Result<Secret> {
        let Ok(answer) = (&mut self.answer).await else {
            return Err(io::Error::other("a newer question took its place"));
        };
        terminal::restore();
        answer
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let withdrawn = self.desk.lock().open.take_if(|open| open.number == self.number).is_some();
        if withdrawn {
            terminal::restore();
            // The question stands at the end of its line. A closed standard error cannot be helped.
            drop(writeln!(io::stderr()));
            tracing::info!("the question needs no answer any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, Sender, channel},
        time::Duration,
    };

    use super::*;

    /// A desk, where to type, and a signal whenever it begins to read.
    fn desk() -> (Arc<Desk>, Sender<&'static str>, Receiver<()>) {
        let (typed, lines) = channel::<&str>();
        let (begins, reading) = channel();
        let source = move |_| {
            begins.send(()).map_err(io::Error::other)?;
            lines.recv().map(Secret::from).map_err(io::Error::other)
        };
        (Desk::new(Box::new(source)), typed, reading)
    }

    async fn answer(question: Question) -> String {
        let answer = tokio::time::timeout(Duration::from_secs(30), question.answer()).await.expect("in time");
        String::from_utf8(answer.unwrap().expose().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_was_typed_for_a_question_that_is_gone_answers_no_other() {
        let (desk, typed, reading) = desk();
        let old = desk.ask(true);
        reading.recv().unwrap();
        drop(old);
        typed.send("for the old one").unwrap();
        desk.wait_idle();
        let new = desk.ask(true);
        typed.send("for the new one").unwrap();
        assert_eq!(answer(new).await, "for the new one");
    }

    #[tokio::test]
    async fn an_answer_goes_to_the_newest_question() {
        let (desk, typed, reading) = desk();
        let old = desk.ask(true);
        reading.recv().unwrap();
        let new = desk.ask(true);
        typed.send("hello").unwrap();
        assert!(old.answer().await.is_err());
        assert_eq!(answer(new).await, "hello");
        assert!(reading.try_recv().is_err(), "nobody reads while nothing is asked");
    }

    #[tokio::test]
    async fn several_questions_take_a_line_each() {
        let (desk, typed, _reading) = desk();
        typed.send("one").unwrap();
        typed.send("two").unwrap();
        assert_eq!(answer(desk.ask(true)).await, "one");
        assert_eq!(answer(desk.ask(true)).await, "two");
        drop(typed);
        assert!(desk.ask(true).answer().await.is_err(), "the end of the input is no answer");
    }
}

//! Questions of many connections to one person: one after the other, each with the name of whose it is.

use std::sync::Arc;

use adit_driver::{PromptFuture, Prompter};
use adit_tunnel::Prompt;
use tokio::sync::Mutex;

/// Where the connections of a process queue to ask.
#[derive(Clone)]
pub(crate) struct Desk {
    person: Arc<dyn Prompter>,
    turn: Arc<Mutex<()>>,
}

impl Desk {
    pub(crate) fn new(person: impl Prompter) -> Self {
        Self { person: Arc::new(person), turn: Arc::default() }
    }

    /// The person alone, for a connection that is alone.
    pub(super) fn person(&self) -> Arc<dyn Prompter> {
        Arc::clone(&self.person)
    }

    /// A place in the queue, for the connection of this name.
    pub(super) fn of(&self, connection: &str) -> Arc<dyn Prompter> {
        Arc::new(Place { desk: self.clone(), connection: connection.into() })
    }
}

struct Place {
    desk: Desk,
    connection: Arc<str>,
}

impl Prompter for Place {
    fn prompt(&self, prompt: Prompt) -> PromptFuture {
        let Prompt::Challenge { text, echo } = prompt else { return self.desk.person.prompt(prompt) };
        let text = format!("{}: {text}", self.connection);
        let Desk { person, turn } = self.desk.clone();
        Box::pin(async move {
            // Held until the answer is there, or the question is withdrawn.
            let _turn = turn.lock().await;
            person.prompt(Prompt::Challenge { text, echo }).await
        })
    }
}

#[cfg(test)]
mod tests {
    use adit_tunnel::Answer;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    type Asked = (String, oneshot::Sender<&'static str>);

    /// Hands the questions to the test.
    struct Tester(mpsc::UnboundedSender<Asked>);

    impl Prompter for Tester {
        fn prompt(&self, prompt: Prompt) -> PromptFuture {
            let Prompt::Challenge { text, .. } = prompt else { panic!("no question: {prompt:?}") };
            let (answer, answered) = oneshot::channel();
            self.0.send((text, answer)).unwrap();
            Box::pin(async { answered.await.map_or(Answer::Cancelled, |text| Answer::Response(text.into())) })
        }
    }

    fn question() -> Prompt {
        Prompt::Challenge { text: "code".to_owned(), echo: false }
    }

    #[tokio::test]
    async fn questions_of_two_connections_are_asked_one_after_the_other() {
        let (sender, mut asked) = mpsc::unbounded_channel();
        let desk = Desk::new(Tester(sender));
        let one = tokio::spawn(desk.of("one").prompt(question()));
        let (text, answer) = asked.recv().await.unwrap();
        assert_eq!(text, "one: code");
        let two = tokio::spawn(desk.of("two").prompt(question()));
        let three = tokio::spawn(desk.of("three").prompt(question()));
        tokio::task::yield_now().await;
        assert!(asked.try_recv().is_err(), "the first one is not answered yet");
        answer.send("1").unwrap();
        assert!(matches!(one.await.unwrap(), Answer::Response(_)));
        let (text, _open) = asked.recv().await.unwrap();
        assert_eq!(text, "two: code");
        // Withdrawn: its tunnel has ended.
        two.abort();
        assert_eq!(asked.recv().await.unwrap().0, "three: code");
        three.abort();
    }
}

//! What the gateway wants a person to read or answer: within bounds, for it may be hostile.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use adit_tunnel::{Answer, Prompt};

use crate::{active::Env, client::ClientEvent, options::PromptFuture};

/// So many questions, and as many texts and pages, may one tunnel bring. An honest gateway has a few at each login.
const MAX_PROMPTS: u32 = 16;

/// The prompts of one tunnel. Dropped with it, and so are the futures of whoever shows them.
#[derive(Default)]
pub(crate) struct Prompts {
    /// Not shown yet.
    raised: VecDeque<Prompt>,
    /// The open question: there is one at most.
    challenge: Option<PromptFuture>,
    notices: Vec<PromptFuture>,
    challenges_raised: u32,
    notices_raised: u32,
}

impl Prompts {
    /// Takes a prompt, to be shown by the next [`Self::poll`]. A newer question replaces an older one.
    pub(crate) fn raise(&mut self, prompt: Prompt) {
        let (raised, what) = if is_challenge(&prompt) {
            (&mut self.challenges_raised, "questions")
        } else {
            (&mut self.notices_raised, "messages")
        };
        *raised = raised.saturating_add(1);
        if *raised > MAX_PROMPTS {
            if *raised == MAX_PROMPTS + 1 {
                tracing::warn!("the gateway has more than {MAX_PROMPTS} {what}: further ones are dropped");
            }
            return;
        }
        if is_challenge(&prompt) {
            self.withdraw();
        }
        self.raised.push_back(prompt);
    }

    /// The question needs no answer any more.
    pub(crate) fn withdraw(&mut self) {
        self.raised.retain(|prompt| !is_challenge(prompt));
        self.challenge = None;
    }

    /// Whether somebody is being asked.
    pub(crate) fn is_asking(&self) -> bool {
        self.challenge.is_some() || self.raised.iter().any(is_challenge)
    }

    /// Shows what was raised; the answer to the open question, once there is one. Calls foreign code: no lock may be held.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, env: &Env) -> Option<Answer> {
        while let Some(prompt) = self.raised.pop_front() {
            let asks = is_challenge(&prompt);
            env.shared.publish(ClientEvent::Prompt(prompt.clone()));
            let future = env.prompter.prompt(prompt);
            if asks {
                self.challenge = Some(future);
            } else {
                self.notices.push(future);
            }
        }
        self.notices.retain_mut(|notice| notice.as_mut().poll(cx).is_pending());
        let Poll::Ready(answer) = self.challenge.as_mut()?.as_mut().poll(cx) else { return None };
        self.challenge = None;
        Some(answer)
    }
}

/// Whether somebody must answer.
pub(crate) fn is_challenge(prompt: &Prompt) -> bool {
    matches!(prompt, Prompt::Challenge { .. })
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Arc, Mutex},
        task::Waker,
    };

    use super::*;
    use crate::{Options, Prompter, shared::Shared};

    /// What happened, in order. Texts that begin with `?` are never answered.
    #[derive(Clone, Default)]
    struct Diary(Arc<Mutex<Vec<String>>>);

    struct Gone(Diary, String);

    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.note(format!("gone {}", self.1));
        }
    }

    impl Diary {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }

        fn entries(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Prompter for Diary {
        fn prompt(&self, prompt: Prompt) -> PromptFuture {
            let (Prompt::Challenge { text, .. } | Prompt::Message { text } | Prompt::OpenUrl { url: text }) = prompt;
            self.note(text.clone());
            let gone = Gone(self.clone(), text.clone());
            Box::pin(async move {
                let _gone = gone;
                if text.starts_with('?') {
                    pending::<()>().await;
                }
                Answer::Response(text.as_str().into())
            })
        }
    }

    fn env() -> (Env, Diary) {
        let diary = Diary::default();
        (Env::new(Arc::new(Shared::new(Options::default(), 1)), Arc::new(diary.clone())), diary)
    }

    fn question(text: &str) -> Prompt {
        Prompt::Challenge { text: text.into(), echo: true }
    }

    fn poll(prompts: &mut Prompts, env: &Env) -> Option<String> {
        match prompts.poll(&mut Context::from_waker(Waker::noop()), env)? {
            Answer::Response(text) => Some(String::from_utf8(text.expose().to_vec()).unwrap()),
            Answer::Cancelled => None,
        }
    }

    #[test]
    fn a_newer_question_takes_the_place_of_the_older_one() {
        let (env, diary) = env();
        let mut prompts = Prompts::default();
        prompts.raise(question("?old"));
        assert_eq!(poll(&mut prompts, &env), None);
        prompts.raise(question("?never shown"));
        prompts.raise(question("new"));
        assert_eq!(poll(&mut prompts, &env).as_deref(), Some("new"));
        assert_eq!(diary.entries(), ["?old", "gone ?old", "new", "gone new"]);
        assert_eq!(poll(&mut prompts, &env), None);
    }

    #[test]
    fn a_gateway_with_thousands_of_messages_is_cut_short() {
        let (env, diary) = env();
        let mut prompts = Prompts::default();
        for number in 0..5000 {
            prompts.raise(Prompt::Message { text: format!("?{number}") });
            prompts.raise(question("?"));
            if number % 3 == 0 {
                assert_eq!(poll(&mut prompts, &env), None);
            }
        }
        let shown = |what: &dyn Fn(&str) -> bool| diary.entries().iter().filter(|entry| what(entry)).count();
        assert_eq!(shown(&|entry| entry.len() > 1 && entry.starts_with('?')), 16);
        assert!(shown(&|entry| entry == "?") <= 16);
        assert_eq!((prompts.notices.len(), prompts.raised.len()), (16, 0));
    }

    #[test]
    fn messages_do_not_hold_up_a_question() {
        let (env, _) = env();
        let mut prompts = Prompts::default();
        prompts.raise(Prompt::Message { text: "?read me".into() });
        prompts.raise(question("code"));
        assert_eq!(poll(&mut prompts, &env).as_deref(), Some("code"));
    }
}

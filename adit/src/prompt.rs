//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use adit_driver::{PromptFuture, Prompter};
use adit_tunnel::{Answer, Prompt, Secret};

/// Whether somebody can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Asks for something that may be seen.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for something nobody must see.
pub(crate) fn ask_secret(question: &str) -> io::Result<Secret> {
    Ok(Secret::new(rpassword::prompt_password(question)?))
}

/// Shows the gateway's questions on standard error. Answers come from the terminal, or else from standard input, a line
/// each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person;

impl Prompter for Person {
    fn prompt(&self, prompt: Prompt) -> PromptFuture {
        match prompt {
            Prompt::Challenge { text, echo } => Box::pin(async move {
                let asked = tokio::task::spawn_blocking(move || answer(&text, echo)).await;
                match asked.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(response) => Answer::Response(response),
                    Err(error) => {
                        tracing::error!("the gateway's question was not answered: {error}");
                        Answer::Cancelled
                    }
                }
            }),
            Prompt::OpenUrl { url } => {
                tracing::warn!(url, "to go on, open this page in a browser: {url}");
                Box::pin(std::future::ready(Answer::Cancelled))
            }
            Prompt::Message { text } => {
                tracing::warn!("the gateway says: {text}");
                Box::pin(std::future::ready(Answer::Cancelled))
            }
        }
    }
}

fn answer(text: &str, echo: bool) -> io::Result<Secret> {
    let question = format!("{text}: ");
    if is_interactive() && !echo {
        return ask_secret(&question);
    }
    ask(&question).map(|line| Secret::new(line.into_bytes()))
}

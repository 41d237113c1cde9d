//! How far a call is that answers over and over, as a bar on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use tonic::Streaming;

use crate::{error::ConsoleError, view::clean};

/// What a message says of the way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) text: String,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
}

/// Draws every message and gives the last, which is the answer. Ctrl-C ends the program, and with it the call.
pub(crate) async fn follow<M>(
    mut messages: Streaming<M>,
    step: impl Fn(&M) -> Step,
) -> Result<M, ConsoleError> {
    let bar = bar();
    let mut last = None;
    let ended = loop {
        match messages.message().await {
            Ok(Some(message)) => {
                draw(&bar, &step(&message));
                last = Some(message);
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    bar.finish_and_clear();
    ended?;
    last.ok_or(ConsoleError::Incomplete("end"))
}

/// Hidden by itself where standard error is no terminal.
pub(super) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(0).with_style(style.expect("the template is right").progress_chars("=> "))
}

fn draw(bar: &ProgressBar, step: &Step) {
    if step.bytes_done < bar.position() {
        // Another volume: how fast the last one went says nothing of it.
        bar.reset();
    }
    bar.set_message(clean(&step.text));
    bar.set_length(step.bytes_total);
    bar.set_position(step.bytes_done.min(step.bytes_total));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_volume_begins_anew() {
        let bar = bar();
        let step = |text: &str, bytes_done| Step { text: text.to_owned(), bytes_done, bytes_total: 100 };

        draw(&bar, &step("volume 1", 100));
        draw(&bar, &step("volume\u{1b}2", 7));

        assert_eq!((bar.position(), bar.length(), bar.message().as_str()), (7, Some(100), "volume 2"));
        draw(&bar, &step("volume 2", 101));
        assert_eq!(bar.position(), 100);
    }
}

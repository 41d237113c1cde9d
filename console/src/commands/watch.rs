//! Looking again every second until nothing more is to be waited for, with the state on standard error meanwhile.
//!
//! Where standard error is no terminal nothing is drawn; the answer comes at the end either way.

use std::{collections::BTreeMap, future, pin::pin, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    connect::Session,
    error::ConsoleError,
    view::{View, clean, show},
};

const PERIOD: Duration = Duration::from_secs(1);
/// A terminal shows no more; the rest is counted.
const LINES_MAX: usize = 20;
/// How often in a row a lost connection is tried again.
const LOST_MAX: u32 = 30;

/// What one look found.
pub(crate) struct Look<V> {
    pub(crate) view: V,
    pub(crate) lines: Vec<Line>,
    /// Nothing more will change by itself.
    pub(crate) settled: bool,
}

/// One line on the screen, a bar if it counts bytes.
pub(crate) struct Line {
    /// The same thing has the same key in the next look.
    pub(crate) key: String,
    pub(crate) text: String,
    /// Done, and of how many.
    pub(crate) bytes: Option<(u64, u64)>,
}

/// Looks until all is settled or somebody presses Ctrl-C, then shows the last answer.
pub(crate) async fn watch<V: View>(
    session: &Session,
    mut look: impl AsyncFnMut() -> Result<Look<V>, ConsoleError>,
) -> Result<(), ConsoleError> {
    let mut stop = pin!(interrupted());
    let mut board = Board::new();
    let mut last = None;
    let mut lost = 0;
    loop {
        let seen = tokio::select! {
            () = &mut stop => break,
            seen = look() => seen,
        };
        match seen {
            Ok(seen) => {
                lost = 0;
                board.draw(seen.lines);
                last = Some(seen.view);
                if seen.settled {
                    break;
                }
            }
            Err(error) if error.is_transient() && lost < LOST_MAX => {
                lost += 1;
                board.draw(vec![Line::text("lost", format!("{error}; trying again"))]);
            }
            Err(error) => {
                board.clear();
                return Err(error);
            }
        }
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
    board.clear();
    last.map_or(Ok(()), |view| show(&view, session.format))
}

/// Ends at Ctrl-C.
pub(crate) async fn interrupted() {
    // Without a handler the signal ends the process by itself.
    if tokio::signal::ctrl_c().await.is_err() {
        future::pending().await
    }
}

impl Line {
    pub(crate) fn text(key: impl Into<String>, text: String) -> Self {
        Line { key: key.into(), text, bytes: None }
    }
}

/// Lines on a terminal that are drawn over and over.
struct Board {
    multi: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
}

impl Board {
    fn new() -> Self {
        Board { multi: MultiProgress::new(), bars: BTreeMap::new() }
    }

    fn draw(&mut self, lines: Vec<Line>) {
        if self.multi.is_hidden() {
            return;
        }
        let lines = cut(lines);
        self.bars.retain(|key, bar| {
            let stays = lines.iter().any(|line| line.key == *key);
            if !stays {
                self.multi.remove(bar);
            }
            stays
        });
        for (at, line) in lines.into_iter().enumerate() {
            let bar = self.bars.entry(line.key).or_insert_with(|| {
                self.multi.insert(at, ProgressBar::new(0).with_style(style(line.bytes.is_some())))
            });
            if let Some((done, total)) = line.bytes {
                bar.set_length(total);
                bar.set_position(done.min(total));
            }
            bar.set_message(clean(&line.text));
            bar.tick();
        }
    }

    fn clear(&mut self) {
        self.bars.clear();
        // What cannot be cleared stays on the screen, which harms nothing.
        let _ = self.multi.clear();
    }
}

fn style(counts_bytes: bool) -> ProgressStyle {
    let template =
        if counts_bytes { "  [{bar:24}] {bytes}/{total_bytes} {wide_msg}" } else { "  {wide_msg}" };
    ProgressStyle::with_template(template).expect("the templates are right").progress_chars("=> ")
}

fn cut(mut lines: Vec<Line>) -> Vec<Line> {
    if lines.len() > LINES_MAX {
        let more = lines.len() - (LINES_MAX - 1);
        lines.truncate(LINES_MAX - 1);
        lines.push(Line::text("more", format!("and {more} more")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<Line> {
        (0..count).map(|at| Line::text(at.to_string(), format!("line {at}"))).collect()
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(cut(lines(LINES_MAX)).len(), LINES_MAX);

        let cut = cut(lines(100));
        assert_eq!(cut.len(), LINES_MAX);
        assert_eq!(cut[LINES_MAX - 1].text, "and 81 more");
    }

    #[test]
    fn both_styles_are_right() {
        style(true);
        style(false);
    }
}

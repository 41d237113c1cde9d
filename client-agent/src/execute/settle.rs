//! Looks after the run that the ledger has as open, whether this process started it or one before.

use std::{fs, path::Path, time::Duration};

use packhorse_domain::{
    Timestamp,
    advertisement::Delivery,
    run::{Past, Settlement, Supervisor, settle, stopped},
    status::{OUTPUT_TAIL_MAX, cut},
};
use packhorse_runtime::{Next, error_chain};

use super::{ExecuteError, Executor, start::remove_tree};
use crate::{
    ledger::{RunRecord, RunState, StatusChange},
    runner::{Found, Outcome, RunResult, Spool},
};

/// How long an end goes unnoticed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Executor {
    /// Removes what no open run needs: a crash may come between a run's end in the ledger and its tidying up.
    pub(super) fn tidy(&mut self) -> Result<(), ExecuteError> {
        self.open = self.shared.ledger.runs()?.into_iter().find(|run| run.state == RunState::Open);
        let tree = self.open.as_ref().map(RunRecord::tree_name);
        let spool = self.open.as_ref().map(RunRecord::spool_name);
        for (directory, needed) in [(self.shared.home.work(), tree), (self.shared.home.runs(), spool)] {
            for name in names(&directory)? {
                if needed.as_ref() != Some(&name) {
                    remove_tree(&directory.join(name))?;
                }
            }
        }
        self.tidied = true;
        Ok(())
    }

    /// `None` if there is no open run.
    pub(super) fn settle_open(&mut self) -> Result<Option<Next>, ExecuteError> {
        let Some(run) = self.open.clone() else { return Ok(None) };
        let spool = Spool::at(&self.shared.home.runs().join(run.spool_name()));

        let (supervisor, result) = self.supervisor(&spool)?;
        match settle(supervisor, run.idempotent, run.attempts) {
            Settlement::Watch => return Ok(Some(Next::After(LOOK_AGAIN))),
            Settlement::Finish => self.finish(run, &spool, result)?,
            Settlement::Repeat => self.repeat(run, &spool)?,
            Settlement::Interrupted => self.interrupted(run, &spool)?,
        }
        self.open = None;
        // Reaps the supervisor; the system does it if it is not done yet.
        if let Some(mut child) = self.launched.take() {
            let _ = child.wait();
        }
        Ok(Some(Next::Again))
    }

    /// Has the running program stopped if its release was killed since it started.
    pub(super) fn stop_killed(&self) -> Result<(), ExecuteError> {
        let Some(run) = &self.open else { return Ok(()) };
        let Some(killed) = self.shared.ledger.seen()?.kills.killed(&run.package, run.release) else {
            return Ok(());
        };
        let spool = Spool::at(&self.shared.home.runs().join(run.spool_name()));
        if spool.stop(&killed.to_string())? {
            let (package, killed) = (run.package.as_str(), killed.to_string());
            tracing::warn!(
                advertisement = run.advertisement.as_str(),
                package,
                killed,
                "a running program is stopped"
            );
        }
        Ok(())
    }

    fn supervisor(&mut self, spool: &Spool) -> Result<(Supervisor, Option<RunResult>), ExecuteError> {
        let mut found = spool.find()?;
        if found == Found::NotYet {
            if let Some(child) = &mut self.launched
                && matches!(child.try_wait(), Ok(None))
            {
                return Ok((Supervisor::Alive, None));
            }
            // One that a process before this one started may be about to begin: who claims the run first has it.
            found = if spool.abandon()? { Found::Abandoned } else { spool.find()? };
        }
        Ok(match found {
            Found::NotYet | Found::Abandoned => (Supervisor::NeverStarted, None),
            Found::Alive => (Supervisor::Alive, None),
            Found::Gone => (Supervisor::Gone, None),
            Found::Finished(result) => (Supervisor::Finished, Some(result)),
        })
    }

    fn finish(
        &mut self,
        run: RunRecord,
        spool: &Spool,
        result: Option<RunResult>,
    ) -> Result<(), ExecuteError> {
        let Some(result) = result else { return Ok(()) };
        let exit_code = match result.outcome {
            Outcome::Exited(code) => Some(code),
            Outcome::Signalled(_) | Outcome::TimedOut | Outcome::CouldNotStart | Outcome::Stopped => None,
        };
        let succeeded = exit_code.is_some_and(|code| run.succeeds_with(code));
        let may_repeat =
            result.outcome == Outcome::Stopped && stopped(run.idempotent, run.attempts) == Past::Due;
        let (state, delivery) = match (succeeded, may_repeat) {
            (true, _) => (RunState::Succeeded, Delivery::Succeeded),
            (false, true) => (RunState::Repeat, Delivery::Failed),
            (false, false) => (RunState::Failed, Delivery::Failed),
        };
        let ended = RunRecord {
            state,
            ended_at: Some(Timestamp(result.ended_at_us)),
            exit_code,
            reason: result.text,
            ..run
        };
        self.end(&ended, delivery, spool)
    }

    fn interrupted(&mut self, run: RunRecord, spool: &Spool) -> Result<(), ExecuteError> {
        spool.kill_leftover()?;
        let ended = RunRecord {
            state: RunState::Interrupted,
            ended_at: Some(self.shared.clock.now()),
            reason: "the machine or the supervisor stopped in mid-run and left no result".into(),
            ..run
        };
        self.end(&ended, Delivery::Interrupted, spool)
    }

    /// Nothing is reported: the next start is.
    fn repeat(&mut self, run: RunRecord, spool: &Spool) -> Result<(), ExecuteError> {
        spool.kill_leftover()?;
        tracing::warn!(advertisement = run.advertisement.as_str(), "a run left no result and is repeated");
        let again = RunRecord { state: RunState::Repeat, ..run };
        self.shared.ledger.record(Some(&again), None)?;
        self.tidy_run(&again, spool);
        Ok(())
    }

    /// Writes the end of a run down, and only then removes what it ran in.
    fn end(&mut self, run: &RunRecord, delivery: Delivery, spool: &Spool) -> Result<(), ExecuteError> {
        let span = tracing::info_span!(
            target: "executor",
            "advertisement",
            step = "end",
            advertisement = run.advertisement.as_str(),
            package = run.package.as_str(),
            program = run.program.as_str(),
        );
        packhorse_runtime::telemetry::set_parent(&span, &run.traceparent);
        let change = StatusChange {
            exit_code: run.exit_code,
            output_tail: text_of(&spool.output_tail(OUTPUT_TAIL_MAX as u64)),
            reason: run.reason.clone(),
            ..self.change(
                &run.advertisement,
                Some(delivery),
                run.source_version,
                &super::traceparent(&span, &run.traceparent),
            )
        };
        self.record(Some(run), &change)?;
        self.shared.counts.ended(delivery);
        span.in_scope(|| {
            tracing::info!(
                delivery = delivery.as_str(),
                exit_code = run.exit_code,
                reason = run.reason,
                "ended"
            );
        });
        self.shared.home.unchoose(&run.advertisement)?;
        self.tidy_run(run, spool);
        Ok(())
    }

    /// What cannot be removed now is removed at the next start.
    fn tidy_run(&self, run: &RunRecord, spool: &Spool) {
        let tree = self.shared.home.work().join(run.tree_name());
        if let Err(error) = remove_tree(&tree) {
            tracing::warn!(error = error_chain(&error), "a tree of content remains");
        }
        if let Err(error) = spool.remove() {
            tracing::warn!(error = error_chain(&error), "a spool remains");
        }
    }
}

/// What programs write is text most of the time, and in any case is shown to people.
fn text_of(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    // Replacing a torn character may have made it longer; the end is what counts.
    let mut from = text.len().saturating_sub(OUTPUT_TAIL_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    cut(&text[from..], OUTPUT_TAIL_MAX).to_owned()
}

fn names(directory: &Path) -> Result<Vec<String>, ExecuteError> {
    let failed = |source| ExecuteError::Io { operation: "list", path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_is_no_text_is_shown_within_the_limit() {
        let torn = vec![0xFF; OUTPUT_TAIL_MAX];
        let text = text_of(&torn);
        assert!(text.len() <= OUTPUT_TAIL_MAX && text.starts_with('\u{FFFD}'));
        assert_eq!(text_of(b"caf\xC3\xA9\n"), "café\n");
    }
}

//! Components and their steps.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use super::{ago, micros, span, span_or_dash, span_us};
use crate::view::{Screen, or_dash, table, time, word};

#[derive(Debug, Serialize)]
pub(super) struct Worker {
    name: String,
    running: bool,
    running_since: Option<String>,
    steps: u64,
    last_step_at: Option<String>,
    last_step_took_us: Option<u64>,
    last_step_result: String,
    consecutive_errors: u32,
    last_error: String,
    last_error_at: Option<String>,
    next_wake_at: Option<String>,
    next_wake_reason: Option<String>,
    #[serde(skip)]
    running_since_us: i64,
    #[serde(skip)]
    last_step_us: i64,
    #[serde(skip)]
    last_error_us: i64,
    #[serde(skip)]
    next_wake_us: i64,
}

impl From<wire::LiveWorker> for Worker {
    fn from(worker: wire::LiveWorker) -> Self {
        let result = wire::StepResult::try_from(worker.last_step_result).map(|one| one.as_str_name());
        let reason = wire::WakeReason::try_from(worker.next_wake_reason).map(|one| one.as_str_name());
        let next_wake_us = micros(worker.next_wake_at);
        let (last_step_us, last_error_us) = (micros(worker.last_step_at), micros(worker.last_error_at));
        let running_since_us = micros(worker.running_since);
        Worker {
            name: worker.name,
            running: worker.running,
            running_since: time(running_since_us),
            steps: worker.steps,
            last_step_at: time(last_step_us),
            last_step_took_us: span_us(worker.last_step_took),
            last_step_result: word(result, "STEP_RESULT_"),
            consecutive_errors: worker.consecutive_errors,
            last_error: worker.last_error,
            last_error_at: time(last_error_us),
            next_wake_at: time(next_wake_us),
            next_wake_reason: (next_wake_us != 0).then(|| word(reason, "WAKE_REASON_")),
            running_since_us,
            last_step_us,
            last_error_us,
            next_wake_us,
        }
    }
}

impl Worker {
    fn state(&self, at_us: i64) -> String {
        match (self.running, self.consecutive_errors) {
            (true, _) => format!("runs for {}", ago(at_us, self.running_since_us)),
            (false, 0) => "sleeps".to_owned(),
            (false, errors) => format!("failed {errors}x"),
        }
    }

    fn next(&self, at_us: i64) -> String {
        let Some(reason) = &self.next_wake_reason else { return "-".to_owned() };
        let left = u64::try_from(self.next_wake_us.saturating_sub(at_us)).unwrap_or(0);
        format!("in {} ({reason})", span(left))
    }

    fn error(&self, at_us: i64) -> String {
        if self.last_error.is_empty() {
            return String::new();
        }
        format!("{} ago: {}", ago(at_us, self.last_error_us), self.last_error)
    }
}

pub(super) fn text(workers: &[Worker], at_us: i64, screen: Screen) -> String {
    let row = |worker: &Worker| {
        [
            worker.name.clone(),
            worker.state(at_us),
            worker.steps.to_string(),
            ago(at_us, worker.last_step_us),
            span_or_dash(worker.last_step_took_us),
            worker.next(at_us),
            or_dash(&worker.error(at_us)),
        ]
    };
    let rows: Vec<_> = workers.iter().map(row).collect();
    let header = ["COMPONENT", "STATE", "STEPS", "LAST STEP", "TOOK", "LOOKS AGAIN", "LAST ERROR"];
    table(screen, header, &rows, "no components")
}

#[cfg(test)]
mod tests {
    use packhorse_proto::convert::time::duration;

    use super::{
        super::tests::{NOW, at},
        *,
    };

    #[test]
    fn a_worker_that_fails_says_since_when_and_when_it_tries_again() {
        let failing = wire::LiveWorker {
            name: "despooler".to_owned(),
            steps: 7,
            last_step_at: at(2),
            last_step_took: Some(duration(std::time::Duration::from_micros(4_300))),
            last_step_result: wire::StepResult::Failed.into(),
            consecutive_errors: 3,
            last_error: "the disk is full".to_owned(),
            last_error_at: at(2),
            next_wake_at: at(-4),
            next_wake_reason: wire::WakeReason::Backoff.into(),
            ..wire::LiveWorker::default()
        };
        let running = wire::LiveWorker {
            name: "monitor".to_owned(),
            running: true,
            running_since: at(1),
            ..wire::LiveWorker::default()
        };

        let workers: Vec<Worker> = vec![failing.into(), running.into()];
        let text = text(&workers, NOW, Screen { terminal: false });

        let lines: Vec<&str> = text.lines().collect();
        for part in ["failed 3x", "2.0 s", "4.3 ms", "in 4.0 s (backoff)", "2.0 s ago: the disk is full"] {
            assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
        }
        assert!(lines[2].contains("runs for 1.0 s"), "{text}");
        let document = serde_json::to_value(&workers).expect("json");
        assert_eq!(
            (&document[0]["last_step_result"], &document[0]["last_step_took_us"]),
            (&"failed".into(), &4_300.into())
        );
        assert!(document[1]["next_wake_reason"].is_null());
    }
}

//! Components as people see them.

use packhorse_proto::{
    convert::time::{duration, timestamp},
    provider::v1::{LiveWorker, StepResult, WakeReason as WireReason},
};
use packhorse_runtime::{WakeReason, WorkerStatus};

pub(super) fn shown(status: WorkerStatus) -> LiveWorker {
    let result = match (status.steps, status.consecutive_errors) {
        (0, _) => StepResult::Unspecified,
        (_, 0) => StepResult::Ok,
        _ => StepResult::Failed,
    };
    let reason = match status.next_wake.map(|wake| wake.reason) {
        None => WireReason::Unspecified,
        Some(WakeReason::Period) => WireReason::Period,
        Some(WakeReason::Asked) => WireReason::Asked,
        Some(WakeReason::Backoff) => WireReason::Backoff,
    };
    LiveWorker {
        name: status.name.to_owned(),
        running: status.running_since.is_some(),
        running_since: status.running_since.map(timestamp),
        steps: status.steps,
        last_step_at: status.last_step.map(timestamp),
        last_step_took: status.last_step_took.map(duration),
        last_step_result: result.into(),
        consecutive_errors: status.consecutive_errors,
        last_error: status.last_error.unwrap_or_default(),
        last_error_at: status.last_error_at.map(timestamp),
        next_wake_at: status.next_wake.map(|wake| timestamp(wake.at)),
        next_wake_reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use packhorse_domain::Timestamp;
    use packhorse_runtime::NextWake;

    use super::*;

    #[test]
    fn a_worker_that_failed_tells_when_it_tries_again() {
        let wake = NextWake { at: Timestamp(9_000_000), reason: WakeReason::Backoff };
        let failing = WorkerStatus {
            name: "despooler",
            steps: 7,
            failures: 3,
            last_step: Some(Timestamp(8_000_000)),
            last_step_took: Some(Duration::from_millis(4)),
            running_since: None,
            next_wake: Some(wake),
            consecutive_errors: 2,
            last_error: Some("the disk is full".to_owned()),
            last_error_at: Some(Timestamp(8_000_000)),
        };
        let running = WorkerStatus { running_since: Some(Timestamp(9)), next_wake: None, ..failing.clone() };
        let new = WorkerStatus { steps: 0, consecutive_errors: 0, ..running.clone() };

        let (failing, running, new) = (shown(failing), shown(running), shown(new));

        assert!(!failing.running && running.running);
        assert_eq!(failing.last_step_result(), StepResult::Failed);
        assert_eq!(failing.next_wake_reason(), WireReason::Backoff);
        assert_eq!(failing.next_wake_at, Some(timestamp(Timestamp(9_000_000))));
        assert_eq!(running.next_wake_reason(), WireReason::Unspecified);
        assert_eq!(new.last_step_result(), StepResult::Unspecified);
    }
}

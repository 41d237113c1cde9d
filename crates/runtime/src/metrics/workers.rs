//! What the workers have been doing, in figures.

use super::{Figure, Kind, Sheet};
use crate::lifecycle::Lifecycle;

const STEPS: Figure = Figure {
    name: "packhorse_worker_steps_total",
    kind: Kind::Counter,
    labels: &["component"],
    help: "Steps of a component that ended, well or not",
};
const FAILURES: Figure = Figure {
    name: "packhorse_worker_failures_total",
    kind: Kind::Counter,
    labels: &["component"],
    help: "Steps of a component that failed",
};
const ERRORS: Figure = Figure {
    name: "packhorse_worker_consecutive_errors",
    kind: Kind::Gauge,
    labels: &["component"],
    help: "Failures of a component since its last step that succeeded",
};
const AGE: Figure = Figure {
    name: "packhorse_worker_last_step_age_seconds",
    kind: Kind::Gauge,
    labels: &["component"],
    help: "How long ago a component ended a step; missing before its first",
};

/// Figures of every process with workers.
pub const FIGURES: &[&Figure] = &[&STEPS, &FAILURES, &ERRORS, &AGE];

pub(super) fn collect(lifecycle: &Lifecycle, sheet: &mut Sheet) {
    sheet.declare(FIGURES);
    let now = lifecycle.clock().now();
    for worker in lifecycle.statuses() {
        let component = [worker.name];
        sheet.count(&STEPS, &component, worker.steps);
        sheet.count(&FAILURES, &component, worker.failures);
        sheet.put(&ERRORS, &component, f64::from(worker.consecutive_errors));
        if let Some(at) = worker.last_step {
            sheet.put(&AGE, &component, now.since(at).as_secs_f64());
        }
    }
}

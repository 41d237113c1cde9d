//! Who may be in the library at once: many writers, or one collection.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::durable::lock;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    writers: usize,
    collecting: bool,
}

/// A writer is inside as long as it holds this.
#[derive(Debug)]
pub(crate) struct Entered(Arc<Gate>);

/// A collection runs as long as it holds this.
#[derive(Debug)]
pub(crate) struct Alone(Arc<Gate>);

impl Gate {
    /// Enters as a writer, after a collection that runs.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        let state = lock(&self.state);
        let mut state =
            self.changed.wait_while(state, |state| state.collecting).unwrap_or_else(PoisonError::into_inner);
        state.writers += 1;
        Entered(self.clone())
    }

    /// Waits until nobody writes, for at most `patience`. New writers go first meanwhile: a collection can wait.
    pub(crate) fn alone(self: &Arc<Self>, patience: Duration) -> Option<Alone> {
        let state = lock(&self.state);
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(state, patience, |state| state.writers > 0 || state.collecting)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        state.collecting = true;
        Some(Alone(self.clone()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.0.state).writers -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        lock(&self.0.state).collecting = false;
        self.0.changed.notify_all();
    }
}

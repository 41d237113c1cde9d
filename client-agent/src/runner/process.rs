//! Which process is meant: its id alone is given to another one day.

use std::fs;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// A process that can be told from every other, also after a restart of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessIdentity {
    pid: u32,
    /// In clock ticks since the machine started.
    start_ticks: u64,
    boot: String,
}

impl ProcessIdentity {
    /// `None` if there is no such process any more.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let (_, start_ticks) = stat(pid)?;
        Some(ProcessIdentity { pid, start_ticks, boot: boot_id() })
    }

    /// A process that ended and was not waited for is not alive.
    pub(super) fn is_alive(&self) -> bool {
        self.boot == boot_id()
            && stat(self.pid)
                .is_some_and(|(state, start)| start == self.start_ticks && !matches!(state, 'Z' | 'X'))
    }

    /// Kills the process and the group that it leads, if it is still this process.
    pub(super) fn kill_group(&self) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may end by itself in this moment, which is as well.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Names the time since the machine was started.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The state of a process and when it started.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself have spaces and parentheses in it.
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&text[after_name..]).ok()?.split_ascii_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends_even_before_it_is_waited_for() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(identity.is_alive());

        child.kill().unwrap();
        while stat(child.id()).is_some_and(|(state, _)| state != 'Z') {
            std::thread::yield_now();
        }
        assert!(!identity.is_alive());
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_it() {
        let identity = ProcessIdentity::of(std::process::id()).unwrap();

        assert!(!ProcessIdentity { start_ticks: identity.start_ticks + 1, ..identity.clone() }.is_alive());
        assert!(!ProcessIdentity { boot: "another".into(), ..identity.clone() }.is_alive());
        assert!(identity.is_alive());
    }
}

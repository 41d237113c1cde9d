//! Kills what is left when this process dies without a chance to do it: by SIGKILL, or by Ctrl-C in a test run.
//!
//! A small shell in its own process group reads process group ids from a pipe. When the pipe ends, we are gone.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
groups=" "
while read -r change group; do
    case $change in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

/// The shell and the pipe to it. Dropping it kills every group that was watched and not released.
#[derive(Debug)]
pub(crate) struct Reaper {
    shell: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Reaper {
    pub(crate) fn start() -> Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh")?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Reaper { shell, pipe })
    }

    pub(crate) fn watch(&self, group: u32) {
        self.tell('+', group);
    }

    pub(crate) fn release(&self, group: u32) {
        self.tell('-', group);
    }

    fn tell(&self, change: char, group: u32) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &mut *pipe {
            // A shell that somebody killed costs only this second net.
            let _ = writeln!(pipe, "{change} {group}");
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").process_group(0).spawn().expect("sleep")
    }

    #[test]
    fn what_is_watched_is_killed_when_the_pipe_ends_and_what_was_released_is_not() {
        let mut children = [sleeper(), sleeper(), sleeper()];
        let reaper = Reaper::start().expect("a shell");
        for child in &children {
            reaper.watch(child.id());
        }
        reaper.release(children[1].id());

        drop(reaper);

        let left = children[1].try_wait().expect("a state");
        assert!(left.is_none(), "the released one was killed: {left:?}");
        children[1].kill().expect("killed");
        for child in &mut children {
            let status = child.wait().expect("ended");
            assert_eq!(status.signal(), Some(9), "{status}");
        }
    }
}

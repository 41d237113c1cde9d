//! One process of the hierarchy: started, stopped, killed and started again, with all its output in one log file.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Clock, reaper::Reaper};

const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOG_LINES_SHOWN: usize = 25;

/// Killed, with all it started in its process group, when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    environment: Mutex<BTreeMap<OsString, OsString>>,
    child: Mutex<Option<Child>>,
    reaper: Arc<Reaper>,
}

impl Process {
    pub(crate) fn new(
        name: String,
        program: &Path,
        arguments: Vec<OsString>,
        log: PathBuf,
        reaper: Arc<Reaper>,
    ) -> Self {
        Process {
            name,
            program: program.to_owned(),
            arguments,
            log,
            environment: Mutex::default(),
            child: Mutex::new(None),
            reaper,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// A variable of its environment, from its next start on. False: it had that already.
    pub fn set_variable(&self, name: &str, value: &Path) -> bool {
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        environment.insert(name.into(), value.into()).is_none_or(|before| before != value.as_os_str())
    }

    /// Has it go by this clock, from its next start on.
    pub fn go_by(&self, clock: &Clock) {
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        environment.extend(clock.variables().map(|(name, value)| (name.to_owned(), value.into())));
    }

    /// Of the process that was started last; `None`: it was ended, or never started.
    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    pub fn start(&self) -> Result<()> {
        let mut child = self.child();
        ensure!(child.is_none(), "{} runs already", self.name);
        let open = || {
            let file = File::options().create(true).append(true).open(&self.log);
            file.with_context(|| format!("cannot open {}", self.log.display()))
        };
        let started = Command::new(&self.program)
            .args(&self.arguments)
            .envs(&*self.environment.lock().unwrap_or_else(PoisonError::into_inner))
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.reaper.watch(started.id());
        *child = Some(started);
        Ok(())
    }

    /// Asks it to stop, and does not wait.
    pub fn ask_to_stop(&self) {
        if let Some(child) = &*self.child() {
            signal(child, Signal::TERM);
        }
    }

    /// Sends a signal to it and what it started in its process group.
    pub fn signal(&self, with: Signal) {
        if let Some(child) = &*self.child() {
            signal(child, with);
        }
    }

    /// Asks it to stop and waits until it has; one that does not is killed and that is an error.
    pub fn stop(&self) -> Result<ExitStatus> {
        let mut held = self.child();
        let Some(child) = &mut *held else { bail!("{} does not run", self.name) };
        signal(child, Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                self.reaper.release(child.id());
                *held = None;
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        drop(held);
        self.kill9()?;
        bail!("{} did not stop within {STOP_LIMIT:?}{}", self.name, self.tail())
    }

    /// As a power cut would end it. What it had started in its own process group goes with it.
    pub fn kill9(&self) -> Result<()> {
        let mut held = self.child();
        let Some(child) = &mut *held else { return Ok(()) };
        signal(child, Signal::KILL);
        let status = child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        self.reaper.release(child.id());
        *held = None;
        drop(held);
        ensure!(status.signal() == Some(9), "{} had ended by itself: {status}{}", self.name, self.tail());
        Ok(())
    }

    /// Holds it where it is: its connections stay, and nothing comes of it. [`Process::kill9`] still ends it.
    pub fn freeze(&self) {
        if let Some(child) = &*self.child() {
            signal(child, Signal::STOP);
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        if let Some(child) = &*self.child() {
            signal(child, Signal::CONT);
        }
    }

    /// Stops it in good order and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// It was started, and neither stopped nor killed since; it may have ended by itself.
    pub fn is_started(&self) -> bool {
        self.child().is_some()
    }

    /// An error with the end of the log, if it was started and has ended by itself.
    pub fn check_alive(&self) -> Result<()> {
        if let Some(Ok(Some(status))) = self.child().as_mut().map(Child::try_wait) {
            bail!("{} ended by itself: {status}{}", self.name, self.tail());
        }
        Ok(())
    }

    /// The end of the log, to be shown with an error.
    pub(crate) fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("\n--- {} ({})\n{}", self.name, self.log.display(), shown.join("\n"))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            signal(&child, Signal::KILL);
            let _ = child.wait();
            self.reaper.release(child.id());
        }
    }
}

/// To the whole group. One that has just ended needs none.
fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

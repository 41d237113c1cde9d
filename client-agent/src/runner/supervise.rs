//! The supervisor: starts one program, keeps its output, ends it at its time limit, writes down how it ended.

use std::{
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Component, Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use packhorse_runtime::Clock;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::{
    Order, Outcome, PROGRAM, RESULT, RunResult, STOP, Spool, SpoolError, Start, Stop, output,
    process::ProcessIdentity,
};

/// What a program has after SIGTERM before SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// A process that the program left behind may hold the output open for ever; what it writes is not waited for.
const OUTPUT_AFTER_END: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    #[error("there is no order in the spool {0:?}")]
    NoOrder(PathBuf),
    #[error("this process is not there")]
    NoIdentity,
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Runs the order in the spool, once: a spool that was started or given up before is left alone.
pub fn supervise(directory: &Path, clock: &dyn Clock) -> Result<(), SuperviseError> {
    // Fails where this process leads a group already; then it is apart from the agent's terminal as well.
    let _ = rustix::process::setsid();

    let spool = Spool::at(directory);
    let order = spool.order()?.ok_or_else(|| SuperviseError::NoOrder(directory.to_owned()))?;
    let own = ProcessIdentity::of(std::process::id()).ok_or(SuperviseError::NoIdentity)?;
    if !spool.claim(&Start::Supervisor(own))? {
        return Ok(());
    }

    let (outcome, text) = match run(&spool, &order) {
        Ok(Ended::Stopped) => (Outcome::Stopped, why_stopped(&spool)?),
        Ok(Ended::Of(outcome, text)) => (outcome, text),
        Err(error) => {
            let program = order.command.first().map_or("nothing", String::as_str);
            (Outcome::CouldNotStart, format!("{program} could not be started: {error}"))
        }
    };
    spool.write(RESULT, &RunResult { outcome, text, ended_at_us: clock.now().0 })?;
    Ok(())
}

/// How the program ended.
enum Ended {
    Of(Outcome, String),
    /// It was stopped at the agent's word, or not even started.
    Stopped,
}

/// Why the wait for the program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Itself,
    TimeLimit,
    Stop,
}

fn why_stopped(spool: &Spool) -> Result<String, SpoolError> {
    let reason = spool.read::<Stop>(STOP)?.map(|stop| stop.reason).unwrap_or_default();
    Ok(format!("it was stopped: {reason}"))
}

fn run(spool: &Spool, order: &Order) -> io::Result<Ended> {
    if spool.is_to_stop() {
        return Ok(Ended::Stopped);
    }
    let (output, input) = io::pipe()?;
    let mut child = {
        let mut command = command(order)?;
        command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input).process_group(0).spawn()?
        // The command goes here, and with it our ends of the pipe.
    };
    if let Some(program) = ProcessIdentity::of(child.id()) {
        // Only for an agent that finds the supervisor gone; not worth failing a program that runs.
        let _ = spool.write(PROGRAM, &program);
    }

    let (done, ended) = mpsc::channel();
    let directory = spool.0.clone();
    thread::spawn(move || {
        let _ = output::keep(&directory, output);
        let _ = done.send(());
    });

    let limit = Duration::from_secs(order.time_limit_s);
    let (status, cause) = wait(&mut child, limit, || spool.is_to_stop())?;
    let _ = ended.recv_timeout(OUTPUT_AFTER_END);
    Ok(describe(status, cause, order.time_limit_s))
}

/// The command with its directory and environment, not started.
fn command(order: &Order) -> io::Result<Command> {
    let (program, arguments) = order
        .command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command"))?;
    let mut command = if order.shell {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(program);
        shell
    } else {
        let mut direct = Command::new(resolve(&order.directory, program)?);
        direct.args(arguments);
        direct
    };
    command.current_dir(&order.directory).env_clear().envs(&order.environment);
    Ok(command)
}

/// A program is looked up in the package first, then on the path.
fn resolve(directory: &Path, program: &str) -> io::Result<PathBuf> {
    let path = Path::new(program);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a program outside its package is not run"));
    }
    let packaged = directory.join(path);
    if program.contains('/') || packaged.is_file() {
        return Ok(packaged);
    }
    Ok(path.to_owned())
}

/// Waits for the program; past its limit, or when it is to stop, the whole group is ended.
fn wait(
    child: &mut Child,
    limit: Duration,
    is_to_stop: impl Fn() -> bool,
) -> io::Result<(ExitStatus, Cause)> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let by_itself = wait_until(limit, || match child.try_wait()? {
        Some(status) => Ok(Some(Some(status))),
        None => Ok(is_to_stop().then_some(None)),
    })?;
    let cause = match by_itself {
        Some(Some(status)) => return Ok((status, Cause::Itself)),
        Some(None) => Cause::Stop,
        None => Cause::TimeLimit,
    };

    signal(group, Signal::TERM);
    let asked = Instant::now();
    let status = wait_until(KILL_AFTER, || child.try_wait())?;
    // The program is gone; those that it started have the rest of the time.
    wait_until(KILL_AFTER.saturating_sub(asked.elapsed()), || {
        Ok(group.is_none_or(|group| test_kill_process_group(group).is_err()).then_some(()))
    })?;
    signal(group, Signal::KILL);
    match status {
        Some(status) => Ok((status, cause)),
        None => Ok((child.wait()?, cause)),
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // No such group: all of it has ended.
        let _ = kill_process_group(group, signal);
    }
}

/// Asks until there is an answer or the time is over.
fn wait_until<T>(longest: Duration, mut ask: impl FnMut() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        let left = longest.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(LOOK_AGAIN.min(left));
    }
}

fn describe(status: ExitStatus, cause: Cause, limit_s: u64) -> Ended {
    match (cause, status.code(), status.signal()) {
        (Cause::Stop, _, _) => Ended::Stopped,
        (Cause::TimeLimit, _, _) => {
            Ended::Of(Outcome::TimedOut, format!("it was stopped at its time limit of {limit_s} s"))
        }
        (Cause::Itself, Some(code), _) => Ended::Of(Outcome::Exited(code), String::new()),
        (Cause::Itself, None, signal) => {
            let signal = signal.unwrap_or_default();
            Ended::Of(Outcome::Signalled(signal), format!("it was ended by signal {signal}"))
        }
    }
}

//! The supervisor as a real process with real programs.
#![expect(clippy::unwrap_used, reason = "what a test cannot do without ends it")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use packhorse_client_agent::runner::{Found, Order, Outcome, RunResult, Spool};

const EXE: &str = env!("CARGO_BIN_EXE_client-agent");

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(bench.tree()).unwrap();
        bench
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.tree().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn order(&self, command: &[&str]) -> Order {
        Order {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            shell: false,
            time_limit_s: 60,
            directory: self.tree(),
            environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        }
    }

    fn spool(&self, order: &Order) -> Spool {
        Spool::create(&self.dir.path().join("spool"), order).unwrap()
    }

    /// Runs an order to its end.
    fn run(&self, order: &Order) -> (RunResult, String) {
        let spool = self.spool(order);
        let mut supervisor = spool.launch(Path::new(EXE)).unwrap();
        assert!(supervisor.wait().unwrap().success());
        let Found::Finished(result) = spool.find().unwrap() else { panic!("no result") };
        (result, String::from_utf8_lossy(&spool.output_tail(64 * 1024)).into_owned())
    }
}

/// Waits until there is an answer; a test that gets none fails.
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_exit_code_and_the_output_are_kept() {
    let bench = Bench::new();
    bench.script("install.sh", "echo to stdout; echo to stderr >&2; exit 7");

    let (result, output) = bench.run(&bench.order(&["./install.sh"]));

    assert_eq!(result.outcome, Outcome::Exited(7));
    assert!(result.ended_at_us > 0);
    assert_eq!(output, "to stdout\nto stderr\n");
}

#[test]
fn arguments_are_passed_as_they_are_and_never_through_a_shell() {
    let bench = Bench::new();
    bench.script("show.sh", "for argument; do printf '<%s>\\n' \"$argument\"; done; pwd");
    let nasty = ["two words", "a\"quote'", "; touch owned", "$(touch owned)", "`touch owned`", "*", "", "\n"];
    let mut command = vec!["show.sh"];
    command.extend(nasty);

    let (result, output) = bench.run(&bench.order(&command));

    assert_eq!(result.outcome, Outcome::Exited(0));
    let mut expected: String = nasty.iter().map(|argument| format!("<{argument}>\n")).collect();
    expected.push_str(&format!("{}\n", fs::canonicalize(bench.tree()).unwrap().display()));
    assert_eq!(output, expected);
    assert!(!bench.tree().join("owned").exists());
}

#[test]
fn what_is_to_stop_ends_with_all_that_it_started_and_what_has_not_begun_never_does() {
    let bench = Bench::new();
    bench.script("wait.sh", "sleep 60 & echo $! > child; echo $$ > own; wait");
    let spool = bench.spool(&bench.order(&["./wait.sh"]));
    let mut supervisor = spool.launch(Path::new(EXE)).unwrap();
    let pid = |name: &str| {
        let path = bench.tree().join(name);
        let text = eventually("a pid", || fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')));
        text.trim().to_owned()
    };
    let pids = [pid("child"), pid("own")];
    assert!(pids.iter().all(|pid| is_alive(pid)));

    assert!(spool.stop("killed by CEN: it wipes disks").unwrap());
    assert!(!spool.stop("again").unwrap(), "once is enough");
    assert!(supervisor.wait().unwrap().success());

    let Found::Finished(result) = spool.find().unwrap() else { panic!("no result") };
    assert_eq!(result.outcome, Outcome::Stopped);
    assert_eq!(result.text, "it was stopped: killed by CEN: it wipes disks");
    eventually("all of it ends", || pids.iter().all(|pid| !is_alive(pid)).then_some(()));

    let bench = Bench::new();
    bench.script("touch.sh", "touch ran");
    let spool = bench.spool(&bench.order(&["./touch.sh"]));
    assert!(spool.stop("killed").unwrap());
    assert!(spool.launch(Path::new(EXE)).unwrap().wait().unwrap().success());
    let Found::Finished(result) = spool.find().unwrap() else { panic!("no result") };
    assert_eq!(result.outcome, Outcome::Stopped);
    assert!(!bench.tree().join("ran").exists());
    spool.remove().unwrap();
    assert!(!spool.stop("killed").unwrap(), "it has ended");
}

#[test]
fn a_shell_is_used_where_the_author_says_so() {
    let bench = Bench::new();
    let order = Order { shell: true, ..bench.order(&["echo one && echo two | tr t T; exit 3"]) };

    let (result, output) = bench.run(&order);

    assert_eq!((result.outcome, output.as_str()), (Outcome::Exited(3), "one\nTwo\n"));
}

#[test]
fn a_program_is_looked_up_in_its_package_before_the_path() {
    let bench = Bench::new();
    bench.script("true", "exit 9");
    assert_eq!(bench.run(&bench.order(&["true"])).0.outcome, Outcome::Exited(9));

    let bench = Bench::new();
    assert_eq!(bench.run(&bench.order(&["true"])).0.outcome, Outcome::Exited(0));
}

#[test]
fn what_cannot_be_started_says_so() {
    let bench = Bench::new();
    fs::write(bench.tree().join("data"), "no program").unwrap();
    for program in ["./missing", "data", "../tree/data", "no-such-program-anywhere"] {
        let bench_order = bench.order(&[program]);
        fs::remove_dir_all(bench.dir.path().join("spool")).ok();
        let (result, _) = bench.run(&bench_order);
        assert_eq!(result.outcome, Outcome::CouldNotStart, "{program}");
        assert!(result.text.contains(program), "{}", result.text);
    }
}

#[test]
fn the_environment_is_clean() {
    let bench = Bench::new();
    let mut order = bench.order(&["env"]);
    order.environment.insert("PACKHORSE_PACKAGE".into(), "CEN00001".into());

    let (_, output) = bench.run(&order);

    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["PACKHORSE_PACKAGE=CEN00001", "PATH=/usr/bin:/bin"]);
}

#[test]
fn a_program_that_is_killed_is_told_from_one_that_ends() {
    let bench = Bench::new();
    let order = Order { shell: true, ..bench.order(&["kill -9 $$"]) };

    assert_eq!(bench.run(&order).0.outcome, Outcome::Signalled(9));
}

#[test]
fn the_time_limit_ends_a_grandchild_too() {
    let bench = Bench::new();
    let text = "sleep 600 & echo $! > pid; trap '' TERM; (trap '' TERM; sleep 600 & echo $! > deaf; wait) & wait; wait";
    let order = Order { shell: true, time_limit_s: 1, ..bench.order(&[text]) };
    let begin = Instant::now();

    let (result, _) = bench.run(&order);

    assert_eq!(result.outcome, Outcome::TimedOut);
    assert!(result.text.contains("1 s"), "{}", result.text);
    assert!(begin.elapsed() < Duration::from_secs(20));
    for name in ["pid", "deaf"] {
        let pid = fs::read_to_string(bench.tree().join(name)).unwrap();
        eventually(name, || (!is_alive(pid.trim())).then_some(()));
    }
}

#[test]
fn a_long_output_keeps_its_end() {
    let bench = Bench::new();
    let order = Order { shell: true, ..bench.order(&["seq 1 400000"]) };

    let (_, output) = bench.run(&order);

    assert!(output.ends_with("399999\n400000\n"));
    let kept: u64 = fs::read_dir(bench.dir.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(kept < 1100 * 1024, "{kept}");
}

#[test]
fn a_process_left_behind_does_not_hold_up_the_result() {
    let bench = Bench::new();
    let order = Order { shell: true, ..bench.order(&["sleep 600 & echo $! > pid; echo done"]) };
    let begin = Instant::now();

    let (result, output) = bench.run(&order);

    assert_eq!((result.outcome, output.as_str()), (Outcome::Exited(0), "done\n"));
    assert!(begin.elapsed() < Duration::from_secs(20));
    let pid = fs::read_to_string(bench.tree().join("pid")).unwrap();
    assert!(is_alive(pid.trim()), "what a program leaves running is its own affair");
    Command::new("kill").arg("-9").arg(pid.trim()).status().unwrap();
}

#[test]
fn a_supervisor_outlives_the_process_that_started_it() {
    let bench = Bench::new();
    bench.script("install.sh", "touch begun; while [ ! -e go ]; do sleep 0.02; done; echo finished; exit 5");
    let spool = bench.spool(&bench.order(&["./install.sh"]));
    // Stands for the agent: starts the supervisor, and is killed with its whole group.
    let mut agent = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("{EXE} runner --spool {} & wait", bench.dir.path().join("spool").display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the program begins", || bench.tree().join("begun").exists().then_some(()));
    assert_eq!(spool.find().unwrap(), Found::Alive);

    kill(&mut agent);
    assert_eq!(spool.find().unwrap(), Found::Alive);
    fs::write(bench.tree().join("go"), "").unwrap();

    let result = eventually("a result", || match spool.find().unwrap() {
        Found::Finished(result) => Some(result),
        _ => None,
    });
    assert_eq!(result.outcome, Outcome::Exited(5));
    assert_eq!(spool.output_tail(100), b"finished\n");
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_result_and_its_program_is_ended() {
    let bench = Bench::new();
    let spool = bench.spool(&Order { shell: true, ..bench.order(&["echo $$ > pid; sleep 600"]) });
    let mut supervisor = spool.launch(Path::new(EXE)).unwrap();
    let pid = eventually("the program begins", || {
        let pid = fs::read_to_string(bench.tree().join("pid")).ok().filter(|pid| pid.ends_with('\n'))?;
        bench.dir.path().join("spool/program").exists().then_some(pid)
    });

    kill(&mut supervisor);
    assert_eq!(spool.find().unwrap(), Found::Gone);
    spool.kill_leftover().unwrap();

    eventually("the program ends", || (!is_alive(pid.trim())).then_some(()));
}

#[test]
fn a_run_that_was_given_up_never_starts() {
    let bench = Bench::new();
    bench.script("install.sh", "touch begun");
    let spool = bench.spool(&bench.order(&["./install.sh"]));
    assert_eq!(spool.find().unwrap(), Found::NotYet);

    assert!(spool.abandon().unwrap());
    assert!(spool.launch(Path::new(EXE)).unwrap().wait().unwrap().success());

    assert_eq!(spool.find().unwrap(), Found::Abandoned);
    assert!(!bench.tree().join("begun").exists());
}

#[test]
fn a_run_starts_once_however_many_supervisors_there_are() {
    let bench = Bench::new();
    bench.script("install.sh", "echo x >> runs");
    let spool = bench.spool(&bench.order(&["./install.sh"]));

    let mut supervisors: Vec<Child> = (0..5).map(|_| spool.launch(Path::new(EXE)).unwrap()).collect();
    for supervisor in &mut supervisors {
        assert!(supervisor.wait().unwrap().success());
    }

    assert_eq!(fs::read_to_string(bench.tree().join("runs")).unwrap(), "x\n");
    assert!(!spool.abandon().unwrap(), "what has started cannot be given up");
}

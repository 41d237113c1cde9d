//! Programs go on when their agent ends, which is right for a client and wrong for a test that is over.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};

/// Kills the runners of a client's programs, then what runs in the programs' directories.
pub(crate) fn kill_programs(client: &Path) {
    let (runs, work) = (client.join("runs"), client.join("work"));
    for process in processes() {
        if arguments(&process).iter().any(|argument| argument.starts_with(&runs)) {
            kill(&process);
        }
    }
    for process in processes() {
        if fs::read_link(process.join("cwd")).is_ok_and(|directory| directory.starts_with(&work)) {
            kill(&process);
        }
    }
}

/// Directories in `/proc`. What cannot be read is not ours.
fn processes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| id(path).is_some()).collect()
}

fn id(process: &Path) -> Option<Pid> {
    process.file_name()?.to_str()?.parse().ok().and_then(Pid::from_raw)
}

fn arguments(process: &Path) -> Vec<PathBuf> {
    let text = fs::read(process.join("cmdline")).unwrap_or_default();
    text.split(|byte| *byte == 0).map(|word| PathBuf::from(OsStr::from_bytes(word))).collect()
}

fn kill(process: &Path) {
    if let Some(id) = id(process) {
        // It may just have ended by itself.
        let _ = kill_process(id, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt as _,
        process::{Child, Command},
    };

    use super::*;

    fn program(at: &Path) -> Child {
        Command::new("sleep").arg("60").current_dir(at).spawn().expect("sleep")
    }

    #[test]
    fn a_clients_programs_are_killed_and_nobody_elses() {
        let root = tempfile::tempdir().expect("a directory");
        let (own, other) = (root.path().join("client-1"), root.path().join("client-10"));
        for client in [&own, &other] {
            fs::create_dir_all(client.join("work/x")).expect("made");
        }
        let (mut killed, mut kept) = (program(&own.join("work/x")), program(&other.join("work/x")));

        kill_programs(&own);

        assert_eq!(killed.wait().expect("ended").signal(), Some(9));
        assert!(kept.try_wait().expect("a state").is_none());
        kept.kill().expect("killed");
        kept.wait().expect("ended");
    }
}

//! A run, as the agent and the supervisor of the program agree on it: a directory of files, the spool.
//!
//! The supervisor is a process of its own, so that neither a kill nor an upgrade of the agent touches the program or
//! loses its exit code. Who writes `started` first, the supervisor or an agent that gives the run up, decides whether
//! the program ever starts.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use packhorse_runtime::durable::{DurableError, sync_directory, write_file_durable};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use supervise::{SuperviseError, supervise};

use process::ProcessIdentity;

mod output;
mod process;
mod supervise;

/// What the supervisor is to run: the file `run.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The program and its arguments; with `shell` one string.
    pub command: Vec<String>,
    pub shell: bool,
    pub time_limit_s: u64,
    /// The content's tree, where the program runs.
    pub directory: PathBuf,
    /// All of the program's environment.
    pub environment: BTreeMap<String, String>,
}

/// How a run ended: the file `result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    pub outcome: Outcome,
    /// For people; empty where the outcome says it all.
    pub text: String,
    pub ended_at_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    CouldNotStart,
    /// The agent asked for it.
    Stopped,
}

/// What is found in the spool of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No supervisor has come to its start yet.
    NotYet,
    Alive,
    Finished(RunResult),
    /// The supervisor is gone and left no result.
    Gone,
    /// The run was given up before its program was started.
    Abandoned,
}

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot {operation} {path:?}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot record the run")]
    Durable {
        #[from]
        source: DurableError,
    },
    #[error("a text in the run's order or result cannot be written")]
    Encode { source: toml::ser::Error },
    #[error("{path:?} does not read back")]
    Decode { path: PathBuf, source: Box<toml::de::Error> },
    #[error("cannot start the supervisor {exe:?}")]
    Launch { exe: PathBuf, source: io::Error },
}

/// The file `started`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Start {
    Supervisor(ProcessIdentity),
    Abandoned { at: String },
}

/// The file `stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stop {
    reason: String,
}

const ORDER: &str = "run.toml";
const STARTED: &str = "started";
const PROGRAM: &str = "program";
const RESULT: &str = "result";
const STOP: &str = "stop";

/// A command line has at most 32 KiB, and quoting at worst multiplies it by six.
const FILE_LENGTH_MAX: u64 = 1024 * 1024;

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool(PathBuf);

impl Spool {
    pub fn at(directory: &Path) -> Self {
        Spool(directory.to_owned())
    }

    /// Makes the directory with its order, both durable.
    pub fn create(directory: &Path, order: &Order) -> Result<Self, SpoolError> {
        make(directory)?;
        let spool = Spool::at(directory);
        spool.write(ORDER, order)?;
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
        Ok(spool)
    }

    /// Starts the supervisor: `exe runner --spool DIRECTORY`.
    pub fn launch(&self, exe: &Path) -> Result<Child, SpoolError> {
        Command::new(exe)
            .arg0("client-agent")
            .arg("runner")
            .arg("--spool")
            .arg(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SpoolError::Launch { exe: exe.to_owned(), source })
    }

    pub fn find(&self) -> Result<Found, SpoolError> {
        let supervisor = match self.read::<Start>(STARTED)? {
            None => return Ok(Found::NotYet),
            Some(Start::Abandoned { .. }) => return Ok(Found::Abandoned),
            Some(Start::Supervisor(supervisor)) => supervisor,
        };
        // In this order: a supervisor that ends between the two has left its result by then.
        let alive = supervisor.is_alive();
        match self.read::<RunResult>(RESULT)? {
            Some(result) => Ok(Found::Finished(result)),
            None if alive => Ok(Found::Alive),
            None => Ok(Found::Gone),
        }
    }

    /// Gives the run up, unless its supervisor was faster; then nothing changes and the answer is false.
    pub fn abandon(&self) -> Result<bool, SpoolError> {
        // A supervisor never makes the directory: once a run is given up and removed, none can begin any more.
        make(&self.0)?;
        self.claim(&Start::Abandoned { at: process::boot_id() })
    }

    /// Asks the supervisor to end the program, or not to start it; says whether that is news. A run without a spool has
    /// ended.
    pub fn stop(&self, reason: &str) -> Result<bool, SpoolError> {
        if self.is_to_stop() || !self.0.is_dir() {
            return Ok(false);
        }
        self.write(STOP, &Stop { reason: reason.to_owned() })?;
        Ok(true)
    }

    fn is_to_stop(&self) -> bool {
        self.0.join(STOP).exists()
    }

    /// Kills what is left of a program whose supervisor is gone.
    pub fn kill_leftover(&self) -> Result<(), SpoolError> {
        if let Some(program) = self.read::<ProcessIdentity>(PROGRAM)? {
            program.kill_group();
        }
        Ok(())
    }

    /// The last bytes of the program's output, at most `longest`.
    pub fn output_tail(&self, longest: u64) -> Vec<u8> {
        output::tail(&self.0, longest)
    }

    /// Removes the spool of a run whose end is in the ledger.
    pub fn remove(&self) -> Result<(), SpoolError> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SpoolError::Io { operation: "remove", path: self.0.clone(), source })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn order(&self) -> Result<Option<Order>, SpoolError> {
        self.read(ORDER)
    }

    /// Writes `started`, durably, unless it is there.
    fn claim(&self, start: &Start) -> Result<bool, SpoolError> {
        let mine = self.0.join(format!("{STARTED}.{}", std::process::id()));
        let started = self.0.join(STARTED);
        write_file_durable(&mine, encode(start)?.as_bytes(), 0o600)?;

        // A link, unlike a rename, never replaces what another has put there.
        let linked = fs::hard_link(&mine, &started);
        let _ = fs::remove_file(&mine);
        match linked {
            Ok(()) => {
                sync_directory(&self.0)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(SpoolError::Io { operation: "link", path: started, source }),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), SpoolError> {
        Ok(write_file_durable(&self.0.join(name), encode(value)?.as_bytes(), 0o600)?)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SpoolError> {
        let path = self.0.join(name);
        let failed = |source| SpoolError::Io { operation: "read", path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(FILE_LENGTH_MAX).read_to_string(&mut text).map_err(failed)?;
        toml::from_str(&text)
            .map(Some)
            .map_err(|source| SpoolError::Decode { path: path.clone(), source: Box::new(source) })
    }
}

fn make(directory: &Path) -> Result<(), SpoolError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| SpoolError::Io {
        operation: "make",
        path: directory.to_owned(),
        source,
    })
}

fn encode<T: Serialize>(value: &T) -> Result<String, SpoolError> {
    toml::to_string(value).map_err(|source| SpoolError::Encode { source })
}

/// Reads at most the last `longest` bytes of a file.
fn read_end(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(longest)))?;
    let mut end = Vec::new();
    file.take(longest).read_to_end(&mut end)?;
    Ok(end)
}

//! Packages, their versions and their programs.

use std::time::Duration;

use crate::{
    Digest, Priority,
    courier::Way,
    id::{PackageId, ProgramName},
};

/// What the console shows of a package, and the version that its author signed (as the signed bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageDefinition {
    pub id: PackageId,
    pub name: String,
    pub description: String,
    pub priority: Priority,
    /// How its bundles go to a neighbour that has a courier; `None`: as its route says.
    pub sender: Option<Way>,
    pub signed_version: Vec<u8>,
}

/// What an author vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageVersion {
    pub package: PackageId,
    /// Counts the snapshots of the source, from 1; 0 without source files.
    pub source_version: u64,
    /// Counts the author's signatures; never goes back.
    pub release: u64,
    /// `None` without source files.
    pub manifest: Option<Digest>,
    pub length_bytes: u64,
    pub file_count: u64,
    pub programs: Vec<Program>,
}

/// A command line of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub name: ProgramName,
    /// The program and its arguments; with `shell` one string.
    pub command: Vec<String>,
    pub shell: bool,
    pub time_limit: Duration,
    pub success_codes: Vec<i32>,
    /// Empty: everywhere.
    pub operating_systems: Vec<String>,
    pub architectures: Vec<String>,
    pub idempotent: bool,
}

/// A package or program that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error("a name of 1 to {NAME_LENGTH_MAX} characters without control characters is expected, not `{0}`")]
    Name(String),
    #[error("a description has at most {DESCRIPTION_LENGTH_MAX} characters")]
    Description,
    #[error("program {0} has no command: give the program and its arguments")]
    NoCommand(ProgramName),
    #[error("program {0}: a shell command is one string, not {1}; quote it")]
    ShellWords(ProgramName, usize),
    #[error(
        "program {0}: a command has at most {COMMAND_WORDS_MAX} words and {COMMAND_LENGTH_MAX} bytes, without NUL"
    )]
    Command(ProgramName),
    #[error("program {0}: a time limit is at most seven days")]
    TimeLimit(ProgramName),
    #[error("a package has at most {PROGRAMS_MAX} programs")]
    TooManyPrograms,
    #[error("program {0} is there twice")]
    ProgramTwice(ProgramName),
}

pub const NAME_LENGTH_MAX: usize = 128;
pub const DESCRIPTION_LENGTH_MAX: usize = 2048;
pub const PROGRAMS_MAX: usize = 64;
pub const COMMAND_WORDS_MAX: usize = 256;
pub const COMMAND_LENGTH_MAX: usize = 32 * 1024;
pub const TIME_LIMIT_DEFAULT: Duration = Duration::from_secs(7200);
pub const TIME_LIMIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

impl PackageDefinition {
    pub fn check(&self) -> Result<(), PackageError> {
        check_name(&self.name)?;
        if self.description.chars().count() > DESCRIPTION_LENGTH_MAX {
            return Err(PackageError::Description);
        }
        Ok(())
    }
}

impl PackageVersion {
    pub fn program(&self, name: &ProgramName) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == *name)
    }

    pub fn check(&self) -> Result<(), PackageError> {
        if self.programs.len() > PROGRAMS_MAX {
            return Err(PackageError::TooManyPrograms);
        }
        for (at, program) in self.programs.iter().enumerate() {
            program.check()?;
            if self.programs[..at].iter().any(|other| other.name == program.name) {
                return Err(PackageError::ProgramTwice(program.name.clone()));
            }
        }
        Ok(())
    }
}

impl Program {
    pub fn check(&self) -> Result<(), PackageError> {
        let length: usize = self.command.iter().map(String::len).sum();
        let name = || self.name.clone();

        match self.command.first() {
            None => return Err(PackageError::NoCommand(name())),
            Some(first) if first.is_empty() => return Err(PackageError::NoCommand(name())),
            Some(_) => {}
        }
        if self.shell && self.command.len() != 1 {
            return Err(PackageError::ShellWords(name(), self.command.len()));
        }
        if self.command.len() > COMMAND_WORDS_MAX
            || length > COMMAND_LENGTH_MAX
            || self.command.iter().any(|word| word.contains('\0'))
        {
            return Err(PackageError::Command(name()));
        }
        if self.time_limit > TIME_LIMIT_MAX {
            return Err(PackageError::TimeLimit(name()));
        }
        Ok(())
    }

    pub fn succeeds_with(&self, exit_code: i32) -> bool {
        if self.success_codes.is_empty() { exit_code == 0 } else { self.success_codes.contains(&exit_code) }
    }

    /// Whether it may run on a machine of this kind, named as in `std::env::consts`.
    pub fn runs_on(&self, os: &str, arch: &str) -> bool {
        let admits = |list: &[String], what: &str| list.is_empty() || list.iter().any(|entry| entry == what);
        admits(&self.operating_systems, os) && admits(&self.architectures, arch)
    }
}

/// Names that people give to packages, collections and advertisements.
pub fn check_name(name: &str) -> Result<(), PackageError> {
    let length = name.chars().count();
    if length == 0 || length > NAME_LENGTH_MAX || name.chars().any(char::is_control) || name.trim().is_empty()
    {
        return Err(PackageError::Name(name.chars().filter(|c| !c.is_control()).take(80).collect()));
    }
    Ok(())
}

/// How far a package is at one place: a site's library or a distribution point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageState {
    Pending,
    Installed,
    Retrying,
    Failed,
    Removing,
}

impl PackageState {
    pub fn as_str(self) -> &'static str {
        match self {
            PackageState::Pending => "pending",
            PackageState::Installed => "installed",
            PackageState::Retrying => "retrying",
            PackageState::Failed => "failed",
            PackageState::Removing => "removing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &[&str]) -> Program {
        Program {
            name: "install".parse().expect("a name"),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            shell: false,
            time_limit: TIME_LIMIT_DEFAULT,
            success_codes: vec![],
            operating_systems: vec![],
            architectures: vec![],
            idempotent: false,
        }
    }

    #[test]
    fn a_program_without_a_command_is_refused() {
        assert!(matches!(program(&[]).check(), Err(PackageError::NoCommand(_))));
        assert!(matches!(program(&["", "x"]).check(), Err(PackageError::NoCommand(_))));
        assert!(matches!(program(&["a\0b"]).check(), Err(PackageError::Command(_))));
        assert!(program(&["./install.sh", "--quiet"]).check().is_ok());
    }

    #[test]
    fn a_shell_command_is_one_string() {
        let mut shell = program(&["echo", "x"]);
        shell.shell = true;
        assert_eq!(shell.check(), Err(PackageError::ShellWords(shell.name.clone(), 2)));
    }

    #[test]
    fn success_is_zero_unless_the_program_says_otherwise() {
        let mut installer = program(&["x"]);
        assert!(installer.succeeds_with(0) && !installer.succeeds_with(3010));
        installer.success_codes = vec![0, 3010];
        assert!(installer.succeeds_with(3010) && !installer.succeeds_with(1));
    }

    #[test]
    fn requirements_exclude_other_machines() {
        let mut installer = program(&["x"]);
        assert!(installer.runs_on("linux", "x86_64"));
        installer.operating_systems = vec!["windows".into()];
        assert!(!installer.runs_on("linux", "x86_64"));
    }
}

//! The administrator's console of one site, run as people run it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Clock,
    status::{AdvertisementProgress, PackageProgress, SiteStatus},
};

/// What one command answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// 255 if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, Clone)]
pub struct Console {
    program: PathBuf,
    admin: PathBuf,
    traceparent: Option<String>,
    clock: Option<Clock>,
}

impl Console {
    pub(crate) fn new(program: &Path, admin: PathBuf, clock: Option<Clock>) -> Self {
        Console { program: program.to_owned(), admin, traceparent: None, clock }
    }

    /// The same console run by somebody who traces.
    pub fn in_trace(&self, traceparent: &str) -> Self {
        Console { traceparent: Some(traceparent.to_owned()), ..self.clone() }
    }

    pub fn admin_directory(&self) -> &Path {
        &self.admin
    }

    /// The same console with another admin directory.
    pub fn with_admin(&self, admin: &Path) -> Self {
        Console { admin: admin.to_owned(), traceparent: None, ..self.clone() }
    }

    /// Runs a command and gives its answer, whatever it is.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Answer> {
        let output = Command::new(&self.program)
            .arg("--admin")
            .arg(&self.admin)
            .args(arguments)
            .envs(self.clock.iter().flat_map(Clock::variables))
            .envs(self.traceparent.as_ref().map(|traceparent| ("TRACEPARENT", traceparent)))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        Ok(Answer {
            code: output.status.code().unwrap_or(255),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed; its standard output.
    pub fn done<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        let answer = self.run(arguments)?;
        if answer.code != 0 {
            let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
            bail!("`packhorse {}` failed with {}: {}", words.join(" "), answer.code, answer.stderr.trim());
        }
        Ok(answer.stdout)
    }

    /// Runs a command that must succeed; its answer as JSON.
    pub fn json<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Value> {
        self.read(arguments)
    }

    pub fn package(&self, package: &str) -> Result<PackageProgress> {
        self.read(&["status", "package", package])
    }

    pub fn advertisement(&self, advertisement: &str) -> Result<AdvertisementProgress> {
        self.read(&["status", "advertisement", advertisement])
    }

    pub fn site(&self) -> Result<SiteStatus> {
        self.read(&["status", "site"])
    }

    /// Runs a command that makes something; the id of what it made.
    pub fn create<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        let answer = self.json(arguments)?;
        let id = answer["id"].as_str().with_context(|| format!("the answer has no id: {answer}"))?;
        Ok(id.to_owned())
    }

    fn read<T: DeserializeOwned, A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<T> {
        let mut all = vec![OsStr::new("-o"), OsStr::new("json")];
        all.extend(arguments.iter().map(AsRef::as_ref));
        let text = self.done(&all)?;
        serde_json::from_str(&text).with_context(|| format!("the answer is not as expected: {text}"))
    }
}

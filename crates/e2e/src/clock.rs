//! A time of day of its own for one process or several (`clock.c`), which is set while they run.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// How far ahead of the machine's clock some processes are.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Put before the C library.
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// As the machine's. What it needs is made in the directory.
    pub fn make(directory: &Path, name: &str) -> Result<Self> {
        let library = directory.join("clock.so");
        if !library.exists() {
            compile(&["-shared", "-fPIC"], include_str!("clock.c"), &library)?;
        }
        let file = directory.join(format!("clock-{name}"));
        fs::write(&file, 0_i64.to_ne_bytes())?;
        Ok(Clock { library, file })
    }

    /// So many seconds ahead, or behind if that is below zero.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // In place: the processes have it mapped.
        let mut open = fs::File::options().write(true).open(&self.file)?;
        Ok(open.write_all(&seconds.to_ne_bytes())?)
    }

    /// The environment of a process that goes by it.
    pub fn variables(&self) -> [(&'static OsStr, &Path); 2] {
        [(OsStr::new("PACKHORSE_CLOCK"), &self.file), (OsStr::new("LD_PRELOAD"), &self.library)]
    }
}

/// Makes a program of a text in C, with what Rust needs to link as well.
pub fn compile(options: &[&str], text: &str, to: &Path) -> Result<()> {
    let source = to.with_extension("c");
    fs::write(&source, text)?;
    let output = Command::new("cc").args(options).arg("-o").args([to, &source]).output();
    let output = output.context("`cc`, a C compiler, is needed for this and cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`cc` does not make {}: {said}", to.display());
    Ok(())
}

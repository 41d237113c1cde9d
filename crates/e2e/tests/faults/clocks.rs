//! Clocks that are wrong: one process at a time sees another time of day (`clock.c`), which is set while it runs.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::world::World;

/// The library that is put before the C library, and the files that say how far each clock is ahead.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    library: Option<PathBuf>,
    files: BTreeMap<String, PathBuf>,
}

impl World {
    /// Sets the clock of a process. It is restarted the first time, since only then the clock is one of its own.
    pub(crate) fn set_clock(&mut self, who: &str, seconds: i64) -> Result<()> {
        let library = match &self.clocks.library {
            Some(made) => made.clone(),
            None => {
                let library = self.hierarchy.scratch("clock.so");
                compile(&["-shared", "-fPIC"], include_str!("clock.c"), &library)?;
                self.clocks.library.insert(library).clone()
            }
        };
        let file = self.hierarchy.scratch(&format!("clock-{}", who.replace('/', "-")));
        if self.clocks.files.insert(who.to_owned(), file.clone()).is_none() {
            fs::write(&file, seconds.to_ne_bytes())?;
            let process = self.process(who)?;
            process.set_variable("PACKHORSE_CLOCK", &file);
            process.set_variable("LD_PRELOAD", &library);
            process.kill9()?;
            return self.start(who);
        }
        // In place: the process has it mapped.
        let mut open = fs::File::options().write(true).open(&file)?;
        Ok(open.write_all(&seconds.to_ne_bytes())?)
    }
}

/// Makes a program of a text in C, with what Rust needs to link as well.
pub(crate) fn compile(options: &[&str], text: &str, to: &Path) -> Result<()> {
    let source = to.with_extension("c");
    fs::write(&source, text)?;
    let output = Command::new("cc").args(options).arg("-o").args([to, &source]).output();
    let output = output.context("`cc`, a C compiler, is needed for this fault and cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`cc` does not make {}: {said}", to.display());
    Ok(())
}

//! Where the built programs are: beside the test or the xtask that wants to start them.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// The four programs of one build.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub site_server: PathBuf,
    pub cap_agent: PathBuf,
    pub client_agent: PathBuf,
    pub packhorse: PathBuf,
}

impl Binaries {
    /// Those of the build that this executable is part of.
    pub fn find() -> Result<Self> {
        Binaries::within(&target_directory()?)
    }

    /// Those in a directory, as `target/debug`.
    pub fn within(directory: &Path) -> Result<Self> {
        let program = |name: &str| {
            let path = directory.join(name);
            if path.is_file() {
                return Ok(path);
            }
            bail!("{} is not built: run `cargo build --workspace`", path.display())
        };
        Ok(Binaries {
            site_server: program("site-server")?,
            cap_agent: program("cap-agent")?,
            client_agent: program("client-agent")?,
            packhorse: program("packhorse")?,
        })
    }
}

/// The directory of the build's programs: a test stands one below, in `deps`.
pub fn target_directory() -> Result<PathBuf> {
    let own = env::current_exe().context("this executable has no path")?;
    let directory = own.parent().context("this executable is in no directory")?;
    let above = directory.parent().filter(|_| directory.ends_with("deps"));
    Ok(above.unwrap_or(directory).to_owned())
}

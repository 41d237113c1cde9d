//! The agent's directory: what lies where.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use packhorse_domain::id::AdvertisementId;
use packhorse_runtime::durable::{DurableError, remove_file_durable, sync_directory, write_file_durable};

/// The directory given with `--dir`.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("cannot make {path:?}")]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot make the agent's directory durable")]
    Sync { source: DurableError },
    #[error("cannot list {path:?}")]
    List { path: PathBuf, source: io::Error },
    #[error("cannot record the choice of {advertisement}")]
    Choose { advertisement: AdvertisementId, source: DurableError },
}

impl Home {
    pub fn at(directory: &Path) -> Self {
        // Programs run elsewhere, and are told of paths in here.
        Home(std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()))
    }

    /// Makes the directory and those in it. Nobody but the owner reads what programs of this machine leave here.
    pub fn make(&self) -> Result<(), HomeError> {
        for path in [self.0.clone(), self.files(), self.runs(), self.work(), self.reports(), self.choices()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o700)))
                .map_err(|source| HomeError::Make { path, source })?;
        }
        // What is kept in here durably must not go with the directory itself.
        for path in [Some(self.0.as_path()), self.0.parent()].into_iter().flatten() {
            sync_directory(path).map_err(|source| HomeError::Sync { source })?;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("client.toml")
    }

    pub fn credentials(&self) -> PathBuf {
        self.0.join("credentials")
    }

    pub fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    pub fn library(&self) -> PathBuf {
        self.0.join("library")
    }

    /// Spools of runs.
    pub fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// Trees of content that programs run in.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What programs leave for their administrators.
    pub fn reports(&self) -> PathBuf {
        self.0.join("reports")
    }

    fn choices(&self) -> PathBuf {
        self.0.join("choices")
    }

    /// Marks an available advertisement as chosen; the agent, running or not, finds the mark.
    pub fn choose(&self, advertisement: &AdvertisementId) -> Result<(), HomeError> {
        write_file_durable(&self.choices().join(advertisement.as_str()), b"", 0o600)
            .map_err(|source| HomeError::Choose { advertisement: advertisement.clone(), source })
    }

    /// Takes the mark away: the choice was for one run.
    pub fn unchoose(&self, advertisement: &AdvertisementId) -> Result<(), HomeError> {
        remove_file_durable(&self.choices().join(advertisement.as_str()))
            .map_err(|source| HomeError::Choose { advertisement: advertisement.clone(), source })
    }

    pub fn chosen(&self) -> Result<Vec<AdvertisementId>, HomeError> {
        let path = self.choices();
        let listed = fs::read_dir(&path).map_err(|source| HomeError::List { path: path.clone(), source })?;
        let mut chosen = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|source| HomeError::List { path: path.clone(), source })?;
            chosen.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        Ok(chosen)
    }
}

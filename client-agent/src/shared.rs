//! What the workers of the agent have in common.

use std::{path::PathBuf, sync::Arc};

use jiff::tz::TimeZone;
use packhorse_content::Library;
use packhorse_domain::client::ClientFact;
use packhorse_runtime::{Clock, error_chain, local::system_zone};

use crate::{
    cap::CapClient,
    config::Config,
    figures::Counts,
    files::FileStore,
    home::Home,
    ledger::{Ledger, LedgerError, Owner, Seen},
    verify::{Held, Reader, read},
};

/// One agent's settings, stores and connections.
#[derive(Debug)]
pub struct Shared {
    pub config: Config,
    pub home: Home,
    pub ledger: Ledger,
    pub files: FileStore,
    pub library: Arc<Library>,
    pub cap: CapClient,
    pub clock: Arc<dyn Clock>,
    /// The program that has the subcommand `runner`.
    pub runner: PathBuf,
    /// For whoever watches.
    pub counts: Counts,
}

impl Shared {
    pub fn owner(&self) -> &Owner {
        self.ledger.owner()
    }

    pub(crate) fn reader<'a>(&'a self, seen: &'a Seen) -> Reader<'a> {
        Reader {
            root: &self.config.root,
            site: &self.config.site,
            client: &self.owner().client,
            seen,
            now: self.clock.now(),
        }
    }

    /// The instruction that the client holds, read from its disk and verified again; `None` if there is none that can
    /// be believed.
    pub fn believed(&self) -> Result<Option<Held>, LedgerError> {
        let seen = self.ledger.seen()?;
        let Some(bytes) = seen.instruction.and_then(|digest| self.files.get(&digest)) else {
            return Ok(None);
        };
        match read(&self.reader(&seen), &bytes, &self.files) {
            Ok(held) => Ok(Some(held)),
            Err(refusal) => {
                tracing::warn!(
                    reason = error_chain(&refusal),
                    "the held instruction is not believed any more"
                );
                Ok(None)
            }
        }
    }

    /// The zone in which maintenance windows are meant.
    pub fn zone(&self) -> TimeZone {
        self.config.time_zone.clone().unwrap_or_else(system_zone)
    }

    pub fn facts(&self) -> ClientFact {
        let owner = self.owner();
        ClientFact {
            id: owner.client.clone(),
            site: owner.site.clone(),
            hostname: owner.hostname.clone(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            labels: self.config.labels.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

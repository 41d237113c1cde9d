//! The agent: its workers put together.

use std::{path::PathBuf, sync::Arc, time::Duration};

use packhorse_content::{Library, LibraryError};
use packhorse_domain::{
    client::FactError,
    id::{AdvertisementId, ClientId},
};
use packhorse_runtime::{Clock, Lifecycle, Next, Waker, config::ConfigError, error_chain, metrics::Metrics};
use packhorse_trust::{Credentials, CredentialsError};

use crate::{
    cap::CapClient,
    config::Config,
    execute::{ExecuteError, Executor},
    figures::{ClientFigures, Counts},
    files::{FileStore, FileStoreError},
    home::{Home, HomeError},
    ledger::{Ledger, LedgerError, Owner, SnapshotError, read_snapshot},
    poll::Poller,
    report::Reporter,
    shared::Shared,
};

const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the settings cannot be used")]
    Config {
        #[from]
        source: ConfigError,
    },
    #[error("the client's credentials cannot be used")]
    Credentials {
        #[from]
        source: CredentialsError,
    },
    #[error("the credentials are not those of a client of site {0}: enrol again")]
    OtherIdentity(String),
    #[error("the client's own facts are refused")]
    Facts {
        #[from]
        source: FactError,
    },
    #[error("the agent's directory cannot be used")]
    Home {
        #[from]
        source: HomeError,
    },
    #[error("the ledger cannot be opened")]
    Ledger {
        #[from]
        source: LedgerError,
    },
    #[error("the instruction files cannot be used")]
    Files {
        #[from]
        source: FileStoreError,
    },
    #[error("the content library cannot be opened")]
    Library {
        #[from]
        source: LibraryError,
    },
    #[error("an advertisement could not be acted on")]
    Execute {
        #[from]
        source: ExecuteError,
    },
    #[error("the ledger cannot be read")]
    Snapshot {
        #[from]
        source: SnapshotError,
    },
    #[error("no advertisement {0} is offered to this client; `client-agent status` lists those that are")]
    NotOffered(AdvertisementId),
    #[error("advertisement {advertisement} does not wait for a choice: it is {state}")]
    NotWaiting { advertisement: AdvertisementId, state: String },
}

/// Whose agent it is: as the certificate says.
pub fn identity(config: &Config, home: &Home) -> Result<ClientId, AgentError> {
    let name = Credentials::load(&home.credentials())?.name()?;
    match name.as_client() {
        Some(client) if name.site == config.site => Ok(client),
        _ => Err(AgentError::OtherIdentity(config.site.to_string())),
    }
}

/// Opens everything that the agent keeps. `runner` is the program with the subcommand of that name.
pub fn open(
    config: Config,
    home: Home,
    clock: Arc<dyn Clock>,
    runner: PathBuf,
) -> Result<Arc<Shared>, AgentError> {
    let client = identity(&config, &home)?;
    home.make()?;
    let hostname = match config.hostname.as_str() {
        "" => own_hostname(),
        given => given.to_owned(),
    };
    let owner = Owner { client, site: config.site.clone(), hostname };
    let shared = Shared {
        ledger: Ledger::open(home.path(), owner)?,
        files: FileStore::open(&home.files())?,
        library: Arc::new(Library::open(&home.library())?),
        cap: CapClient::new(&config.site, &config.caps, home.credentials()),
        config,
        home,
        clock,
        runner,
        counts: Counts::default(),
    };
    shared.facts().check()?;
    Ok(Arc::new(shared))
}

/// Starts the workers, to go on until the lifecycle stops.
pub fn serve(shared: &Arc<Shared>, lifecycle: &Lifecycle) {
    let (executor, reporter) = (Waker::new(), Waker::new());
    lifecycle.spawn_worker_with(Reporter::new(shared.clone()), reporter.clone());
    lifecycle.spawn_worker_with(Executor::new(shared.clone(), reporter), executor.clone());
    lifecycle.spawn_worker(Poller::new(shared.clone(), executor));
}

/// What a monitor may know of the agent.
pub fn metrics(shared: &Arc<Shared>, lifecycle: &Lifecycle) -> Metrics {
    // Not which client it is: a monitor knows that from whom it asks.
    let common = vec![("site", shared.config.site.to_string())];
    Metrics::new(ClientFigures::new(shared.clone()), lifecycle, common, env!("CARGO_PKG_VERSION"))
}

/// One poll, all the runs that follow from it to their ends, and a report. A site that cannot be reached is no error:
/// what is held is acted on all the same.
pub async fn once(shared: &Arc<Shared>) -> Result<(), AgentError> {
    let unused = Waker::new();
    if let Err(error) = Poller::new(shared.clone(), unused.clone()).poll().await {
        tracing::warn!(error = error_chain(&error), "poll failed; going on with what is held");
    }
    let mut executor = Executor::new(shared.clone(), unused);
    loop {
        match executor.act().await? {
            Next::Again => {}
            Next::After(pause) if executor.is_running() => tokio::time::sleep(pause).await,
            // What waits for a time, a person or a distribution point is for another day.
            Next::Idle | Next::After(_) => break,
        }
    }
    if let Err(error) = Reporter::new(shared.clone()).report().await {
        tracing::warn!(error = error_chain(&error), "report failed; it is kept");
    }
    Ok(())
}

/// Marks an available advertisement as chosen by the user. The agent may run meanwhile, or be started later.
pub fn choose(home: &Home, advertisement: &AdvertisementId) -> Result<(), AgentError> {
    let view = read_snapshot(home.path())?;
    let row = view.advertisements.iter().find(|row| row.advertisement == advertisement.as_str());
    let row = row.ok_or_else(|| AgentError::NotOffered(advertisement.clone()))?;
    if row.acceptance != "accepted" || row.delivery != "waiting" {
        let state = if row.acceptance == "accepted" { &row.delivery } else { &row.acceptance };
        return Err(AgentError::NotWaiting { advertisement: advertisement.clone(), state: state.clone() });
    }
    home.make()?;
    Ok(home.choose(advertisement)?)
}

/// How long workers have at a soft stop: a download cut off goes on later, and a program goes on by itself.
pub const GRACE: Duration = Duration::from_secs(5);

fn own_hostname() -> String {
    let name = std::fs::read_to_string(HOSTNAME_FILE).unwrap_or_default();
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}

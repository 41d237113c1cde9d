//! The site as its components know it: who it is, its keys, its library, its database.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU16, Ordering},
    },
};

use packhorse_content::Library;
use packhorse_domain::{Timestamp, id::SiteCode, object::ObjectKind, site::SitePath};
use packhorse_runtime::Clock;
use packhorse_trust::{Authority, Credentials, PublicKey, SigningKey, TrustStore};

use crate::{
    care::Care,
    config::Settings,
    courier::{Courier, elsewhere},
    despooler::{StagedTrees, Unpacking},
    diagnosis::{CapInquiries, Inquiries, Troubles},
    directories::Directories,
    error::Error,
    scheduler::Sendings,
    sender::{LinkView, Relays},
    status::{RulesInMind, Said},
    store::{Store, delegations, objects, settings},
    streams::Streams,
};

/// Everything that more than one component needs. Shared by all of them, changed by none but through its methods.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) settings: Settings,
    pub(crate) directories: Directories,
    pub(crate) store: Store,
    pub(crate) library: Arc<Library>,
    pub(crate) authority: Authority,
    pub(crate) credentials: Credentials,
    pub(crate) epoch: Vec<u8>,
    path: SitePath,
    root: PublicKey,
    director: SigningKey,
    author: Option<SigningKey>,
    trust: RwLock<TrustStore>,
    clock: Arc<dyn Clock>,
    /// Held to read by whoever puts content into the library and has not recorded it yet, and to write by the clean-up.
    pub(crate) content_gate: Arc<tokio::sync::RwLock<()>>,
    links: Mutex<BTreeMap<SiteCode, LinkView>>,
    /// The UDP port at which lanes are taken; 0: none is.
    lane_port: AtomicU16,
    /// What is coming in and may go on already.
    pub(crate) relays: Relays,
    /// Whose turn it is to be sent bundles.
    pub(crate) sendings: Sendings,
    /// What people were told lately.
    pub(crate) said: Said,
    /// What becomes of messages.
    pub(crate) event_rules: RulesInMind,
    /// Those who look after the library.
    pub(crate) care: Care,
    /// What Despooler has laid out beforehand for Distribution Manager.
    pub(crate) staged: StagedTrees,
    /// Bundles that are taken in while they arrive.
    pub(crate) unpacking: Unpacking,
    pub(crate) courier: Courier,
    /// Other sites that can be asked.
    pub(crate) inquiries: Inquiries,
    /// CAP agents that can be asked.
    pub(crate) cap_inquiries: CapInquiries,
    /// What does not get on, for whoever asks.
    pub(crate) troubles: Troubles,
    /// Who is connected for longer.
    pub(crate) streams: Streams,
    pub(crate) opened_at: Timestamp,
}

/// Why a site cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot {step}")]
    Step { step: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the database in {directory} is of site {found}, and site.toml says {code}; correct `code`")]
    OtherSite { directory: String, found: String, code: SiteCode },
    #[error(
        "the database does not say what it should: {0} is missing; it is not one that `site-server init` made"
    )]
    Incomplete(&'static str),
}

fn step<E>(step: &'static str) -> impl FnOnce(E) -> OpenError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| OpenError::Step { step, source: Box::new(source) }
}

impl Site {
    pub(crate) async fn open(
        directory: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Site, OpenError> {
        let directories = Directories::new(directory);
        for working in directories.working() {
            fs::create_dir_all(working).map_err(step("make the site's directories"))?;
        }
        let store = Store::open(&directories.database()).await.map_err(step("open the database"))?;
        let facts = Facts::read(&store, &settings.code, directory).await?;
        let trust = TrustStore::new(facts.root, &facts.trust_file, &facts.delegations)
            .map_err(step("check the chain of trust"))?;
        let path = trust
            .path_of(&settings.code)
            .ok_or(OpenError::Incomplete("the delegation to this site"))?
            .clone();
        let library_directory = directories.library();
        let library = tokio::task::spawn_blocking(move || Library::open(&library_directory))
            .await
            .map_err(step("open the content library"))?
            .map_err(step("open the content library"))?;
        let author = directories.key("author");
        let author = match author.exists() {
            true => Some(SigningKey::from_file(&author).map_err(step("read the author's key"))?),
            false => None,
        };
        elsewhere::sweep(&directories.parcels_in());
        let courier = Courier::open(&directories.courier_key()).map_err(step("read the key for parcels"))?;
        Ok(Site {
            courier,
            inquiries: Inquiries::default(),
            cap_inquiries: CapInquiries::default(),
            troubles: Troubles::default(),
            opened_at: clock.now(),
            authority: Authority::load(&directories.authority())
                .map_err(step("load the site's authority"))?,
            credentials: Credentials::load(&directories.credentials())
                .map_err(step("load the site's certificate"))?,
            director: SigningKey::from_file(&directories.key("director"))
                .map_err(step("read the director's key"))?,
            author,
            settings,
            directories,
            store,
            library: Arc::new(library),
            epoch: facts.epoch,
            path,
            root: facts.root,
            trust: RwLock::new(trust),
            clock,
            content_gate: Arc::default(),
            links: Mutex::default(),
            lane_port: AtomicU16::default(),
            relays: Relays::default(),
            sendings: Sendings::default(),
            said: Said::default(),
            event_rules: RulesInMind::default(),
            care: Care::default(),
            staged: StagedTrees::default(),
            unpacking: Unpacking::default(),
            streams: Streams::default(),
        })
    }

    pub(crate) fn code(&self) -> &SiteCode {
        self.path.site()
    }

    pub(crate) fn path(&self) -> &SitePath {
        &self.path
    }

    pub(crate) fn root(&self) -> &PublicKey {
        &self.root
    }

    pub(crate) fn director(&self) -> &SigningKey {
        &self.director
    }

    /// The author's key, at a site that has one and that the trust file names.
    pub(crate) fn author(&self) -> Result<&SigningKey, Error> {
        let author =
            self.author.as_ref().filter(|key| self.trust(|trust| trust.author(&key.public()).is_some()));
        author.ok_or_else(|| {
            Error::Precondition(format!(
                "site {} has no author's key that the trust file names, so it cannot sign packages; create the package \
                 at the central site",
                self.code()
            ))
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks something up in the chain of trust.
    pub(crate) fn trust<T>(&self, ask: impl FnOnce(&TrustStore) -> T) -> T {
        ask(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the chain of trust; a refused change leaves it as it was.
    pub(crate) fn change_trust<T>(&self, change: impl FnOnce(&mut TrustStore) -> T) -> T {
        change(&mut self.trust.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The UDP port at which lanes are taken; 0: none is.
    pub(crate) fn lane_port(&self) -> u16 {
        self.lane_port.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lane_port(&self, port: u16) {
        self.lane_port.store(port, Ordering::Relaxed);
    }

    /// What is known of the links, live.
    pub(crate) fn links<T>(&self, ask: impl FnOnce(&mut BTreeMap<SiteCode, LinkView>) -> T) -> T {
        ask(&mut self.links.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the database says of the site.
struct Facts {
    epoch: Vec<u8>,
    root: PublicKey,
    trust_file: Vec<u8>,
    delegations: Vec<Vec<u8>>,
}

impl Facts {
    async fn read(store: &Store, code: &SiteCode, directory: &Path) -> Result<Facts, OpenError> {
        let read = step::<crate::store::StoreError>;
        let mut tx = store.read().await.map_err(read("read the database"))?;
        let found = settings::get(&mut tx, settings::CODE).await.map_err(read("read the database"))?;
        let found = found.ok_or(OpenError::Incomplete("the site's code"))?;
        if found != code.as_str().as_bytes() {
            return Err(OpenError::OtherSite {
                directory: directory.display().to_string(),
                found: String::from_utf8_lossy(&found).into_owned(),
                code: code.clone(),
            });
        }
        let root = settings::get(&mut tx, settings::ROOT_KEY)
            .await
            .map_err(read("read the database"))?
            .ok_or(OpenError::Incomplete("the root's key"))?;
        let object =
            objects::get(&mut tx, ObjectKind::Trust, "trust").await.map_err(read("read the database"))?;
        let joined = settings::get(&mut tx, settings::TRUST_FILE).await.map_err(read("read the database"))?;
        let epoch = settings::get(&mut tx, settings::EPOCH).await.map_err(read("read the database"))?;
        let delegations = delegations::list(&mut tx).await.map_err(read("read the database"))?;
        Ok(Facts {
            epoch: epoch.ok_or(OpenError::Incomplete("the epoch"))?,
            root: PublicKey::try_from(root.as_slice()).map_err(step("read the root's key"))?,
            trust_file: object
                .map(|object| object.body)
                .or(joined)
                .ok_or(OpenError::Incomplete("the trust file"))?,
            delegations: delegations.into_iter().map(|(_, content)| content).collect(),
        })
    }
}

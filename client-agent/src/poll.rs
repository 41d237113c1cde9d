//! Asks the client access point for news, and takes on what can be believed, whole or not at all.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use packhorse_domain::{
    Digest,
    instruction::{FileReference, Instruction},
};
use packhorse_runtime::{Next, Waker, Worker, error_chain, telemetry::within};

use crate::{
    blocking::off_thread,
    cap::{CapClient, CapError},
    chance::{backoff, jittered},
    config::POLL_INTERVAL_MAX_S,
    files::{FileStore, FileStoreError},
    ledger::LedgerError,
    shared::Shared,
    verify::{Files, Held, Offer, Refusal, is_trust_file, open_instruction, peek, read_new},
};

const BACKOFF_MIN: Duration = Duration::from_secs(5);
/// All files of an instruction together.
const FILES_LENGTH_MAX: usize = 64 * 1024 * 1024;

/// Polls.
#[derive(Debug)]
pub struct Poller {
    shared: Arc<Shared>,
    /// Who acts on a new instruction.
    executor: Waker,
    failures: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum PollError {
    #[error("the site was not reached")]
    Cap {
        #[from]
        source: CapError,
    },
    #[error("a new instruction is refused")]
    Refused {
        #[from]
        source: Refusal,
    },
    #[error("the files of a new instruction are longer than {FILES_LENGTH_MAX} bytes together")]
    TooMuch,
    #[error("a new instruction could not be kept")]
    Keep {
        #[from]
        source: FileStoreError,
    },
    #[error("a new instruction could not be recorded")]
    Record {
        #[from]
        source: LedgerError,
    },
}

impl Poller {
    pub fn new(shared: Arc<Shared>, executor: Waker) -> Self {
        Poller { shared, executor, failures: 0 }
    }

    /// One poll with all that follows from it. Gives the server's wish for the next one, 0 for none.
    pub async fn poll(&self) -> Result<u32, PollError> {
        let shared = self.shared.clone();
        let held = off_thread(move || shared.believed()).await?;
        let interval_s = self.shared.config.poll_interval_s;
        let (digest, now) = (held.as_ref().map(|held| &held.digest), self.shared.clock.now());
        let answer = self.shared.cap.poll(digest, interval_s, now).await?;
        if !answer.instruction.is_empty() {
            let adopted = self.adopt(answer.instruction.to_vec()).await?;
            let serial = adopted.instruction.serial;
            tracing::info!(serial, offers = adopted.offers.len(), "took on a new instruction");
            for offer in adopted.offers.iter().filter(|offer| self.is_new(held.as_ref(), offer)) {
                let advertisement = offer.advertisement.id.as_str();
                drop(within(
                    &offer.traceparent,
                    || tracing::info_span!(target: "poller", "take-on", advertisement, serial),
                ));
            }
            self.executor.wake();
        } else if !answer.known {
            tracing::debug!("the site has no instruction for this client yet");
        }
        Ok(answer.next_poll_s)
    }

    /// Whether an offer was not in the instruction that was held, or comes from a later change.
    fn is_new(&self, held: Option<&Held>, offer: &Offer) -> bool {
        !held.is_some_and(|held| held.offers.iter().any(|known| known.traceparent == offer.traceparent))
    }

    /// Nothing is written, and nothing that was held is touched, before everything is verified.
    async fn adopt(&self, bytes: Vec<u8>) -> Result<Held, PollError> {
        let claimed = peek(&bytes)?;
        let mut gathered = Gathered { store: self.shared.files.clone(), fetched: BTreeMap::new(), length: 0 };
        gathered.fetch(&self.shared.cap, &claimed, is_trust_file).await?;
        let seen = self.shared.ledger.seen()?;
        open_instruction(&self.shared.reader(&seen), &bytes, &gathered)?;

        gathered.fetch(&self.shared.cap, &claimed, |_| true).await?;
        let held = read_new(&self.shared.reader(&seen), &bytes, &gathered)?;
        let shared = self.shared.clone();
        off_thread(move || keep(&shared, &bytes, &gathered, held)).await
    }
}

fn keep(shared: &Shared, bytes: &[u8], gathered: &Gathered, held: Held) -> Result<Held, PollError> {
    for content in gathered.fetched.values() {
        shared.files.put(content)?;
    }
    shared.files.put(bytes)?;
    shared.ledger.adopt(&held.seen())?;

    for (name, reason) in &held.doubted_kills {
        tracing::warn!(name, reason, "a kill is not believed");
    }
    let mut live: HashSet<Digest> = held.instruction.files.iter().map(|file| file.digest).collect();
    live.insert(held.digest);
    if let Err(error) = shared.files.retain(&live) {
        // What is left over is removed after the next instruction.
        tracing::warn!(error = error_chain(&error), "old instruction files remain");
    }
    Ok(held)
}

/// Files that are held, and files that were fetched and not kept yet.
struct Gathered {
    store: FileStore,
    fetched: BTreeMap<Digest, Vec<u8>>,
    length: usize,
}

impl Gathered {
    /// Fetches those of the named files that are wanted and not there.
    async fn fetch(
        &mut self,
        cap: &CapClient,
        instruction: &Instruction,
        wanted: impl Fn(&FileReference) -> bool,
    ) -> Result<(), PollError> {
        let missing: Vec<&FileReference> = instruction
            .files
            .iter()
            .filter(|reference| wanted(reference) && self.file(reference).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = missing.iter().map(|reference| reference.name.clone()).collect();
        let digests: HashSet<Digest> = missing.iter().map(|reference| reference.digest).collect();
        cap.files(&names, |_, content| {
            let digest = Digest(*blake3::hash(&content).as_bytes());
            // The name may stand for something newer by now; then what it stands for is not in this instruction.
            if digests.contains(&digest) && self.length <= FILES_LENGTH_MAX {
                self.length += content.len();
                self.fetched.insert(digest, content);
            }
        })
        .await?;
        if self.length > FILES_LENGTH_MAX { Err(PollError::TooMuch) } else { Ok(()) }
    }
}

impl Files for Gathered {
    fn file(&self, reference: &FileReference) -> Option<Vec<u8>> {
        self.fetched.get(&reference.digest).cloned().or_else(|| self.store.file(reference))
    }
}

impl Worker for Poller {
    const NAME: &'static str = "poller";
    const PERIOD: Duration = Duration::from_secs(POLL_INTERVAL_MAX_S as u64);
    type Error = LedgerError;

    async fn step(&mut self) -> Result<Next, LedgerError> {
        let own = Duration::from_secs(self.shared.config.poll_interval_s.into());
        match self.poll().await {
            Ok(wished) => {
                self.failures = 0;
                self.shared.counts.polled(self.shared.clock.now());
                let interval = if wished == 0 { own } else { Duration::from_secs(wished.into()) };
                Ok(Next::After(jittered(interval)))
            }
            Err(PollError::Record { source }) => Err(source),
            Err(error) => {
                self.shared.counts.poll_failed();
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(error = error_chain(&error), failures = self.failures, "poll failed");
                Ok(Next::After(backoff(self.failures, BACKOFF_MIN.min(own), own)))
            }
        }
    }
}

//! Acts on what the client holds: settles what ran, and for the next advertisement downloads or runs.
//!
//! One program at a time. A step is short: a running program is looked at again and again, not waited for, so that
//! the agent can be stopped and started in the middle of it.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    process::Child,
    sync::Arc,
    time::Duration,
};

use jiff::tz::TimeZone;
use packhorse_content::{LibraryError, TreeError};
use packhorse_domain::{
    Digest, Timestamp,
    address::LocalClock,
    advertisement::{Acceptance, Advertisement, Delivery},
    id::AdvertisementId,
    run::{Circumstances, OfferView, Past, Step, Wait, first, next, wake_at},
    time::length,
    window::Closed,
};
use packhorse_runtime::{
    Next, Waker, Worker, error_chain,
    local::{moment, zoned},
};

use crate::{
    blocking::off_thread,
    home::HomeError,
    ledger::{LedgerError, RunRecord, StatusChange},
    runner::SpoolError,
    shared::Shared,
    verify::{Held, Offer},
};

mod download;
mod settle;
mod start;

/// Runs advertisements.
#[derive(Debug)]
pub struct Executor {
    shared: Arc<Shared>,
    reporter: Waker,
    /// The instruction last looked at.
    held: Option<Arc<Held>>,
    /// The run that the ledger has as open: nobody else writes runs there.
    open: Option<RunRecord>,
    /// The supervisor that this process started, until it is known to have begun.
    launched: Option<Child>,
    retries: BTreeMap<AdvertisementId, Retry>,
    /// Manifests known to be in the library with all their chunks.
    whole: HashSet<Digest>,
    /// The instruction whose surplus content was removed.
    collected: Option<Digest>,
    /// What a crash left behind was removed.
    tidied: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Retry {
    failures: u32,
    not_before: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("the ledger cannot be used")]
    Ledger {
        #[from]
        source: LedgerError,
    },
    #[error("a run cannot be supervised")]
    Spool {
        #[from]
        source: SpoolError,
    },
    #[error("the agent's directory cannot be used")]
    Home {
        #[from]
        source: HomeError,
    },
    #[error("the content library cannot be used")]
    Library { source: LibraryError },
    #[error("content cannot be laid out in {path:?}")]
    LayOut { path: PathBuf, source: TreeError },
    #[error("cannot {operation} {path:?}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

/// Everything that bears on one offer, as it was found at one moment.
#[derive(Debug)]
struct Decided {
    offer: Offer,
    record: Option<RunRecord>,
    step: Step,
}

impl Executor {
    pub fn new(shared: Arc<Shared>, reporter: Waker) -> Self {
        Executor {
            shared,
            reporter,
            held: None,
            open: None,
            launched: None,
            retries: BTreeMap::new(),
            whole: HashSet::new(),
            collected: None,
            tidied: false,
        }
    }

    /// Whether a program runs whose end is still to come.
    pub fn is_running(&self) -> bool {
        self.open.is_some()
    }

    /// Settles an open run, or else takes the next step of the first advertisement.
    pub async fn act(&mut self) -> Result<Next, ExecuteError> {
        if !self.tidied {
            self.tidy()?;
        }
        match self.settle_open()? {
            Some(watch @ Next::After(_)) => {
                self.tell_news().await?;
                self.stop_killed()?;
                return Ok(watch);
            }
            Some(next) => return Ok(next),
            None => {}
        }
        self.refresh().await?;
        match self.held.clone() {
            Some(held) => self.act_on(&held).await,
            None => Ok(Next::Idle),
        }
    }

    async fn act_on(&mut self, held: &Held) -> Result<Next, ExecuteError> {
        let decided = self.decide(held)?;
        let steps = || decided.iter().map(|one| (&one.offer.advertisement, &one.step));
        let chosen = first(steps());
        self.tell(held, &decided, chosen)?;
        let Some(chosen) = chosen else {
            self.collect(held).await?;
            let now = self.shared.clock.now();
            return Ok(wake_at(steps(), now).map_or(Next::Idle, |at| Next::After(at.since(now))));
        };
        let chosen = chosen.id.clone();
        match decided.iter().find(|one| one.offer.advertisement.id == chosen) {
            Some(Decided { offer, step: Step::Download, .. }) => self.download(offer).await?,
            Some(Decided { offer, record, step: Step::Run }) => {
                self.start(offer, record.as_ref()).await?;
            }
            _ => {}
        }
        Ok(Next::Again)
    }

    /// While a program runs, the site is still told what becomes of a new instruction.
    async fn tell_news(&mut self) -> Result<(), ExecuteError> {
        let before = self.held.as_ref().map(|held| held.digest);
        self.refresh().await?;
        match self.held.clone() {
            Some(held) if Some(held.digest) != before => {
                let decided = self.decide(&held)?;
                self.tell(&held, &decided, None)
            }
            _ => Ok(()),
        }
    }

    /// Reads the instruction from the disk if it is another than the one at hand.
    async fn refresh(&mut self) -> Result<(), ExecuteError> {
        let current = self.shared.ledger.seen()?.instruction;
        if current.is_none() || self.held.as_ref().map(|held| held.digest) != current {
            self.reread().await?;
        }
        Ok(())
    }

    /// Reads and verifies the instruction once more.
    async fn reread(&mut self) -> Result<(), ExecuteError> {
        let shared = self.shared.clone();
        self.held = off_thread(move || shared.believed()).await?.map(Arc::new);
        Ok(())
    }

    fn decide(&mut self, held: &Held) -> Result<Vec<Decided>, ExecuteError> {
        let chosen: HashSet<AdvertisementId> = self.shared.home.chosen()?.into_iter().collect();
        // What the ledger has seen, whatever this instruction names.
        let kills = self.shared.ledger.seen()?.kills;
        let zone = self.shared.zone();
        let local = |at| moment(&zone, at);
        let at = Circumstances {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            now: self.shared.clock.now(),
            fresh_until: held.instruction.not_after,
            windows: &held.instruction.windows,
            clock: LocalClock(&local),
        };
        let mut decided = Vec::with_capacity(held.offers.len());
        for offer in &held.offers {
            let id = &offer.advertisement.id;
            let record = match &offer.package {
                Ok(package) => {
                    let occurrence = offer.advertisement.occurrence(package.version.source_version);
                    self.shared.ledger.run(id, occurrence)?
                }
                Err(_) => None,
            };
            let version = offer.package.as_ref().map(|package| &package.version).map_err(String::as_str);
            let killed = version.ok().and_then(|version| kills.killed(&version.package, version.release));
            let view = OfferView {
                advertisement: &offer.advertisement,
                package: version,
                killed: killed.as_ref(),
                content_held: self.holds_content(offer)?,
                chosen: chosen.contains(id),
                past: record.as_ref().map_or(Past::Due, RunRecord::past),
                retry_at: self.retries.get(id).map(|retry| retry.not_before),
            };
            let step = next(&view, &at);
            decided.push(Decided { offer: offer.clone(), record, step });
        }
        Ok(decided)
    }

    fn holds_content(&mut self, offer: &Offer) -> Result<bool, ExecuteError> {
        let Some(manifest) = offer.package.as_ref().ok().and_then(|package| package.version.manifest) else {
            return Ok(true);
        };
        if !self.whole.contains(&manifest) {
            let library = &self.shared.library;
            // A damaged manifest counts as none: fetching it puts it again.
            let found = library.manifest(&manifest).unwrap_or_else(|error| {
                tracing::warn!(error = error_chain(&error), "a manifest is fetched anew");
                None
            });
            if !found.is_some_and(|found| library.missing(&found).is_empty()) {
                return Ok(false);
            }
            self.whole.insert(manifest);
        }
        Ok(true)
    }

    /// Writes down what the decisions say by themselves; what is `chosen` speaks for itself.
    fn tell(
        &self,
        held: &Held,
        decided: &[Decided],
        chosen: Option<&Advertisement>,
    ) -> Result<(), ExecuteError> {
        for (id, reason) in &held.refused {
            let change = StatusChange {
                acceptance: Acceptance::Rejected,
                reason: reason.clone(),
                ..self.change(id, None, 0, "")
            };
            self.record(None, &change)?;
        }
        let zone = self.shared.zone();
        for Decided { offer, step, .. } in decided {
            let advertisement = &offer.advertisement;
            let is_chosen = chosen.is_some_and(|chosen| chosen.id == advertisement.id);
            let Some((acceptance, reason)) = meaning(step, &zone).filter(|_| !is_chosen) else { continue };
            let delivery = (acceptance == Acceptance::Accepted).then_some(Delivery::Waiting);
            let change = self.change(&advertisement.id, delivery, source_version(offer), &offer.traceparent);
            self.record(None, &StatusChange { acceptance, reason, closed: closed(step), ..change })?;
        }
        Ok(())
    }

    fn change(
        &self,
        advertisement: &AdvertisementId,
        delivery: Option<Delivery>,
        source_version: u64,
        traceparent: &str,
    ) -> StatusChange {
        StatusChange {
            advertisement: advertisement.clone(),
            acceptance: Acceptance::Accepted,
            delivery,
            exit_code: None,
            output_tail: String::new(),
            reason: String::new(),
            source_version,
            closed: None,
            at: self.shared.clock.now(),
            traceparent: traceparent.to_owned(),
        }
    }

    fn record(&self, run: Option<&RunRecord>, change: &StatusChange) -> Result<(), ExecuteError> {
        self.shared.ledger.record(run, Some(change))?;
        self.reporter.wake();
        Ok(())
    }

    /// Removes content that the present instruction does not name, once for each instruction.
    async fn collect(&mut self, held: &Held) -> Result<(), ExecuteError> {
        if self.collected == Some(held.digest) {
            return Ok(());
        }
        let manifests = held.offers.iter().filter_map(|offer| offer.package.as_ref().ok()?.version.manifest);
        let live: Vec<Digest> = manifests.collect();
        self.whole.retain(|manifest| live.contains(manifest));
        let library = self.shared.library.clone();
        match off_thread(move || library.collect(&live)).await {
            Ok(_) => self.collected = Some(held.digest),
            // What is surplus is removed the next time.
            Err(LibraryError::Busy) => {}
            Err(source) => return Err(ExecuteError::Library { source }),
        }
        Ok(())
    }
}

/// What the site is told of a step that is not taken now; `None`: nothing that it was not told before.
fn meaning(step: &Step, zone: &TimeZone) -> Option<(Acceptance, String)> {
    let waits = |why: &str| Some((Acceptance::Accepted, why.to_owned()));
    match step {
        Step::Reject(rejection) => Some((Acceptance::Rejected, rejection.to_string())),
        Step::Expire => Some((Acceptance::Expired, String::new())),
        Step::Wait(Wait::Until(_)) => waits("it starts at its time"),
        Step::Wait(Wait::Choice) => waits("it waits for the user"),
        Step::Wait(Wait::FreshInstruction) => {
            waits("the instruction is too old: no newer one was had from a client access point")
        }
        Step::Wait(Wait::Window { closed: Closed::Until(opens), room }) => {
            let (opens, room) = (zoned(zone, *opens).strftime("%Y-%m-%d %H:%M%:z"), length(*room));
            waits(&format!(
                "it waits for a maintenance window: the next with room for the {room} that it may take opens {opens}"
            ))
        }
        Step::Wait(Wait::Window { closed: Closed::NoRoom, room }) => {
            waits(&format!("no maintenance window is as long as the {} that it may take", length(*room)))
        }
        Step::Download | Step::Run => waits("it waits for its turn"),
        Step::Wait(Wait::Retry(_)) | Step::Nothing => None,
    }
}

/// The window that a step waits for.
fn closed(step: &Step) -> Option<Closed> {
    match step {
        Step::Wait(Wait::Window { closed, .. }) => Some(*closed),
        _ => None,
    }
}

fn source_version(offer: &Offer) -> u64 {
    offer.package.as_ref().map_or(0, |package| package.version.source_version)
}

/// The span of one step of an advertisement, within the trace of the change that made it.
fn span(name: &'static str, advertisement: &Advertisement, traceparent: &str) -> tracing::Span {
    let span = tracing::info_span!(
        target: "executor",
        "advertisement",
        step = name,
        advertisement = advertisement.id.as_str(),
        package = advertisement.package.as_str(),
        program = advertisement.program.as_str(),
    );
    packhorse_runtime::telemetry::set_parent(&span, traceparent);
    span
}

/// The trace context to report under: the step's own, or where it came from if this process traces nothing.
fn traceparent(span: &tracing::Span, origin: &str) -> String {
    let own = packhorse_runtime::telemetry::traceparent(span);
    if own.is_empty() { origin.to_owned() } else { own }
}

impl Worker for Executor {
    const NAME: &'static str = "executor";
    /// Also how long a choice of the user goes unnoticed.
    const PERIOD: Duration = Duration::from_secs(2);
    type Error = ExecuteError;

    async fn step(&mut self) -> Result<Next, ExecuteError> {
        self.act().await
    }
}

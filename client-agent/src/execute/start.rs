//! Starts a program: verified once more, content laid out, written in the ledger, and then handed to a supervisor.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use packhorse_content::{LibraryError, TreeError, check, lay_out};
use packhorse_domain::{Digest, advertisement::Delivery, package::Program, run::Step};
use packhorse_runtime::error_chain;

use super::{Decided, ExecuteError, Executor, source_version, span, traceparent};
use crate::{
    blocking::off_thread,
    ledger::{RunRecord, RunState},
    runner::{Order, Spool},
    shared::Shared,
    verify::{Offer, OfferedPackage},
};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What came of laying out content.
enum Laid {
    Whole,
    /// The library's copy is damaged: what is lost is fetched again.
    Damaged,
}

impl Executor {
    /// Starts the offered program, if all that stands for it still does.
    pub(super) async fn start(
        &mut self,
        offer: &Offer,
        before: Option<&RunRecord>,
    ) -> Result<(), ExecuteError> {
        if !self.still_to_run(offer).await? {
            return Ok(());
        }
        let Ok(package) = &offer.package else { return Ok(()) };
        let Some(program) = package.version.program(&offer.advertisement.program) else { return Ok(()) };

        let span = span("run", &offer.advertisement, &offer.traceparent);
        let mut record = self.intent(offer, package, program, before);
        record.traceparent = traceparent(&span, &offer.traceparent);
        let tree = self.shared.home.work().join(record.tree_name());
        let (shared, manifest, into) = (self.shared.clone(), package.version.manifest, tree.clone());
        match off_thread(move || prepare_tree(&shared, manifest, &into)).await {
            Ok(Laid::Whole) => {}
            Ok(Laid::Damaged) => {
                self.whole.clear();
                return self.retry(offer, "the content was damaged on the disk".into(), &record.traceparent);
            }
            Err(error) => {
                self.retry(offer, error_chain(&error), &record.traceparent)?;
                return Err(error);
            }
        }

        let order = self.order(&record, program, tree)?;
        let directory = self.shared.home.runs().join(record.spool_name());
        // The ledger has no run of this number yet, so that no supervisor was ever started on what may lie there.
        Spool::at(&directory).remove()?;
        let spool = Spool::create(&directory, &order)?;
        let running = self.change(
            &record.advertisement,
            Some(Delivery::Running),
            record.source_version,
            &record.traceparent,
        );
        self.record(Some(&record), &running)?;
        self.open = Some(record.clone());
        self.launched = Some(spool.launch(&self.shared.runner)?);
        span.in_scope(|| tracing::info!(attempt = record.attempts, "started"));
        Ok(())
    }

    /// Reads everything from the disk again, verifies it, and decides again.
    async fn still_to_run(&mut self, offer: &Offer) -> Result<bool, ExecuteError> {
        self.reread().await?;
        let Some(held) = self.held.clone() else { return Ok(false) };
        let decided = self.decide(&held)?;
        Ok(decided.iter().any(|Decided { offer: now, step, .. }| now == offer && *step == Step::Run))
    }

    fn intent(
        &self,
        offer: &Offer,
        package: &OfferedPackage,
        program: &Program,
        before: Option<&RunRecord>,
    ) -> RunRecord {
        RunRecord {
            advertisement: offer.advertisement.id.clone(),
            occurrence: offer.advertisement.occurrence(package.version.source_version),
            package: package.version.package.clone(),
            program: program.name.clone(),
            source_version: source_version(offer),
            release: package.version.release,
            state: RunState::Open,
            attempts: before.map_or(0, |before| before.attempts).saturating_add(1),
            idempotent: program.idempotent,
            success_codes: program.success_codes.clone(),
            begun_at: self.shared.clock.now(),
            ended_at: None,
            exit_code: None,
            reason: String::new(),
            traceparent: offer.traceparent.clone(),
        }
    }

    fn order(&self, record: &RunRecord, program: &Program, tree: PathBuf) -> Result<Order, ExecuteError> {
        let reports = self.shared.home.reports().join(record.tree_name());
        make_directory(&reports)?;
        let own = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
        let environment = BTreeMap::from([
            ("PATH".to_owned(), own("PATH", PATH)),
            ("HOME".to_owned(), own("HOME", "/")),
            ("LANG".to_owned(), own("LANG", "C.UTF-8")),
            ("TMPDIR".to_owned(), own("TMPDIR", "/tmp")),
            ("PACKHORSE_ADVERTISEMENT".to_owned(), record.advertisement.to_string()),
            ("PACKHORSE_PACKAGE".to_owned(), record.package.to_string()),
            ("PACKHORSE_PROGRAM".to_owned(), record.program.to_string()),
            ("PACKHORSE_SOURCE_VERSION".to_owned(), record.source_version.to_string()),
            ("PACKHORSE_REPORT_DIR".to_owned(), reports.to_string_lossy().into_owned()),
        ]);
        Ok(Order {
            command: program.command.clone(),
            shell: program.shell,
            time_limit_s: program.time_limit.as_secs(),
            directory: tree,
            environment,
        })
    }
}

/// Lays the content out in a fresh directory and checks it; without content the directory is empty.
fn prepare_tree(shared: &Arc<Shared>, manifest: Option<Digest>, into: &Path) -> Result<Laid, ExecuteError> {
    remove_tree(into)?;
    let Some(digest) = manifest else {
        make_directory(into)?;
        return Ok(Laid::Whole);
    };
    let library = &shared.library;
    let Some(found) = library.manifest(&digest).map_err(|source| ExecuteError::Library { source })? else {
        return Ok(Laid::Damaged);
    };
    let laid = lay_out(library, &found, into).and_then(|()| match check(&found, into)?.into_iter().next() {
        Some(path) => Err(TreeError::Content { path }),
        None => Ok(Laid::Whole),
    });
    match laid {
        Ok(laid) => Ok(laid),
        Err(error @ (TreeError::Content { .. } | TreeError::Library(_)))
            if forget_damage(shared, &digest)? =>
        {
            tracing::warn!(error = error_chain(&error), %digest, "the content in the library is damaged");
            Ok(Laid::Damaged)
        }
        Err(source) => Err(ExecuteError::LayOut { path: into.to_owned(), source }),
    }
}

/// Lets what cannot be read count as missing, and says whether there is anything of the kind.
fn forget_damage(shared: &Shared, manifest: &Digest) -> Result<bool, ExecuteError> {
    let failed = |source: LibraryError| ExecuteError::Library { source };
    let damaged = shared.library.verify(manifest).map_err(failed)?;
    let chunks: Vec<Digest> = damaged.iter().map(|chunk| chunk.digest).collect();
    shared.library.forget_damaged(&chunks).map_err(failed)?;
    Ok(!chunks.is_empty())
}

pub(super) fn remove_tree(path: &Path) -> Result<(), ExecuteError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ExecuteError::Io { operation: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), ExecuteError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| ExecuteError::Io {
        operation: "make",
        path: path.to_owned(),
        source,
    })
}

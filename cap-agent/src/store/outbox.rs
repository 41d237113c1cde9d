//! The outbox: what clients reported, kept until the site has answered for it.
//!
//! Reports are states with a generation. A newer one takes the place of an older one of the same subject that still
//! waits, so that a site that is away for months costs one row per client and advertisement, not one per poll.

use packhorse_domain::Timestamp;
use packhorse_proto::cap::v1::{ClientReport, client_report::Body};
use prost::Message as _;
use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use super::{Store, StoreError, begin};

/// Reports by the order of their coming.
const REPORTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("reports");
/// Which report waits for a subject.
const SUBJECTS: TableDefinition<'_, &str, u64> = TableDefinition::new("subjects");
/// When each of them came, in microseconds.
const TIMES: TableDefinition<'_, u64, i64> = TableDefinition::new("report-times");
/// `next`: the sequence of the next report. It never goes back, so that an answer for one report can never remove
/// another.
const SEQUENCES: TableDefinition<'_, &str, u64> = TableDefinition::new("sequences");
const NEXT: &str = "next";

/// 100,000 clients with ten advertisements each.
const REPORTS_MAX: u64 = 1_000_000;

/// A report's place in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(u64);

#[derive(Debug)]
pub(crate) struct WaitingReport {
    pub(crate) sequence: Sequence,
    pub(crate) report: ClientReport,
}

pub(super) fn create_tables(write: &redb::WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(REPORTS)?;
    write.open_table(SUBJECTS)?;
    write.open_table(SEQUENCES)?;
    write.open_table(TIMES)?;
    Ok(())
}

impl Store {
    /// Stores reports durably, all or none.
    pub(crate) fn push_reports(&self, reports: &[ClientReport], now: Timestamp) -> Result<(), StoreError> {
        let waiting = self.reports_waiting()?;
        if waiting.saturating_add(reports.len() as u64) > REPORTS_MAX {
            return Err(StoreError::OutboxFull(waiting));
        }
        self.with("store reports", |database| {
            let write = begin(database)?;
            {
                let mut outbox = Outbox {
                    reports: write.open_table(REPORTS)?,
                    subjects: write.open_table(SUBJECTS)?,
                    sequences: write.open_table(SEQUENCES)?,
                    times: write.open_table(TIMES)?,
                };
                for report in reports {
                    outbox.push(report, now)?;
                }
            }
            Ok(write.commit()?)
        })
    }

    /// The reports that wait longest: at most `count_max`, and no more than `bytes_max` unless it is only one.
    pub(crate) fn first_reports(
        &self,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<WaitingReport>, StoreError> {
        let rows = self.with("read reports", |database| {
            let reports = database.begin_read()?.open_table(REPORTS)?;
            let mut rows = Vec::new();
            let mut bytes = 0;
            for row in reports.iter()?.take(count_max) {
                let (sequence, report) = row?;
                bytes += report.value().len();
                if bytes > bytes_max && !rows.is_empty() {
                    break;
                }
                rows.push((sequence.value(), report.value().to_vec()));
            }
            Ok(rows)
        })?;
        rows.into_iter()
            .map(|(sequence, row)| match ClientReport::decode(row.as_slice()) {
                Ok(report) => Ok(WaitingReport { sequence: Sequence(sequence), report }),
                Err(source) => {
                    Err(StoreError::Inconsistent { table: "reports", key: sequence.to_string(), source })
                }
            })
            .collect()
    }

    /// Forgets reports that the site has answered for. What took their place meanwhile stays.
    pub(crate) fn remove_reports(&self, sent: &[WaitingReport]) -> Result<(), StoreError> {
        self.with("remove sent reports", |database| {
            let write = begin(database)?;
            {
                let mut reports = write.open_table(REPORTS)?;
                let mut subjects = write.open_table(SUBJECTS)?;
                let mut times = write.open_table(TIMES)?;
                for WaitingReport { sequence, report } in sent {
                    reports.remove(sequence.0)?;
                    times.remove(sequence.0)?;
                    let subject = subject_of(report);
                    let is_this =
                        subjects.get(subject.as_str())?.is_some_and(|held| held.value() == sequence.0);
                    if is_this {
                        subjects.remove(subject.as_str())?;
                    }
                }
            }
            Ok(write.commit()?)
        })
    }

    pub(crate) fn reports_waiting(&self) -> Result<u64, StoreError> {
        self.with("count reports", |database| Ok(database.begin_read()?.open_table(REPORTS)?.len()?))
    }

    /// When the report came that waits longest; `None`: none waits, or it came before this was noted.
    pub(crate) fn oldest_report(&self) -> Result<Option<Timestamp>, StoreError> {
        self.with("look for the oldest report", |database| {
            let times = database.begin_read()?.open_table(TIMES)?;
            Ok(times.first()?.map(|(_, at)| Timestamp(at.value())))
        })
    }
}

struct Outbox<'a> {
    reports: redb::Table<'a, u64, &'static [u8]>,
    subjects: redb::Table<'a, &'static str, u64>,
    sequences: redb::Table<'a, &'static str, u64>,
    times: redb::Table<'a, u64, i64>,
}

impl Outbox<'_> {
    fn push(&mut self, report: &ClientReport, now: Timestamp) -> Result<(), redb::Error> {
        let subject = subject_of(report);
        let held = self.subjects.get(subject.as_str())?.map(|held| held.value());
        if let Some(held) = held {
            let newer = self
                .reports
                .get(held)?
                .and_then(|row| ClientReport::decode(row.value()).ok())
                .is_some_and(|waiting| generation_of(&waiting) > generation_of(report));
            if newer {
                return Ok(());
            }
            self.reports.remove(held)?;
            self.times.remove(held)?;
        }
        let sequence = self.sequences.get(NEXT)?.map_or(0, |next| next.value());
        self.sequences.insert(NEXT, sequence + 1)?;
        self.reports.insert(sequence, report.encode_to_vec().as_slice())?;
        self.subjects.insert(subject.as_str(), sequence)?;
        self.times.insert(sequence, now.0)?;
        Ok(())
    }
}

/// What a report is about: of two with one subject the site needs the newer alone.
fn subject_of(report: &ClientReport) -> String {
    match &report.body {
        Some(Body::Advertisement(status)) => {
            format!("advertisement/{}/{}", status.advertisement, report.client)
        }
        Some(Body::Facts(_)) => format!("facts/{}", report.client),
        None => format!("nothing/{}", report.client),
    }
}

fn generation_of(report: &ClientReport) -> u64 {
    match &report.body {
        Some(Body::Advertisement(status)) => status.generation,
        Some(Body::Facts(_)) | None => 0,
    }
}

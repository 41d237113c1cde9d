//! The figures of a process, for whoever watches it: shown as Prometheus text where a monitor asks, and sent over OTLP
//! where an endpoint is given.
//!
//! Nothing is counted for this on the way of the work: a [`Source`] reads what is there anyway when somebody asks. Both
//! ways out are written from the same [`Sheet`], so that they say the same.

mod http;
pub mod machine;
mod otlp;
mod process;
mod text;
mod workers;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio::{net::TcpListener, sync::Mutex};

use crate::{lifecycle::Lifecycle, telemetry::TelemetryConfig};

pub use otlp::PushError;
pub use workers::FIGURES as WORKER_FIGURES;

/// Two who ask at nearly the same time get the same sheet.
const FRESH: Duration = Duration::from_secs(1);
/// A source that takes longer is left out, so that the others' figures are seen while it hangs.
const COLLECT_LONGEST: Duration = Duration::from_secs(8);
/// Longer values of labels are cut. They are names of sites, points and components, which are shorter.
const LABEL_LENGTH_MAX: usize = 128;
/// Rows of one figure; further ones are left out. More than this many neighbours or points no site has.
const ROWS_MAX: usize = 4_096;

/// One figure that a process shows, whatever its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Figure {
    /// By the conventions of Prometheus: base units, `_total` for what only grows.
    pub name: &'static str,
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it is, in a sentence without its full stop.
    pub help: &'static str,
}

/// Names figures, a line each, and a list of all of them: `ALL: CONSTANT, NAME, KIND, [LABELS], HELP;`
#[macro_export]
macro_rules! figures {
    ($vis:vis $all:ident:
     $($constant:ident, $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $($vis const $constant: $crate::metrics::Figure = $crate::metrics::Figure {
            name: $name,
            kind: $crate::metrics::Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        $vis const $all: &[&$crate::metrics::Figure] = &[$(&$constant),*];
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows while the process lives.
    Counter,
}

/// Figures with their values at one moment.
#[derive(Debug, Default, Clone)]
pub struct Sheet {
    figures: BTreeMap<&'static str, Column>,
}

#[derive(Debug, Clone)]
struct Column {
    figure: &'static Figure,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// In the order of the figure's labels.
    labels: Vec<String>,
    value: f64,
}

/// Reads the figures of a process when somebody asks for them.
pub trait Source: Send + Sync + 'static {
    /// What could not be read is left out; it never fails as a whole.
    fn collect(&self) -> BoxFuture<'_, Sheet>;
}

/// All figures of a process. Clones are the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    source: Box<dyn Source>,
    lifecycle: Lifecycle,
    /// Of every row of every figure.
    common: Vec<(&'static str, String)>,
    version: &'static str,
    /// What was collected last. Held while collecting, so that this is done once however many ask.
    last: Mutex<Option<(Instant, Arc<Sheet>)>>,
}

/// Why a process cannot show its figures.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("cannot listen for metrics on {address}: correct `telemetry.metrics_listen`")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Push(#[from] PushError),
}

const BUILD: Figure = Figure {
    name: "packhorse_build_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "Always 1; the label says what runs",
};
const COLLECT: Figure = Figure {
    name: "packhorse_metrics_collect_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "How long it took to read these figures",
};
const COMPLETE: Figure = Figure {
    name: "packhorse_metrics_complete",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 if all figures could be read, 0 if some are missing, since the disk or the database does not answer",
};

impl Sheet {
    pub fn new() -> Self {
        Self::default()
    }

    /// Names figures that may have no row now, so that a monitor knows of them.
    pub fn declare(&mut self, figures: &[&'static Figure]) {
        for figure in figures {
            self.column(figure);
        }
    }

    /// One value; as many labels as the figure has.
    pub fn put(&mut self, figure: &'static Figure, labels: &[&str], value: f64) {
        debug_assert_eq!(figure.labels.len(), labels.len(), "{}", figure.name);
        let column = self.column(figure);
        if column.rows.len() < ROWS_MAX {
            let labels = labels.iter().map(|label| packhorse_domain::status::cut(label, LABEL_LENGTH_MAX));
            column.rows.push(Row { labels: labels.map(str::to_owned).collect(), value });
        }
    }

    /// As [`Sheet::put`], for what is counted.
    pub fn count(&mut self, figure: &'static Figure, labels: &[&str], value: u64) {
        // Above 2^53 the last digits are lost, as in everything that reads these figures.
        self.put(figure, labels, value as f64);
    }

    /// Adds the rows of another sheet.
    pub fn add(&mut self, other: Sheet) {
        for column in other.figures.into_values() {
            self.column(column.figure).rows.extend(column.rows);
        }
    }

    fn column(&mut self, figure: &'static Figure) -> &mut Column {
        self.figures.entry(figure.name).or_insert_with(|| Column { figure, rows: Vec::new() })
    }
}

impl Metrics {
    /// `common` are labels that every figure has, as the site's code.
    pub fn new(
        source: impl Source,
        lifecycle: &Lifecycle,
        common: Vec<(&'static str, String)>,
        version: &'static str,
    ) -> Self {
        let (source, lifecycle) = (Box::new(source), lifecycle.clone());
        Metrics(Arc::new(Inner { source, lifecycle, common, version, last: Mutex::new(None) }))
    }

    /// Shows and sends the figures as the settings want it, as long as the lifecycle goes on; nothing if they do not
    /// want it at all. Answers with the address where they are shown.
    pub async fn start(&self, config: &TelemetryConfig) -> Result<Option<SocketAddr>, MetricsError> {
        let lifecycle = &self.0.lifecycle;
        if let Some(endpoint) = &config.otlp_endpoint {
            let push = otlp::Push::new(self.clone(), endpoint, config)?;
            lifecycle.spawn("metrics-export", push.run(lifecycle.stopping()));
        }
        let Some(address) = config.metrics_listen else { return Ok(None) };
        let failed = |source| MetricsError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        lifecycle.spawn("metrics-server", http::serve(listener, self.clone(), lifecycle.stopping()));
        tracing::info!(address = %bound, "metrics are shown");
        Ok(Some(bound))
    }

    /// As Prometheus reads it.
    pub async fn text(&self) -> String {
        text::encode(&*self.sheet().await, &self.0.common)
    }

    async fn sheet(&self) -> Arc<Sheet> {
        let mut last = self.0.last.lock().await;
        match &*last {
            Some((at, sheet)) if at.elapsed() < FRESH => sheet.clone(),
            _ => {
                let sheet = Arc::new(self.collect().await);
                last.insert((Instant::now(), sheet)).1.clone()
            }
        }
    }

    async fn collect(&self) -> Sheet {
        let began = Instant::now();
        let collected = tokio::time::timeout(COLLECT_LONGEST, self.0.source.collect()).await;
        let is_late = collected.is_err();
        let mut sheet = collected.unwrap_or_default();
        workers::collect(&self.0.lifecycle, &mut sheet);
        process::collect(&mut sheet);
        sheet.put(&BUILD, &[self.0.version], 1.0);
        sheet.put(&COLLECT, &[], began.elapsed().as_secs_f64());
        if is_late {
            sheet.incomplete();
        } else if !sheet.figures.contains_key(COMPLETE.name) {
            sheet.put(&COMPLETE, &[], 1.0);
        }
        sheet
    }
}

impl Sheet {
    /// Says that some figures could not be read.
    pub fn incomplete(&mut self) {
        self.column(&COMPLETE).rows = vec![Row { labels: Vec::new(), value: 0.0 }];
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("common", &self.0.common).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

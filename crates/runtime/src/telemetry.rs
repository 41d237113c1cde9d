//! Logs and traces of a process, and the trace context that travels inside what it sends.
//!
//! Logs go to standard error as text or JSON, or with their fields to the journal where systemd has connected standard
//! error to it. Spans are always made, so that a trace goes on through a process that exports nothing itself; they are
//! exported over OTLP where an endpoint is given.

mod journal;
mod levels;
mod lines;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, propagation::TextMapPropagator as _, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Metadata;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    reload,
};

pub use levels::{ALL, CHANGE_LASTS, CHANGE_LASTS_MAX, ComponentLevel, LogLevels};

use crate::{Lifecycle, config::Problems};
use journal::Journal;
use lines::Lines;

/// How often metrics are exported, if nothing else is said.
pub const METRICS_EVERY: Duration = Duration::from_secs(60);

/// The target of spans that only put a component's name on log lines and are no part of a trace.
pub(crate) const COMPONENT: &str = "packhorse::component";

static EXPORTS: AtomicBool = AtomicBool::new(false);

const TRACEPARENT: &str = "traceparent";
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Their spans say nothing about packages, and exporting the exporter's own would never end.
const NOT_TRACED: [&str; 7] = [COMPONENT, "opentelemetry", "h2", "hyper", "tonic", "tower", "rustls"];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    pub format: LogFormat,
    /// As `info` or `info,packhorse_site_server=debug`.
    pub filter: String,
    /// Where traces and metrics go, as `http://127.0.0.1:4317`.
    pub otlp_endpoint: Option<String>,
    /// Where metrics are shown to whoever asks, as `127.0.0.1:9464`.
    pub metrics_listen: Option<SocketAddr>,
    /// How often metrics are exported.
    pub metrics_every: Duration,
    /// The program, as `packhorse-site-server`.
    pub service: String,
    /// Which one of its kind, as a site's code.
    pub instance: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`{filter}` is not a log filter")]
    Filter {
        filter: String,
        #[source]
        source: Box<tracing_subscriber::filter::ParseError>,
    },
    #[error("cannot export traces to `{endpoint}`")]
    Exporter {
        endpoint: String,
        #[source]
        source: Box<opentelemetry_otlp::ExporterBuildError>,
    },
    #[error("logging is set up already in this process")]
    AlreadySet,
}

/// Sends what is left of the traces when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the export of traces"]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
}

/// Sets up logs and traces for the whole process. With an OTLP endpoint it must be called within the tokio runtime,
/// which must have a thread free to send while the guard is being dropped.
pub fn init(config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let filter = levels::filter(&config.filter).map_err(|source| TelemetryError::Filter {
        filter: config.filter.clone(),
        source: Box::new(source),
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(Lines(config.format));
    let lines = match (Journal::of_process(&config.service), config.format) {
        (Some(journal), _) => journal.boxed(),
        (None, LogFormat::Text) => lines.with_ansi(false).boxed(),
        (None, LogFormat::Json) => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.and_then(crate::recent::layer());
    let provider = provider(config)?;
    let subscriber = Registry::default().with(lines.with_filter(filter)).with(traces(&provider));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    // It fails where the subscriber is gone, and so is what it would log.
    EXPORTS.store(config.otlp_endpoint.is_some(), Ordering::Relaxed);
    LogLevels::new(&config.filter, Some(Box::new(move |filter| drop(handle.reload(filter))))).install();
    Ok(TelemetryGuard { provider })
}

/// Checks `telemetry.metrics_listen` and `telemetry.metrics_every_s`.
pub fn check_metrics(
    problems: &mut Problems,
    listen: Option<&str>,
    every_s: u32,
) -> (Option<SocketAddr>, Duration) {
    let listen = listen.and_then(|listen| {
        let address = listen.parse().ok();
        let expected = "ADDRESS:PORT is expected, as 127.0.0.1:9464";
        problems.require("telemetry.metrics_listen", address.is_some(), expected);
        address
    });
    let expected = "1 second to an hour is expected";
    problems.require("telemetry.metrics_every_s", (1..=3600).contains(&every_s), expected);
    (listen, Duration::from_secs(every_s.into()))
}

/// Ends changes of what is logged when their time is over, and heeds SIGUSR1.
pub fn look_after_levels(lifecycle: &Lifecycle) {
    let levels = LogLevels::of_process();
    lifecycle.spawn("log-levels", levels.look_after(lifecycle.clock(), lifecycle.stopping()));
}

/// The W3C trace context of where the program is now, to travel with what is sent; empty outside any span.
pub fn current_traceparent() -> String {
    traceparent_of(&opentelemetry::Context::current())
}

/// As [`current_traceparent`], for a span that need not be entered.
pub fn traceparent(span: &tracing::Span) -> String {
    traceparent_of(&span.context())
}

/// Makes a span that was not entered yet a child of where something came from. What is no trace context changes
/// nothing: it only came along with something that matters.
pub fn set_parent(span: &tracing::Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context =
        TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier);
    if opentelemetry::trace::TraceContextExt::has_active_span(&context) {
        // It fails where traces are off or the span is filtered out: then there is nothing to be a child of.
        let _ = span.set_parent(context);
    }
}

/// Whether anybody gets to see this process's spans. Those that others are children of are made all the same.
pub fn exports_traces() -> bool {
    EXPORTS.load(Ordering::Relaxed)
}

/// A span of the trace that something came with, or none if it came without: what is done for many begins no trace of
/// its own.
pub fn within(traceparent: &str, span: impl FnOnce() -> tracing::Span) -> tracing::Span {
    if traceparent.is_empty() {
        return tracing::Span::none();
    }
    let span = span();
    set_parent(&span, traceparent);
    span
}

/// Puts the trace context on a call, for [`rpc_span`] at the other end.
pub fn inject<T>(mut request: tonic::Request<T>) -> tonic::Request<T> {
    let traceparent = current_traceparent();
    if !traceparent.is_empty()
        && let Ok(value) = traceparent.parse()
    {
        request.metadata_mut().insert(TRACEPARENT, value);
    }
    request
}

/// The span of an incoming call, a child of the caller's.
pub(crate) fn rpc_span(request: &http::Request<()>) -> tracing::Span {
    let span = tracing::info_span!(target: "rpc", "rpc", path = request.uri().path());
    if let Some(parent) = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()) {
        set_parent(&span, parent);
    }
    span
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // Traces are worth less than an orderly exit: an unreachable collector must not turn it into a failure.
        let _ = self.provider.shutdown_with_timeout(EXPORT_TIMEOUT);
    }
}

fn traceparent_of(context: &opentelemetry::Context) -> String {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

fn provider(config: &TelemetryConfig) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder()
        .with_service_name(config.service.clone())
        .with_attribute(KeyValue::new("service.instance.id", config.instance.clone()))
        .build();
    let mut builder = SdkTracerProvider::builder().with_resource(resource);
    if let Some(endpoint) = &config.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|source| TelemetryError::Exporter {
                endpoint: endpoint.clone(),
                source: Box::new(source),
            })?;
        builder = builder.with_batch_exporter(exporter);
    }
    Ok(builder.build())
}

fn traces<S>(provider: &SdkTracerProvider) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer("packhorse")).with_filter(filter_fn(is_traced))
}

fn is_traced(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= LevelFilter::INFO
        && !NOT_TRACED.iter().any(|prefix| metadata.target().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced<T>(body: impl FnOnce() -> T) -> T {
        let provider = SdkTracerProvider::builder().build();
        tracing::subscriber::with_default(Registry::default().with(traces(&provider)), body)
    }

    #[test]
    fn a_trace_goes_on_through_a_process_that_exports_nothing() {
        let child = traced(|| {
            let span = tracing::info_span!("receive");
            set_parent(&span, PARENT);
            span.in_scope(|| tracing::info_span!("apply").in_scope(current_traceparent))
        });

        assert_eq!(child[..36], PARENT[..36], "the same trace");
        assert_ne!(child[36..52], PARENT[36..52], "another span");
    }

    #[test]
    fn a_components_own_span_is_no_part_of_a_trace() {
        let (outside, within) = traced(|| {
            let component = tracing::info_span!(target: COMPONENT, "step", component = "sender");
            component.in_scope(|| {
                let span = tracing::info_span!("send");
                set_parent(&span, PARENT);
                (current_traceparent(), span.in_scope(current_traceparent))
            })
        });

        assert_eq!(outside, "");
        assert_eq!(within[..36], PARENT[..36]);
    }

    #[test]
    fn what_is_no_trace_context_changes_nothing() {
        for nonsense in ["", "00-zz", "00-00000000000000000000000000000000-0000000000000000-01", "\u{0}"] {
            let own = traced(|| {
                let span = tracing::info_span!("receive");
                set_parent(&span, nonsense);
                span.in_scope(current_traceparent)
            });
            assert_eq!(own.len(), PARENT.len(), "{nonsense:?}");
        }
    }

    /// Takes exported traces and tells that they came.
    #[derive(Clone)]
    struct Collector(tokio::sync::mpsc::Sender<String>);

    impl tonic::server::NamedService for Collector {
        const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
    }

    impl tower::Service<http::Request<tonic::body::Body>> for Collector {
        type Response = http::Response<tonic::body::Body>;
        type Error = std::convert::Infallible;
        type Future =
            std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, std::convert::Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
            let seen = self.0.clone();
            Box::pin(async move {
                let _ = seen.send(request.uri().path().to_owned()).await;
                Ok(tonic::Status::ok("").into_http())
            })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn traces_reach_the_collector_before_the_process_ends() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (seen, mut arrived) = tokio::sync::mpsc::channel(8);
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(
            tonic::transport::Server::builder().add_service(Collector(seen)).serve_with_incoming(incoming),
        );
        let config = TelemetryConfig {
            format: LogFormat::Json,
            filter: "info".to_owned(),
            otlp_endpoint: Some(endpoint),
            metrics_listen: None,
            metrics_every: METRICS_EVERY,
            service: "test".to_owned(),
            instance: "CEN".to_owned(),
        };
        let guard = TelemetryGuard { provider: provider(&config).unwrap() };

        tracing::subscriber::with_default(Registry::default().with(traces(&guard.provider)), || {
            tracing::info_span!("send").in_scope(current_traceparent);
        });
        tokio::task::spawn_blocking(|| drop(guard)).await.unwrap();

        assert!(arrived.try_recv().is_ok_and(|path| path.ends_with("TraceService/Export")));
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let error = init(&TelemetryConfig {
            format: LogFormat::Text,
            filter: "info,=loud".to_owned(),
            otlp_endpoint: None,
            metrics_listen: None,
            metrics_every: METRICS_EVERY,
            service: "test".to_owned(),
            instance: "CEN".to_owned(),
        })
        .unwrap_err();

        assert_eq!(error.to_string(), "`info,=loud` is not a log filter");
    }
}

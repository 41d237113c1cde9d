//! One trace runs from an administrator's call at the centre to the exit code on a client two levels below, through
//! objects, instruction files and reports; another follows a package's content.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::ResourceSpans,
};
use packhorse_e2e::{Hierarchy, Process, TreeSpec, make_package};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(120);
const SPEC: TreeSpec = TreeSpec { files: 20, file_bytes: 2_000, seed: 9 };

/// A span as the collector got it.
#[derive(Debug, Clone)]
struct Seen {
    trace: Vec<u8>,
    /// The process: a site's code, SITE/CAP, or a client's id.
    instance: String,
    name: String,
    attributes: BTreeMap<String, String>,
}

/// Takes what the processes export, and keeps all of it.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

impl Collector {
    /// Serves as long as the runtime lives; answers with its address.
    fn start(&self, runtime: &Runtime) -> Result<String> {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = format!("http://{}", listener.local_addr()?);
        let service = TraceServiceServer::new(self.clone());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The trace with this span in it.
    fn trace_with(&self, span: &str) -> Option<Vec<u8>> {
        self.seen().into_iter().find(|seen| seen.to_string() == span).map(|seen| seen.trace)
    }

    fn within(&self, trace: &[u8]) -> Vec<String> {
        self.seen().iter().filter(|seen| seen.trace == trace).map(Seen::to_string).collect()
    }
}

impl fmt::Display for Seen {
    /// `INSTANCE NAME DETAIL`, where the detail is what tells two spans of one name apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.instance, self.name)?;
        let detail = ["path", "kind", "place", "step"].into_iter().find_map(|key| self.attributes.get(key));
        detail.map_or(Ok(()), |detail| write!(f, " {detail}"))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let seen = request.into_inner().resource_spans.into_iter().flat_map(spans);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans(resource: ResourceSpans) -> Vec<Seen> {
    let process = texts(resource.resource.map(|resource| resource.attributes).unwrap_or_default());
    let instance = process.get("service.instance.id").cloned().unwrap_or_default();
    let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
    let seen = spans.map(|span| Seen {
        trace: span.trace_id,
        instance: instance.clone(),
        name: span.name,
        attributes: texts(span.attributes),
    });
    seen.collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| match attribute.value?.value? {
        Value::StringValue(value) => Some((attribute.key, value)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

/// Has a process export its traces from its next start on, and starts it again.
fn export(process: &Process, settings: &Path, section: &str, collector: &str) -> Result<()> {
    process.stop()?;
    let text = fs::read_to_string(settings).with_context(|| format!("cannot read {}", settings.display()))?;
    let mut table: toml::Table = text.parse()?;
    let entry = table.entry(section).or_insert_with(|| toml::Table::new().into());
    let section = entry.as_table_mut().context("a section is expected")?;
    section.insert("otlp_endpoint".to_owned(), collector.into());
    fs::write(settings, toml::to_string(&table)?)?;
    process.start()
}

/// Every process of the hierarchy exports to the collector.
fn export_all(hierarchy: &Hierarchy, client: &str, collector: &str) -> Result<()> {
    for site in ["CEN", "PAR", "LYO"] {
        let settings = hierarchy.site_directory(site).join("site.toml");
        export(hierarchy.site_process(site), &settings, "telemetry", collector)?;
        hierarchy.wait_until_ready(site)?;
    }
    let settings = hierarchy.cap_directory("LYO/cap1").join("cap.toml");
    export(hierarchy.cap_process("LYO/cap1"), &settings, "telemetry", collector)?;
    let settings = hierarchy.client_directory(client).join("client.toml");
    export(hierarchy.client_process(client), &settings, "telemetry", collector)
}

/// Waits until the trace of a span has come together.
fn wait_for_trace(
    hierarchy: &Hierarchy,
    collector: &Collector,
    of: &str,
    expected: &[String],
) -> Result<Vec<u8>> {
    hierarchy.wait_for(&format!("the trace of `{of}`"), LIMIT, || {
        let trace = collector.trace_with(of).context("no such span yet")?;
        let within = collector.within(&trace);
        let missing: Vec<_> = expected.iter().filter(|span| !within.contains(span)).collect();
        ensure!(missing.is_empty(), "{missing:?} are not among {within:#?}");
        Ok(Some(trace))
    })
}

#[test]
fn one_trace_runs_from_the_administrators_call_to_the_clients_exit_code_and_back() -> Result<()> {
    let runtime = Runtime::new()?;
    let collector = Collector::default();
    let address = collector.start(&runtime)?;
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1"])?;
    export_all(&hierarchy, "lyo-1", &address)?;
    let clients = hierarchy.console("LYO").json(&["client", "list"])?;
    let client = clients["clients"][0]["id"].as_str().context("a client")?.to_owned();
    let (source, file) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;

    let package = hierarchy.create_package(&source, &file, &["LYO/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;

    let advertised = [
        "CEN rpc /packhorse.provider.v1.AdvertisementService/CreateAdvertisement",
        "PAR take-in advertisement",
        "LYO take-in advertisement",
        "LYO offer",
        &format!("{client} advertisement download"),
        &format!("{client} advertisement run"),
        &format!("{client} advertisement end"),
        "LYO/cap1 client.report",
        "LYO client-report",
        "PAR take-in advertisement-status",
        "CEN take-in advertisement-status",
    ]
    .map(str::to_owned);
    let of_run = wait_for_trace(&hierarchy, &collector, &format!("{client} advertisement run"), &advertised)?;

    let packaged = [
        "CEN rpc /packhorse.provider.v1.PackageService/CreatePackage".to_owned(),
        "CEN make-bundle".to_owned(),
        "PAR take-in package".to_owned(),
        "PAR despool".to_owned(),
        "LYO despool".to_owned(),
        format!("LYO package-status {package}/LYO/cap1"),
        "CEN take-in package-status".to_owned(),
    ];
    let of_content = wait_for_trace(&hierarchy, &collector, "LYO despool", &packaged)?;
    assert_ne!(of_run, of_content, "two calls of an administrator are two traces");
    Ok(())
}

//! One trace runs from an administrator's commands at the centre to the exit code on a client two levels below and back,
//! through objects, bundles, instruction files and reports, over lines and by courier, without a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
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
use packhorse_e2e::{Hierarchy, Process, TreeSpec, make_package, set_in_toml};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(120);
const SPEC: TreeSpec = TreeSpec { files: 20, file_bytes: 2_000, seed: 9 };

/// A span as the collector got it.
#[derive(Debug, Clone)]
struct Seen {
    trace: Vec<u8>,
    span: Vec<u8>,
    /// Empty of one that begins a trace.
    parent: Vec<u8>,
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
}

impl Seen {
    /// Which part of which process made it.
    fn component(&self) -> (String, String) {
        let target = self.attributes.get("target").cloned().unwrap_or_default();
        let service = self.attributes.get("path").and_then(|path| path.split('/').nth(1));
        (self.instance.clone(), service.map_or(target, str::to_owned))
    }
}

impl fmt::Display for Seen {
    /// `INSTANCE NAME DETAIL`, where the detail is what tells two spans of one name apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.instance, self.name)?;
        let detail =
            ["path", "kind", "place", "step", "subject"].into_iter().find_map(|key| self.attributes.get(key));
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
        span: span.span_id,
        parent: span.parent_span_id,
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
    set_in_toml(settings, &format!("{section}.otlp_endpoint"), collector)?;
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

/// The trace that whoever gives the commands has begun elsewhere.
const TRACEPARENT: &str = "00-5ca1ab1e00000000000000000000c0de-0123456789abcdef-01";

fn hex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// Waits until all of this was seen in the trace, and no span of it hangs in the air.
fn wait_for_trace(hierarchy: &Hierarchy, collector: &Collector, expected: &[String]) -> Result<Vec<Seen>> {
    let (trace, root) = (hex(&TRACEPARENT[3..35]), hex(&TRACEPARENT[36..52]));
    hierarchy.wait_for("the trace", LIMIT, || {
        let seen: Vec<Seen> = collector.seen().into_iter().filter(|seen| seen.trace == trace).collect();
        let within: Vec<String> = seen.iter().map(Seen::to_string).collect();
        let missing: Vec<_> = expected.iter().filter(|span| !within.contains(span)).collect();
        ensure!(missing.is_empty(), "{missing:?} are not among {within:#?}");
        let known: BTreeSet<&[u8]> = seen.iter().map(|seen| &seen.span[..]).chain([&root[..]]).collect();
        let torn: Vec<_> = seen.iter().filter(|seen| !known.contains(&seen.parent[..])).collect();
        ensure!(torn.is_empty(), "the parents of these were not seen: {torn:#?}");
        Ok(Some(seen))
    })
}

/// That many parts of all three sites had a hand in it.
fn check_components(seen: &[Seen], expected: &[(&str, &str)]) {
    let components: BTreeSet<(String, String)> = seen.iter().map(Seen::component).collect();
    assert!(components.len() >= 12, "{components:#?}");
    for (instance, component) in expected {
        let pair = ((*instance).to_owned(), (*component).to_owned());
        assert!(components.contains(&pair), "{pair:?} is not among {components:#?}");
    }
}

/// A package for `LYO/cap1` and its advertisement, made by one who traces, with what leads to their first run.
fn advertise(hierarchy: &Hierarchy) -> Result<(String, String)> {
    let console = hierarchy.console("CEN").in_trace(TRACEPARENT);
    let (source, file) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    let (source, program) = (source.display().to_string(), format!("run=./run.sh {}", file.display()));
    let package = console.create(&[
        "package",
        "create",
        "Sample",
        "--upload",
        &source,
        "--program",
        &program,
        "--to",
        "LYO/cap1",
    ])?;
    let collection = console.create(&["collection", "create", "Everyone", "--all"])?;
    let advertisement = console.create(&["advertise", &package, "run", &collection])?;
    Ok((package, advertisement))
}

/// What every way has in common, from the third site down to the client and up again.
fn below(client: &str, package: &str, advertisement: &str) -> Vec<String> {
    [
        "CEN rpc /packhorse.provider.v1.PackageService/CreatePackage",
        "CEN rpc /packhorse.provider.v1.AdvertisementService/CreateAdvertisement",
        "CEN make-bundle",
        "PAR take-in package",
        "PAR take-in advertisement",
        "PAR despool",
        &format!("PAR send advertisement/{advertisement}"),
        &format!("PAR send {package}"),
        "LYO take-in package",
        "LYO receive",
        "LYO despool",
        "LYO order",
        "LYO/cap1 fetch",
        &format!("LYO package-status {package}/LYO/cap1"),
        "LYO take-in advertisement",
        "LYO offer",
        "LYO feed",
        "LYO/cap1 store",
        &format!("{client} take-on"),
        &format!("{client} advertisement download"),
        &format!("{client} advertisement run"),
        &format!("{client} advertisement end"),
        &format!("{client} report"),
        "LYO/cap1 rpc /packhorse.client.v1.ClientAccessService/Report",
        "LYO/cap1 client.report",
        "LYO/cap1 submit-report",
        "LYO client-report",
        "PAR take-in advertisement-status",
        "CEN take-in advertisement-status",
        "CEN take-in package-status",
    ]
    .map(str::to_owned)
    .into()
}

fn components(client: &str) -> [(&str, &str); 16] {
    [
        ("CEN", "packhorse.provider.v1.PackageService"),
        ("CEN", "packhorse.provider.v1.AdvertisementService"),
        ("CEN", "distribution-manager"),
        ("CEN", "receiver"),
        ("PAR", "receiver"),
        ("PAR", "despooler"),
        ("PAR", "sender"),
        ("LYO", "receiver"),
        ("LYO", "despooler"),
        ("LYO", "offer-manager"),
        ("LYO", "inbox-manager"),
        ("LYO", "status-manager"),
        ("LYO/cap1", "distribution-point"),
        ("LYO/cap1", "report-sender"),
        (client, "executor"),
        (client, "reporter"),
    ]
}

fn client_of(hierarchy: &Hierarchy) -> Result<String> {
    let clients = hierarchy.console("LYO").json(&["client", "list"])?;
    Ok(clients["clients"][0]["id"].as_str().context("a client")?.to_owned())
}

#[test]
fn one_trace_runs_from_the_administrators_commands_to_the_clients_exit_code_and_back() -> Result<()> {
    let runtime = Runtime::new()?;
    let collector = Collector::default();
    let address = collector.start(&runtime)?;
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1"])?;
    export_all(&hierarchy, "lyo-1", &address)?;
    let client = client_of(&hierarchy)?;

    let (package, advertisement) = advertise(&hierarchy)?;
    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;

    let mut expected = below(&client, &package, &advertisement);
    let over_the_line = [
        &format!("CEN send advertisement/{advertisement}"),
        &format!("CEN send package/{package}"),
        &format!("CEN send {package}"),
        "PAR receive",
        &format!("PAR send advertisement-status/{advertisement}/{client}"),
    ];
    expected.extend(over_the_line.map(str::to_owned));
    let seen = wait_for_trace(&hierarchy, &collector, &expected)?;
    check_components(&seen, &components(&client));
    check_components(&seen, &[("CEN", "sender")]);
    Ok(())
}

/// What one site has for another goes onto a medium and from there in.
fn carry(hierarchy: &Hierarchy, (from, to): (&str, &str)) -> Result<()> {
    let medium = hierarchy.scratch("medium");
    fs::create_dir_all(&medium)?;
    let path = medium.display().to_string();
    hierarchy.console(from).done(&["courier", "create", "--to", to, "--medium", &path])?;
    hierarchy.console(to).done(&["courier", "receive", &path])?;
    Ok(())
}

#[test]
fn the_trace_goes_on_where_the_line_is_cut_and_a_courier_carries_all() -> Result<()> {
    let runtime = Runtime::new()?;
    let collector = Collector::default();
    let address = collector.start(&runtime)?;
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1"])?;
    export_all(&hierarchy, "lyo-1", &address)?;
    let client = client_of(&hierarchy)?;
    hierarchy.line("PAR").cut();

    let (package, advertisement) = advertise(&hierarchy)?;
    hierarchy.wait_for("a bundle for the courier", LIMIT, || {
        let planned = hierarchy.console("CEN").run(&["-o", "json", "courier", "plan", "--to", "PAR"])?;
        let is_there = planned.code == 0 && planned.stdout.contains("\"bundle\"");
        Ok((is_there && planned.stdout.contains(&package)).then_some(()))
    })?;
    carry(&hierarchy, ("CEN", "PAR"))?;
    hierarchy.wait_ran("PAR", &advertisement, 1, 1)?;
    carry(&hierarchy, ("PAR", "CEN"))?;
    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;

    let mut expected = below(&client, &package, &advertisement);
    let by_courier = [
        &format!("CEN pack {package}"),
        &format!("CEN pack advertisement/{advertisement}"),
        "PAR unpack",
        &format!("PAR pack advertisement-status/{advertisement}/{client}"),
    ];
    expected.extend(by_courier.map(str::to_owned));
    let seen = wait_for_trace(&hierarchy, &collector, &expected)?;
    check_components(&seen, &components(&client));
    check_components(&seen, &[("CEN", "courier-sender"), ("PAR", "courier-sender")]);
    assert!(!seen.iter().any(|seen| seen.to_string() == "PAR receive"), "the line was cut");
    Ok(())
}

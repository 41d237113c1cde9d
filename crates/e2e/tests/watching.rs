//! Every process shows its figures to a monitor and sends the same to a collector; the rules, the dashboard and the table in
//! the manual name what the processes really show; logs change while they run, and hold no secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    common::v1::any_value::Value,
    metrics::v1::{Metric, ResourceMetrics, metric::Data, number_data_point},
};
use packhorse_e2e::{Hierarchy, Process, TreeSpec, free_port, make_package, set_in_toml};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(120);
const SPEC: TreeSpec = TreeSpec { files: 20, file_bytes: 20_000, seed: 11 };

/// The newest value that each process sent of each figure, by service and name, summed over its labels.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<BTreeMap<(String, String), f64>>>);

impl Collector {
    fn start(&self, runtime: &Runtime) -> Result<String> {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = format!("http://{}", listener.local_addr()?);
        let service = MetricsServiceServer::new(self.clone());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(address)
    }

    fn take(&self, resource: ResourceMetrics) {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let instance = attributes.into_iter().find(|one| one.key == "service.instance.id");
        let instance = match instance.and_then(|one| one.value?.value) {
            Some(Value::StringValue(instance)) => instance,
            _ => String::new(),
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            seen.insert((instance.clone(), metric.name.clone()), sum(metric));
        }
    }

    fn of(&self, instance: &str) -> BTreeMap<String, f64> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seen.iter().filter(|((of, _), _)| of == instance);
        own.map(|((_, name), value)| (name.clone(), *value)).collect()
    }
}

fn sum(metric: Metric) -> f64 {
    let points = match metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points,
        Some(Data::Sum(sum)) => sum.data_points,
        _ => Vec::new(),
    };
    let value = |value| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        _ => f64::NAN,
    };
    points.into_iter().map(|point| value(point.value)).sum()
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        request.into_inner().resource_metrics.into_iter().for_each(|resource| self.take(resource));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// What one process shows: the rows, as `name{labels}`, and their values.
#[derive(Debug, Clone)]
struct Shown(BTreeMap<String, f64>);

impl Shown {
    fn scrape(port: u16) -> Result<Shown> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut rows = BTreeMap::new();
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (row, value) = line.rsplit_once(' ').with_context(|| format!("a row: {line}"))?;
            let value = value.parse().with_context(|| format!("a number: {line}"))?;
            ensure!(rows.insert(row.to_owned(), value).is_none(), "twice: {line}");
        }
        Ok(Shown(rows))
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.keys().map(|row| row.split('{').next().unwrap_or_default().to_owned()).collect()
    }

    #[track_caller]
    fn value(&self, row: &str) -> f64 {
        *self.0.get(row).unwrap_or_else(|| panic!("{row} is not among {:#?}", self.0.keys()))
    }

    fn sum(&self, name: &str) -> f64 {
        let of_name = |row: &str| row == name || row.starts_with(&format!("{name}{{"));
        self.0.iter().filter(|(row, _)| of_name(row)).map(|(_, value)| value).sum()
    }
}

/// Where each process of a hierarchy shows its figures.
struct Watched(BTreeMap<String, u16>);

impl Watched {
    /// Every process is started again with a place for its figures, a collector, and what else is asked for.
    fn start(hierarchy: &Hierarchy, client: &str, collector: Option<&str>, filter: &str) -> Result<Watched> {
        let mut ports = BTreeMap::new();
        let mut watch = |name: &str, process: &Process, settings: PathBuf| -> Result<()> {
            process.stop()?;
            let port = free_port()?;
            set_in_toml(&settings, "telemetry.metrics_listen", format!("127.0.0.1:{port}"))?;
            set_in_toml(&settings, "telemetry.metrics_every_s", 1)?;
            set_in_toml(&settings, "telemetry.filter", filter)?;
            if let Some(endpoint) = collector {
                set_in_toml(&settings, "telemetry.otlp_endpoint", endpoint)?;
            }
            ports.insert(name.to_owned(), port);
            process.start()
        };
        for site in ["CEN", "PAR", "LYO"] {
            watch(site, hierarchy.site_process(site), hierarchy.site_directory(site).join("site.toml"))?;
            hierarchy.wait_until_ready(site)?;
        }
        let cap = hierarchy.cap_directory("LYO/cap1").join("cap.toml");
        watch("LYO/cap1", hierarchy.cap_process("LYO/cap1"), cap)?;
        let settings = hierarchy.client_directory(client).join("client.toml");
        watch(client, hierarchy.client_process(client), settings)?;
        Ok(Watched(ports))
    }

    fn scrape(&self, name: &str) -> Result<Shown> {
        Shown::scrape(self.0[name]).with_context(|| format!("the figures of {name}"))
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All names of figures in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_figure = |word: &&str| {
        word.starts_with("packhorse_") || (word.starts_with("process_") && word.matches('_').count() >= 1)
    };
    words.filter(is_figure).map(str::to_owned).collect()
}

/// The figures of the table in the manual: the first column.
fn documented() -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(repository().join("docs/watching.md"))?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    Ok(rows.flat_map(named).collect())
}

#[test]
fn every_figure_that_rules_dashboard_and_manual_name_is_shown_and_sent() -> Result<()> {
    let runtime = Runtime::new()?;
    let collector = Collector::default();
    let endpoint = collector.start(&runtime)?;
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1"])?;
    let watched = Watched::start(&hierarchy, "lyo-1", Some(&endpoint), "info")?;
    let (source, file) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "one")?;
    let package = hierarchy.create_package(&source, &file, &["LYO/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    hierarchy.wait_ran("CEN", &advertisement, 1, 1)?;

    let processes = ["CEN", "PAR", "LYO", "LYO/cap1", "lyo-1"];
    let shown: BTreeMap<&str, Shown> = hierarchy.wait_for("the figures of what was done", LIMIT, || {
        let mut shown = BTreeMap::new();
        for name in processes {
            shown.insert(name, watched.scrape(name)?);
        }
        let succeeded = "packhorse_advertisement_clients{site=\"CEN\",state=\"succeeded\"}";
        ensure!(shown["CEN"].value(succeeded) == 1.0, "{:?}", shown["CEN"]);
        ensure!(shown["LYO"].value("packhorse_cap_connected{site=\"LYO\",cap=\"cap1\"}") == 1.0);
        ensure!(shown["LYO/cap1"].value("packhorse_reports_waiting{site=\"LYO\",cap=\"cap1\"}") == 0.0);
        // What comes with the first answer to a ping.
        let clock = "packhorse_link_clock_ahead_seconds";
        ensure!(shown["PAR"].names().contains(clock), "{:?}", shown["PAR"]);
        Ok(Some(shown))
    })?;

    for peer in ["CEN", "LYO"] {
        assert_eq!(shown["PAR"].value(&format!("packhorse_link_up{{site=\"PAR\",peer=\"{peer}\"}}")), 1.0);
    }
    let bytes = (SPEC.files * SPEC.file_bytes) as f64;
    assert!(shown["LYO"].value("packhorse_link_received_bytes_total{site=\"LYO\",peer=\"PAR\"}") > bytes);
    assert!(shown["LYO/cap1"].sum("packhorse_content_served_bytes_total") > bytes);
    assert!(shown["lyo-1"].sum("packhorse_client_fetched_bytes_total") >= bytes);
    assert_eq!(shown["lyo-1"].value("packhorse_client_runs_total{site=\"LYO\",result=\"succeeded\"}"), 1.0);
    assert!(shown["LYO/cap1"].sum("packhorse_polls_total") >= 1.0);
    for (name, shown) in &shown {
        assert_eq!(shown.sum("packhorse_metrics_complete"), 1.0, "{name}");
        assert!(shown.sum("packhorse_certificate_remaining_seconds") > 86_400.0, "{name}");
        assert!(shown.sum("packhorse_worker_steps_total") > 0.0, "{name}");
        assert!(shown.sum("process_resident_memory_bytes") > 1e6, "{name}");
    }

    check_names(&shown)?;
    check_bounded(&hierarchy, &shown, &[&package, &advertisement])?;
    check_sent(&hierarchy, &collector, &watched)
}

/// Rules and dashboard name nothing else, and the manual has all of them and no more.
fn check_names(shown: &BTreeMap<&str, Shown>) -> Result<()> {
    let known: BTreeSet<String> = shown.values().flat_map(Shown::names).collect();
    let rules = fs::read_to_string(repository().join("deploy/prometheus/packhorse.rules.yml"))?;
    let tests = fs::read_to_string(repository().join("deploy/prometheus/packhorse.rules.test.yml"))?;
    let dashboard = fs::read_to_string(repository().join("deploy/grafana/packhorse.json"))?;
    let _: serde_json::Value = serde_json::from_str(&dashboard).context("the dashboard is JSON")?;
    for (what, text) in [("rules", &rules), ("tests of rules", &tests), ("dashboard", &dashboard)] {
        let named = named(text);
        ensure!(named.len() > 5, "{what} name figures");
        let unknown: Vec<_> = named.difference(&known).collect();
        ensure!(unknown.is_empty(), "the {what} name {unknown:?}, which no process shows");
    }
    let documented = documented()?;
    let missing: Vec<_> = known.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&known).collect();
    ensure!(
        missing.is_empty() && gone.is_empty(),
        "docs/watching.md lacks {missing:?}; nobody shows {gone:?}"
    );
    let on_dashboard = named(&dashboard);
    let unseen: Vec<_> = known.difference(&on_dashboard).collect();
    ensure!(unseen.is_empty(), "{unseen:?} are on no panel of the dashboard");
    Ok(())
}

/// No label grows with clients, packages or advertisements.
fn check_bounded(hierarchy: &Hierarchy, shown: &BTreeMap<&str, Shown>, ids: &[&str]) -> Result<()> {
    let clients = hierarchy.console("LYO").json(&["client", "list"])?;
    let client = clients["clients"][0]["id"].as_str().context("a client")?;
    for row in shown.values().flat_map(|shown| shown.0.keys()) {
        for id in ids.iter().chain([&client, &"lyo-1"]) {
            ensure!(!row.contains(*id), "{row} names {id}");
        }
    }
    Ok(())
}

/// The collector gets what the monitor sees, under the same names.
fn check_sent(hierarchy: &Hierarchy, collector: &Collector, watched: &Watched) -> Result<()> {
    hierarchy.wait_for("the figures at the collector", LIMIT, || {
        for name in ["CEN", "PAR", "LYO", "LYO/cap1"] {
            let sent = collector.of(name);
            let names: BTreeSet<String> = sent.keys().cloned().collect();
            let shown = watched.scrape(name)?;
            let expected = shown.names();
            ensure!(names.is_superset(&expected), "{name} lacks {:?}", expected.difference(&names));
            for of in ["packhorse_objects", "packhorse_worker_consecutive_errors", "process_max_fds"] {
                let told = shown.sum(of);
                ensure!(sent.get(of).copied().unwrap_or_default() == told, "{name}: {of} is {told}");
            }
        }
        Ok(Some(()))
    })
}

/// The lines that a process has logged with this word in it.
fn logged(process: &Process, word: &str) -> Result<usize> {
    Ok(fs::read_to_string(process.log())?.lines().filter(|line| line.contains(word)).count())
}

#[test]
fn what_is_logged_changes_for_a_while_in_a_process_that_runs() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.cap("CEN", "cap1")?;
    hierarchy.clients(&["CEN/cen-1"])?;
    let (console, process) = (hierarchy.console("CEN"), hierarchy.site_process("CEN"));
    let level = |listed: &serde_json::Value, component: &str| -> Option<String> {
        let components = listed["components"].as_array()?;
        let row = components.iter().find(|one| one["component"] == component)?;
        Some(format!("{} {} {}", row["level"], row["configured"], row["left_s"].is_null()))
    };
    assert_eq!(logged(process, "DEBUG")?, 0);

    let set = console.json(&["log-level", "monitor=debug"])?;
    assert_eq!(level(&set, "monitor").as_deref(), Some("\"debug\" \"info\" false"));
    assert_eq!(level(&set, "sender").as_deref(), Some("\"info\" \"info\" true"));
    // Whatever an administrator changes wakes it.
    console.create(&["collection", "create", "Everyone", "--all"])?;
    hierarchy.wait_for("the component's details", LIMIT, || {
        let of_its_step = "component=\"monitor\"}: packhorse_runtime::worker: a step ended";
        Ok((logged(process, of_its_step)? > 0).then_some(()))
    })?;
    assert_eq!(logged(process, "component=\"despooler\"}: packhorse_runtime::worker: a step ended")?, 0);

    // The newer wish counts, and ends by itself.
    console.done(&["log-level", "monitor=debug", "--for", "1s"])?;
    hierarchy.wait_for("the end of that", LIMIT, || {
        let listed = console.json(&["log-level"])?;
        let is_over = level(&listed, "monitor").as_deref() == Some("\"info\" \"info\" true");
        Ok((is_over && logged(process, "the settings hold again")? == 1).then_some(()))
    })?;
    let events = console.done(&["events", "--component", "provider"])?;
    assert!(events.contains("set what is logged for 1 s: monitor=debug"), "{events}");
    let unknown = console.run(&["log-level", "shceduler=debug"])?;
    assert!(unknown.code == 1 && unknown.stderr.contains("there is no `shceduler`"), "{unknown:?}");

    // Who has no console has a signal.
    for process in [hierarchy.cap_process("CEN/cap1"), hierarchy.client_process("cen-1")] {
        process.signal(rustix::process::Signal::USR1);
        hierarchy.wait_for("details", LIMIT, || Ok((logged(process, "DEBUG")? > 0).then_some(())))?;
        process.signal(rustix::process::Signal::USR1);
        hierarchy.wait_for("the end", LIMIT, || {
            Ok((logged(process, "SIGUSR1: the log is as the settings say")? == 1).then_some(()))
        })?;
    }
    Ok(())
}

/// Runs of characters of a file that nobody may find elsewhere: lines of keys, and the secrets of tokens.
fn secrets_in(path: &Path, into: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            secrets_in(&path, into)?;
            continue;
        }
        let text = match name.as_str() {
            name if name.ends_with(".token") => {
                let table: toml::Table = fs::read_to_string(&path)?.parse()?;
                into.insert(table["secret"].as_str().context("a secret")?.to_owned());
                continue;
            }
            name if name.ends_with(".pem") || name.ends_with(".key") => fs::read_to_string(&path)?,
            _ => continue,
        };
        let is_private = text.contains("PRIVATE KEY") || text.contains("AGE-SECRET-KEY");
        let lines = text.lines().filter(|line| is_private && line.len() >= 20 && !line.starts_with("--"));
        into.extend(lines.map(str::to_owned));
    }
    Ok(())
}

#[test]
fn logs_in_full_detail_hold_no_token_no_key_and_nothing_of_what_programs_say() -> Result<()> {
    let mut hierarchy = Hierarchy::three_levels()?;
    hierarchy.clients(&["LYO/lyo-1"])?;
    let _watched = Watched::start(&hierarchy, "lyo-1", None, "debug")?;
    // Now every way to enrol, and a run, with details logged.
    hierarchy.child("OSL", "CEN")?;
    hierarchy.cap("LYO", "cap2")?;
    hierarchy.clients(&["LYO/lyo-2"])?;
    let (source, file) = (hierarchy.scratch("source"), hierarchy.scratch("trace"));
    make_package(&source, SPEC, "PLANTED-IN-OUTPUT")?;
    let package = hierarchy.create_package(&source, &file, &["LYO/cap1"])?;
    let advertisement = hierarchy.advertise(&package)?;
    hierarchy.wait_ran("CEN", &advertisement, 2, 1)?;
    // A token that is shown and not fit.
    let _ = hierarchy.console("CEN").run(&["site", "token", "cen"])?;

    let mut secrets = BTreeSet::from(["PLANTED-IN-OUTPUT".to_owned()]);
    secrets_in(hierarchy.root(), &mut secrets)?;
    assert!(secrets.len() > 30, "keys and tokens were found: {}", secrets.len());
    let mut bytes = 0;
    for process in hierarchy.processes() {
        let log = fs::read_to_string(process.log())?;
        bytes += log.len();
        let found: Vec<_> = secrets.iter().filter(|secret| log.contains(secret.as_str())).collect();
        ensure!(found.is_empty(), "the log of {} holds {found:?}", process.name());
        ensure!(log.lines().all(|line| line.len() <= 16 * 1024), "a line of {} is too long", process.name());
    }
    let cen = logged(hierarchy.site_process("CEN"), "DEBUG")?;
    assert!(cen > 100 && bytes > 100_000, "details were logged: {cen} lines, {bytes} bytes");
    Ok(())
}

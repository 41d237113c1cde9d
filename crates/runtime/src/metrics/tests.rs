//! What is shown, sent and bounded, against a source of fixed figures.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::telemetry::{LogFormat, METRICS_EVERY};

const QUEUE: Figure = Figure {
    name: "packhorse_test_items",
    kind: Kind::Gauge,
    labels: &["peer", "priority"],
    help: "Items \\ that\nwait",
};
const BYTES: Figure =
    Figure { name: "packhorse_test_bytes_total", kind: Kind::Counter, labels: &[], help: "Bytes" };
const NONE: Figure = Figure { name: "packhorse_test_none", kind: Kind::Gauge, labels: &[], help: "None" };

struct Fixed;

impl Source for Fixed {
    fn collect(&self) -> BoxFuture<'_, Sheet> {
        Box::pin(async {
            let mut sheet = Sheet::new();
            sheet.declare(&[&NONE]);
            sheet.count(&QUEUE, &["P\"A\\R\n", "high"], 3);
            sheet.count(&BYTES, &[], 1 << 40);
            sheet
        })
    }
}

struct Hanging;

impl Source for Hanging {
    fn collect(&self) -> BoxFuture<'_, Sheet> {
        Box::pin(std::future::pending())
    }
}

fn config(otlp_endpoint: Option<String>) -> TelemetryConfig {
    TelemetryConfig {
        format: LogFormat::Text,
        filter: "info".to_owned(),
        otlp_endpoint,
        metrics_listen: Some("127.0.0.1:0".parse().expect("an address")),
        metrics_every: METRICS_EVERY,
        service: "test".to_owned(),
        instance: "CEN".to_owned(),
    }
}

fn metrics(source: impl Source, lifecycle: &Lifecycle) -> Metrics {
    Metrics::new(source, lifecycle, vec![("site", "CEN".to_owned())], "1.2.3")
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    // A server that refuses may cut the connection while it is still being asked.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn the_text_is_as_prometheus_reads_it() {
    let text = metrics(Fixed, &Lifecycle::new()).text().await;

    for expected in [
        "# HELP packhorse_test_items Items \\\\ that\\nwait\n# TYPE packhorse_test_items gauge\n",
        "packhorse_test_items{site=\"CEN\",peer=\"P\\\"A\\\\R\\n\",priority=\"high\"} 3\n",
        "# TYPE packhorse_test_bytes_total counter\npackhorse_test_bytes_total{site=\"CEN\"} 1099511627776\n",
        "# TYPE packhorse_test_none gauge\n# ",
        "packhorse_build_info{site=\"CEN\",version=\"1.2.3\"} 1\n",
        "packhorse_metrics_complete{site=\"CEN\"} 1\n",
        "# TYPE process_cpu_seconds_total counter\n",
        "process_open_fds{site=\"CEN\"} ",
        "process_start_time_seconds{site=\"CEN\"} ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
}

#[tokio::test]
async fn only_the_figures_are_to_be_had_and_a_long_request_is_refused() {
    let lifecycle = Lifecycle::new();
    let address = metrics(Fixed, &lifecycle).start(&config(None)).await.expect("started").expect("shown");

    let figures = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(figures.starts_with("HTTP/1.1 200") && figures.contains("packhorse_test_items{"), "{figures}");
    assert!(figures.contains("text/plain; version=0.0.4"), "{figures}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(), "405"),
        (format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)), "431"),
        ("rubbish\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(address, &request).await;
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(!answer.contains("packhorse_test"), "{answer}");
    }

    // Those who say nothing do not keep the others out.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.expect("connected"));
    }
    assert!(ask(address, "GET /metrics HTTP/1.0\r\n\r\n").await.contains("packhorse_test_items{"));
    lifecycle.stop();
    let _ = lifecycle.run_without_signals(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_leaves_the_rest_and_says_so() {
    let text = metrics(Hanging, &Lifecycle::new()).text().await;

    assert!(text.contains("packhorse_metrics_complete{site=\"CEN\"} 0\n"), "{text}");
    assert!(text.contains("process_open_fds"), "{text}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = TelemetryConfig { metrics_listen: taken.local_addr().ok(), ..config(None) };

    let error = metrics(Fixed, &Lifecycle::new()).start(&config).await.expect_err("taken");

    assert!(error.to_string().contains("correct `telemetry.metrics_listen`"), "{error}");
}

#[test]
fn rows_and_labels_are_bounded() {
    let mut sheet = Sheet::new();
    for _ in 0..2 * ROWS_MAX {
        sheet.put(&QUEUE, &[&"é".repeat(LABEL_LENGTH_MAX), "low"], 1.0);
    }

    let rows = &sheet.figures[QUEUE.name].rows;
    assert_eq!(rows.len(), ROWS_MAX);
    assert!(rows[0].labels[0].len() <= LABEL_LENGTH_MAX);
}

//! Figures sent to an OTLP collector, under the same names as Prometheus reads.
//!
//! The message is written from the sheet and not through instruments of an SDK: these would keep a second copy of every
//! figure, and rows of what has gone.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use packhorse_domain::Timestamp;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{Column, Figure, Kind, Metrics, Row};
use crate::{error::error_chain, telemetry::TelemetryConfig};

const SEND_LONGEST: Duration = Duration::from_secs(10);
/// At the end of the process: an unreachable collector must not hold it up.
const LAST_LONGEST: Duration = Duration::from_secs(2);

/// Why figures cannot be exported at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot export metrics to `{endpoint}`: an address as http://127.0.0.1:4317 is expected")]
pub struct PushError {
    endpoint: String,
    source: tonic::transport::Error,
}

/// Sends the figures every so often.
pub(super) struct Push {
    metrics: Metrics,
    client: MetricsServiceClient<Channel>,
    every: Duration,
    resource: Resource,
    since: Timestamp,
}

impl Push {
    pub(super) fn new(metrics: Metrics, endpoint: &str, config: &TelemetryConfig) -> Result<Self, PushError> {
        let failed = |source| PushError { endpoint: endpoint.to_owned(), source };
        let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(failed)?;
        let channel = channel.connect_timeout(SEND_LONGEST).timeout(SEND_LONGEST).connect_lazy();
        let attributes = vec![
            attribute("service.name", &config.service),
            attribute("service.instance.id", &config.instance),
        ];
        Ok(Push {
            since: metrics.0.lifecycle.clock().now(),
            metrics,
            client: MetricsServiceClient::new(channel),
            every: config.metrics_every,
            resource: Resource { attributes, ..Resource::default() },
        })
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        // A collector that is away is told of once, not each minute.
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.every) => {}
            }
            match self.send().await {
                Ok(()) => failing = false,
                Err(status) if !failing => {
                    failing = true;
                    tracing::warn!(error = error_chain(&status), "metrics do not reach the collector");
                }
                Err(_) => {}
            }
        }
        let _ = tokio::time::timeout(LAST_LONGEST, self.send()).await;
    }

    async fn send(&mut self) -> Result<(), tonic::Status> {
        let sheet = self.metrics.sheet().await;
        let now = self.metrics.0.lifecycle.clock().now();
        let columns = sheet.figures.values().filter(|column| !column.rows.is_empty());
        let metrics = columns.map(|column| self.metric(column, now)).collect();
        let scope = InstrumentationScope { name: "packhorse".to_owned(), ..InstrumentationScope::default() };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url: String::new() }];
        self.client.export(ExportMetricsServiceRequest { resource_metrics }).await.map(drop)
    }

    fn metric(&self, Column { figure, rows }: &Column, now: Timestamp) -> Metric {
        let data_points = rows.iter().map(|row| self.point(figure, row, now)).collect();
        let data = match figure.kind {
            Kind::Gauge => Data::Gauge(Gauge { data_points }),
            Kind::Counter => Data::Sum(Sum {
                data_points,
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            }),
        };
        Metric {
            name: figure.name.to_owned(),
            description: figure.help.to_owned(),
            unit: unit(figure.name).to_owned(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn point(&self, figure: &Figure, row: &Row, now: Timestamp) -> NumberDataPoint {
        let common = self.metrics.0.common.iter().map(|(name, value)| attribute(name, value));
        let own = figure.labels.iter().zip(&row.labels).map(|(name, value)| attribute(name, value));
        NumberDataPoint {
            attributes: common.chain(own).collect(),
            start_time_unix_nano: nanoseconds(self.since),
            time_unix_nano: nanoseconds(now),
            value: Some(number_data_point::Value::AsDouble(row.value)),
            ..NumberDataPoint::default()
        }
    }
}

/// As the name says it, in UCUM.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total") {
        name if name.ends_with("_bytes_per_second") => "By/s",
        name if name.ends_with("_bytes") => "By",
        name if name.ends_with("_seconds") => "s",
        _ => "1",
    }
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or_default().saturating_mul(1_000)
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::unit;

    #[test]
    fn units_follow_from_names() {
        for (name, expected) in [
            ("packhorse_link_sent_bytes_total", "By"),
            ("packhorse_link_rate_bytes_per_second", "By/s"),
            ("process_cpu_seconds_total", "s"),
            ("packhorse_link_up", "1"),
        ] {
            assert_eq!(unit(name), expected, "{name}");
        }
    }
}

//! Every metric by name, unit and meaning, and the recorder that counts.
//!
//! Names follow OpenTelemetry (dots, units apart); `/metrics` shows them as
//! Prometheus writes them (`rpc.server.call.duration` in seconds becomes
//! `rpc_server_call_duration_seconds`). The recorder is a value, handed to who
//! counts: there is no global one, so two servers in one test count apart.
//! `docs/metrics.md` is [`document`], and a test holds it to that.

mod names;
mod rates;
mod recent;
mod sale;

use std::fmt::Write;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use names::*;
pub use rates::RoomRates;
pub use recent::{RecentTimes, Times, UnderWay};
pub use sale::SaleTimes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// What a metric is; its values are recorded through [`Metrics`].
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    /// [`Unit::Count`] for things; the description says which.
    pub unit: Unit,
    pub description: &'static str,
    pub labels: &'static [&'static str],
}

/// Seconds; from a cached read to a slow gateway.
const DURATION_BUCKETS_S: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

const METADATA: Metadata<'static> = Metadata::new("usher", Level::INFO, None);

/// Where metrics are recorded and read. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    sale_times: Arc<SaleTimes>,
    room_rates: Arc<RoomRates>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new().with_recommended_naming(true);
        let recorder = match builder.set_buckets(DURATION_BUCKETS_S) {
            Ok(builder) => builder.build_recorder(),
            // Only an empty list of buckets is refused.
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        for metric in ALL {
            let (name, unit, text) = (metric.name, Some(metric.unit), metric.description);
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name.into(), unit, text.into()),
                MetricKind::Gauge => recorder.describe_gauge(name.into(), unit, text.into()),
                MetricKind::Histogram => {
                    recorder.describe_histogram(name.into(), unit, text.into());
                }
            }
        }
        Self {
            handle: recorder.handle(),
            recorder: Arc::new(recorder),
            sale_times: Arc::default(),
            room_rates: Arc::default(),
        }
    }

    /// A handle to count with; keep it where it is used often.
    pub fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.recorder
            .register_counter(&key(metric, values), &METADATA)
    }

    pub fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.recorder
            .register_gauge(&key(metric, values), &METADATA)
    }

    pub fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        self.recorder
            .register_histogram(&key(metric, values), &METADATA)
    }

    /// Calls of the sale.
    #[must_use]
    pub fn sale_times(&self) -> &Arc<SaleTimes> {
        &self.sale_times
    }

    /// Of rooms that are steered.
    #[must_use]
    pub fn room_rates(&self) -> &RoomRates {
        &self.room_rates
    }

    /// All of it, as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        // Folds what histograms gathered; without it they would only grow.
        self.handle.run_upkeep();
        let mut text = self.handle.render();
        self.room_rates.render_to(&mut text);
        text
    }
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels: Vec<Label> = metric
        .labels
        .iter()
        .zip(values)
        .map(|(label, value)| Label::new(*label, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

/// The text of `docs/metrics.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Served as Prometheus text on `/metrics`. Names follow OpenTelemetry; Prometheus shows dots as `_`, adds the unit \
         and, to counters, `_total`.\n\n\
         | name | kind | unit | labels | meaning |\n|---|---|---|---|---|\n",
    );
    for metric in ALL {
        let unit = metric.unit.as_str();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {unit} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.description
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_this_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        if std::env::var_os("USHER_WRITE_DOCS").is_some() {
            std::fs::write(path, document()).expect("written");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == document(),
            "docs/metrics.md is out of date: USHER_WRITE_DOCS=1 cargo test --lib metrics"
        );
    }

    #[test]
    fn two_recorders_count_apart_and_render_prometheus_names() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.counter(&CONNECTIONS_CUT, &["limit"]).increment(3);
        one.histogram(&RPC_DURATION, &["usher.v1.QueueService/Join", "OK"])
            .record(0.002);
        let text = one.render();
        assert!(
            text.contains("usher_connections_cut_total{reason=\"limit\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("rpc_server_call_duration_seconds_bucket{"),
            "{text}"
        );
        assert!(!other.render().contains("limit\"} 3"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}

//! Every metric by name, unit and meaning, and the recorder that counts.
//!
//! Names follow OpenTelemetry (dots, units apart); `/metrics` shows them as
//! Prometheus writes them (`rpc.server.call.duration` in seconds becomes
//! `rpc_server_call_duration_seconds`). The recorder is a value, handed to who
//! counts: there is no global one, so two servers in one test count apart.
//! `docs/metrics.md` is [`document`], and a test holds it to that.

mod rates;
mod recent;
mod sale;

use std::fmt::Write;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

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

pub const CONNECTIONS_OPEN: Metric = Metric {
    name: "usher.connections.open",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Connections open now.",
    labels: &[],
};
pub const CONNECTIONS_ACCEPTED: Metric = Metric {
    name: "usher.connections.accepted",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Connections accepted since the start.",
    labels: &[],
};
pub const CONNECTIONS_CUT: Metric = Metric {
    name: "usher.connections.cut",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Connections that the server ended early: `limit` (transport.connections_max), \
                  `handshake` (nothing useful said in time), `tls`, `stalled` (took nothing of \
                  what it was sent), `drain` (still open at the deadline of a stop).",
    labels: &["reason"],
};
pub const ACCEPT_ERRORS: Metric = Metric {
    name: "usher.connections.accept_errors",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Failed attempts to accept a connection, such as at the limit of open files.",
    labels: &[],
};
pub const STREAMS_OPEN: Metric = Metric {
    name: "usher.streams.open",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Streams of `Watch`, `WatchSeatMap` and `WatchRoomStats` open now.",
    labels: &[],
};
pub const STREAMS_REFUSED: Metric = Metric {
    name: "usher.streams.refused",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Streams refused with TOO_MANY_STREAMS (stream.streams_max).",
    labels: &[],
};
pub const STREAMS_ENDED: Metric = Metric {
    name: "usher.streams.ended",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Streams of `Watch` that the server ended early: `replaced` \
                  (stream.streams_per_place), `aged` (stream.age_max_ms), `slow_reader` \
                  (stream.write_stall_ms).",
    labels: &["reason"],
};
pub const STREAMS_RESET: Metric = Metric {
    name: "usher.streams.reset",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Streams of any kind that were reset because their reader still took nothing.",
    labels: &[],
};
pub const RPC_DURATION: Metric = Metric {
    name: "rpc.server.call.duration",
    kind: MetricKind::Histogram,
    unit: Unit::Seconds,
    description: "Time from a call's request to the end of its response; of a stream, its life. \
                  A call that the client gave up counts as CANCELLED.",
    labels: &["rpc_method", "rpc_response_status_code"],
};
pub const RPC_ACTIVE: Metric = Metric {
    name: "usher.rpc.active",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Calls and streams in progress.",
    labels: &[],
};
pub const OUTBOX_PENDING: Metric = Metric {
    name: "usher.outbox.pending",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Events that are committed and not published yet, without the dead ones.",
    labels: &[],
};
pub const OUTBOX_OLDEST: Metric = Metric {
    name: "usher.outbox.oldest_age",
    kind: MetricKind::Gauge,
    unit: Unit::Seconds,
    description: "Age of the oldest of them; 0 when there is none.",
    labels: &[],
};
pub const OUTBOX_DEAD: Metric = Metric {
    name: "usher.outbox.dead",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Events that the sink refused: they wait for an operator.",
    labels: &[],
};
pub const RELAY_EVENTS: Metric = Metric {
    name: "usher.relay.events",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Events that this node took from the outbox: `taken` (the sink has them), \
                  `refused` (parked for an operator), `later` (the sink was away: they stay).",
    labels: &["outcome"],
};
pub const KAFKA_MESSAGES: Metric = Metric {
    name: "usher.kafka.messages",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Messages handed to Kafka: `published` (acknowledged by all copies in sync), \
                  `failed` (not acknowledged in kafka.delivery_timeout_ms, or refused).",
    labels: &["outcome"],
};
pub const CONSUMER_EVENTS: Metric = Metric {
    name: "usher.consumer.events",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Events that a consumer got: `applied`, `duplicate` (consumed before), `parked` \
                  (given up: alert on it; `usher events redrive` tries again).",
    labels: &["consumer", "outcome"],
};
pub const CONSUMER_RETRIES: Metric = Metric {
    name: "usher.consumer.retries",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Times that a consumer failed and will try the same events again.",
    labels: &["consumer"],
};
pub const CONSUMER_LAG: Metric = Metric {
    name: "usher.consumer.lag",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Messages in the partitions of this node's member of a group that it has not \
                  committed yet.",
    labels: &["consumer"],
};
pub const CONSUMER_PARKED: Metric = Metric {
    name: "usher.consumer.parked",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Events that consumers gave up and that wait for an operator, of all nodes.",
    labels: &[],
};
pub const CATALOG_READS: Metric = Metric {
    name: "usher.catalog.reads",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Reads of the catalog by what was asked for: `hit` (it was kept, or another call \
                  was reading it), `miss` (it was waited for), `refresh` (it was read again \
                  before its time was over, and nobody waited).",
    labels: &["what", "outcome"],
};
pub const CATALOG_AGE: Metric = Metric {
    name: "usher.catalog.age",
    kind: MetricKind::Histogram,
    unit: Unit::Seconds,
    description: "Age of what was kept when it was shown; a seat map's is 0, it is as new as the \
                  call.",
    labels: &["what"],
};
pub const REDIS_COMMAND_DURATION: Metric = Metric {
    name: "usher.redis.command.duration",
    kind: MetricKind::Histogram,
    unit: Unit::Seconds,
    description: "Time from a command to its answer, a connection included: `answered`, `refused` \
                  (an error of the server or of a script), `gone` (no answer in time, or a server \
                  that cannot serve now).",
    labels: &["outcome"],
};
pub const REDIS_CONNECTIONS: Metric = Metric {
    name: "usher.redis.connections",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Connections to Redis: `opened`, `failed`.",
    labels: &["outcome"],
};
pub const REDIS_BREAKER_OPENED: Metric = Metric {
    name: "usher.redis.breaker_opened",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Times that a server failed redis.breaker_failures times in a row.",
    labels: &[],
};
pub const REDIS_SHED: Metric = Metric {
    name: "usher.redis.shed",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Commands that were not sent: `breaker` (the server is away), `in_flight` \
                  (redis.in_flight_max).",
    labels: &["reason"],
};
pub const BUS_MESSAGES: Metric = Metric {
    name: "usher.bus.messages",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Messages between nodes: `received`, `sent`, `lost` (redis.bus_messages_max, or \
                  Redis was away).",
    labels: &["what"],
};
pub const BUS_GAPS: Metric = Metric {
    name: "usher.bus.gaps",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Times that messages between nodes may be missing, and rooms are read again: \
                  `connected` (a subscription was made anew), `overflow` \
                  (redis.bus_messages_max), `unreadable`.",
    labels: &["reason"],
};

pub const SALE_LATENCY: Metric = Metric {
    name: "usher.sale.latency",
    kind: MetricKind::Gauge,
    unit: Unit::Seconds,
    description: "95th percentile of the last second's calls of the sale (catalog, reservations, \
                  payments; no streams), of the slowest method that has 20 calls, or of all \
                  together if that is more. From the whole request to the handler's answer; calls \
                  under way count with their age.",
    labels: &[],
};
pub const SQL_WAIT: Metric = Metric {
    name: "usher.sql.wait",
    kind: MetricKind::Gauge,
    unit: Unit::Seconds,
    description: "95th percentile of the last second's waits for a turn at the database; those \
                  that still wait count with their age. `checkout` (holds and payments), \
                  `writes` (other units that someone waits for), `reads`, `background` (expired \
                  holds, events, what is forgotten).",
    labels: &["pool"],
};
pub const SQL_CONNECTIONS_MAX: Metric = Metric {
    name: "usher.sql.connections_max",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Connections that a pool may open: database.checkout_connections, \
                  database.write_connections, database.read_connections, \
                  database.background_connections. On SQLite one writes for all.",
    labels: &["pool"],
};
pub const ROOM_RATE: Metric = Metric {
    name: "usher.room.rate",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Activations per second that a room allows now, where rooms are steered \
                  (steering.sale_latency_target_ms, steering.pool_wait_target_ms).",
    labels: &["room"],
};

pub const GATEWAY_CALL_DURATION: Metric = Metric {
    name: "usher.gateway.call.duration",
    kind: MetricKind::Histogram,
    unit: Unit::Seconds,
    description: "Time of a call to the payment provider: `answered`, `refused` (what it will not \
                  do), `gone` (no answer in time, or none that can be read).",
    labels: &["outcome"],
};
pub const GATEWAY_BREAKER_OPENED: Metric = Metric {
    name: "usher.gateway.breaker_opened",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Times that the payment provider failed gateway.breaker_failures times in a row.",
    labels: &[],
};
pub const GATEWAY_UNSETTLED: Metric = Metric {
    name: "usher.gateway.unsettled",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "What the payment provider has still to do: `intents` to decide, `refunds` to \
                  make.",
    labels: &["what"],
};

/// All of them, in the order of the document.
pub const ALL: &[&Metric] = &[
    &CONNECTIONS_OPEN,
    &CONNECTIONS_ACCEPTED,
    &CONNECTIONS_CUT,
    &ACCEPT_ERRORS,
    &STREAMS_OPEN,
    &STREAMS_REFUSED,
    &STREAMS_ENDED,
    &STREAMS_RESET,
    &RPC_DURATION,
    &RPC_ACTIVE,
    &OUTBOX_PENDING,
    &OUTBOX_OLDEST,
    &OUTBOX_DEAD,
    &RELAY_EVENTS,
    &KAFKA_MESSAGES,
    &CONSUMER_EVENTS,
    &CONSUMER_RETRIES,
    &CONSUMER_LAG,
    &CONSUMER_PARKED,
    &CATALOG_READS,
    &CATALOG_AGE,
    &REDIS_COMMAND_DURATION,
    &REDIS_CONNECTIONS,
    &REDIS_BREAKER_OPENED,
    &REDIS_SHED,
    &BUS_MESSAGES,
    &BUS_GAPS,
    &SALE_LATENCY,
    &SQL_WAIT,
    &SQL_CONNECTIONS_MAX,
    &ROOM_RATE,
    &GATEWAY_CALL_DURATION,
    &GATEWAY_BREAKER_OPENED,
    &GATEWAY_UNSETTLED,
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

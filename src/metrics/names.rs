//! What is measured: every metric, in the order of the document.

use metrics::Unit;

use super::{Metric, MetricKind};

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
                  `address` (transport.connections_per_address), \
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
    description: "Streams refused with TOO_MANY_STREAMS, by the limit that was reached: `node` \
                  (stream.streams_max), `user` (stream.streams_per_user), `address` \
                  (stream.streams_per_address).",
    labels: &["limit"],
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
                  `refused` (parked for an operator), `later` (the sink was away: they stay), \
                  `waits` (what they are about is away: put off alone).",
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
                  committed yet; without Kafka, events kept for a receiver, the same on every node.",
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
                  holds, events, what is forgotten), `standby` (what is only shown).",
    labels: &["pool"],
};
pub const SQL_CONNECTIONS_MAX: Metric = Metric {
    name: "usher.sql.connections_max",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Connections that a pool may open: database.checkout_connections, \
                  database.write_connections, database.read_connections, \
                  database.background_connections, database.replica_connections (0 without a \
                  standby). On SQLite one writes for all.",
    labels: &["pool"],
};
pub const STANDBY_READS: Metric = Metric {
    name: "usher.sql.standby.reads",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Reads of what is only shown (concerts, dates, rankings, sales figures) beside a \
                  standby, by who answered: `standby`; else the database, because the standby was \
                  `behind` (database.replica_lag_max_ms), might lack a change that was just told \
                  (`changed`), was `away`, or did not have what was asked for (`absent`).",
    labels: &["outcome"],
};
pub const STANDBY_LAG: Metric = Metric {
    name: "usher.sql.standby.lag",
    kind: MetricKind::Gauge,
    unit: Unit::Seconds,
    description: "How far the standby is behind the database at most; it grows while the standby \
                  is away, or replays nothing. Up to half a second is the time between two looks.",
    labels: &[],
};
pub const ROOM_RATE: Metric = Metric {
    name: "usher.room.rate",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    description: "Activations per second that a room allows now, where rooms are steered \
                  (steering.sale_latency_target_ms, steering.pool_wait_target_ms).",
    labels: &["room"],
};

pub const COUPON_ISSUES: Metric = Metric {
    name: "usher.coupon.issues",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Requests for a coupon by what became of them: `granted`, `repeated` (the user \
                  had it), `sold_out` (by the store), `sold_out_known` (from memory, without the \
                  store), `refused` (otherwise), `failed` (the store was away, or had too much to \
                  do).",
    labels: &["outcome"],
};

pub const GATEWAY_CALL_DURATION: Metric = Metric {
    name: "usher.gateway.call.duration",
    kind: MetricKind::Histogram,
    unit: Unit::Seconds,
    description: "Time of a call to the payment provider: `answered`, `refused` (what it will not \
                  do), `busy` (it says to ask again), `gone` (no answer in time, or none that can \
                  be read).",
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
    description: "What is still to be done: `intents` to decide, `refunds` to make; `refused`: \
                  refunds that nobody tries any more; `intents_elsewhere`, `refunds_elsewhere`: of \
                  providers that are not configured, so that nobody asks them.",
    labels: &["what"],
};
pub const GATEWAY_MISMATCHED: Metric = Metric {
    name: "usher.gateway.mismatched",
    kind: MetricKind::Counter,
    unit: Unit::Count,
    description: "Answers of the payment provider with another amount than was asked for. They \
                  sell nothing; what was taken goes back.",
    labels: &[],
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
    &STANDBY_READS,
    &STANDBY_LAG,
    &ROOM_RATE,
    &COUPON_ISSUES,
    &GATEWAY_CALL_DURATION,
    &GATEWAY_BREAKER_OPENED,
    &GATEWAY_UNSETTLED,
    &GATEWAY_MISMATCHED,
];

//! Settings that cannot be, alone or together.

mod outside;

use std::collections::HashSet;

use crate::domain::sale::money::AMOUNT_MINOR_MAX;

use super::{AuthMode, Config, ConfigError, KeysSource};

/// Longer than clocks may differ, by which tokens of a former room are told from
/// those of a new one with its id (`grpc::queue`).
const RETAIN_CLOSED_LEAST_MS: u64 = 60_000;
/// Ten years.
const RETAIN_CLOSED_MOST_MS: u64 = 315_360_000_000;

pub use outside::is_guarded;

type Checked = Result<(), ConfigError>;

fn refuse(key: &str, why: impl Into<String>) -> Checked {
    Err(ConfigError::new(key, why))
}

fn within(key: &str, value: u64, low: u64, high: u64) -> Checked {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    refuse(key, format!("{value} is not between {low} and {high}"))
}

fn is_database(url: &str) -> bool {
    [
        "sqlite:",
        "postgres://",
        "postgresql://",
        "mysql://",
        "mariadb://",
    ]
    .iter()
    .any(|scheme| url.starts_with(scheme))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn is_broker(text: &str) -> bool {
    let port = text.trim().rsplit_once(':');
    port.is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains("//") && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

impl Config {
    pub(super) fn check(&self) -> Checked {
        self.check_stores()?;
        self.check_database()?;
        self.check_catalog()?;
        self.check_keys()?;
        self.check_listeners()?;
        self.check_auth()?;
        self.check_times()?;
        self.check_redis()?;
        self.check_kafka()?;
        self.check_consumers()?;
        self.check_retention()?;
        self.check_receivers()?;
        self.check_steering()?;
        self.check_wallet()?;
        self.check_gateway()?;
        self.check_transport()
    }

    fn check_stores(&self) -> Checked {
        let is_embedded = self
            .database_url
            .as_ref()
            .is_none_or(|url| url.reveal().starts_with("sqlite:"));
        if self.redis_url.is_some() && is_embedded {
            return refuse(
                "redis_url",
                "nodes that share a queue must share a database: SQLite is one node's alone",
            );
        }
        if let Some(brokers) = &self.kafka_brokers
            && !brokers.split(',').all(is_broker)
        {
            let why = format!("{brokers:?} is not host:port, separated by commas");
            return refuse("kafka_brokers", why);
        }
        match &self.database_url {
            Some(url) if !is_database(url.reveal()) => refuse(
                "database_url",
                format!("{url} is neither sqlite://, postgres:// nor mysql://"),
            ),
            _ => Ok(()),
        }
    }

    fn check_catalog(&self) -> Checked {
        let catalog = &self.catalog;
        within("catalog.cache_ttl_ms", catalog.cache_ttl_ms, 0, 3_600_000)?;
        let items = catalog.cache_items_max;
        within("catalog.cache_items_max", items, 1, 10_000_000)?;
        let seats = catalog.cache_seats_max;
        within("catalog.cache_seats_max", seats, 1, 100_000_000)?;
        within("catalog.warm_up_ms", catalog.warm_up_ms, 0, 3_600_000)
    }

    fn check_replica(&self) -> Checked {
        let database = &self.database;
        let connections = database.replica_connections;
        within("database.replica_connections", connections.into(), 1, 1_000)?;
        let lag_max_ms = database.replica_lag_max_ms;
        within("database.replica_lag_max_ms", lag_max_ms, 200, 60_000)?;
        let Some(replica) = &database.replica_url else {
            return Ok(());
        };
        let key = "database.replica_url";
        if !is_postgres(replica.reveal()) {
            return refuse(key, format!("{replica} is not postgres://"));
        }
        match &self.database_url {
            Some(url) if url == replica => {
                refuse(key, "is database_url: name its standby, or none")
            }
            Some(url) if is_postgres(url.reveal()) => Ok(()),
            Some(_) | None => refuse(
                key,
                "needs a PostgreSQL as database_url: only that has a standby",
            ),
        }
    }

    fn check_database(&self) -> Checked {
        let database = &self.database;
        let connections = |key, count: u32| within(key, count.into(), 1, 1_000);
        let lanes = database.checkout_connections;
        connections("database.checkout_connections", lanes)?;
        within("database.gather_max", database.gather_max.into(), 1, 1_000)?;
        within("database.gather_delay_ms", database.gather_delay_ms, 0, 100)?;
        connections("database.write_connections", database.write_connections)?;
        connections(
            "database.background_connections",
            database.background_connections,
        )?;
        connections("database.read_connections", database.read_connections)?;
        self.check_replica()?;
        for (key, ms) in [
            ("database.acquire_timeout_ms", database.acquire_timeout_ms),
            ("database.connect_timeout_ms", database.connect_timeout_ms),
            (
                "database.statement_timeout_ms",
                database.statement_timeout_ms,
            ),
            ("database.unit_timeout_ms", database.unit_timeout_ms),
        ] {
            within(key, ms, 100, 300_000)?;
        }
        let statement_ms = database.statement_timeout_ms;
        if database.unit_timeout_ms < statement_ms {
            return refuse(
                "database.unit_timeout_ms",
                format!("is shorter than database.statement_timeout_ms ({statement_ms})"),
            );
        }
        let key = "database.lock_timeout_ms";
        let lock_ms = database.lock_timeout_ms;
        // A wait for a lock that a statement's own end cuts short would look like
        // a database that is too slow.
        within(key, lock_ms, 100, statement_ms - 1)?;
        let url = self.database_url.as_ref().map_or("", |url| url.reveal());
        let counts_seconds = url.starts_with("mysql://") || url.starts_with("mariadb://");
        if counts_seconds && lock_ms.div_ceil(1_000) * 1_000 >= statement_ms {
            let why = format!(
                "{lock_ms} is, in whole seconds, not below database.statement_timeout_ms \
                 ({statement_ms})"
            );
            return refuse(key, why);
        }
        Ok(())
    }

    fn check_keys(&self) -> Checked {
        let keys = &self.keys;
        let (wrap_key, in_file) = (keys.wrap_key.is_some(), keys.wrap_key_file.is_some());
        match keys.source {
            KeysSource::Files if self.redis_url.is_some() => {
                let why = "nodes that share rooms must share their keys: sql or mounted";
                return refuse("keys.source", why);
            }
            KeysSource::Sql if !wrap_key && !in_file => {
                return refuse("keys.wrap_key_file", "is needed where keys.source is sql");
            }
            KeysSource::Sql if wrap_key && in_file => {
                return refuse("keys.wrap_key_file", "is set beside keys.wrap_key");
            }
            KeysSource::Mounted if keys.mounted_dir.is_none() => {
                let why = "is needed where keys.source is mounted";
                return refuse("keys.mounted_dir", why);
            }
            KeysSource::Files | KeysSource::Sql | KeysSource::Mounted => {}
        }
        within("keys.reread_ms", keys.reread_ms, 100, 60_000)
    }

    fn check_listeners(&self) -> Checked {
        if self.ops_listen == Some(self.listen) && self.listen.port() != 0 {
            return refuse("ops_listen", "is the address of listen");
        }
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => refuse("tls.key", "is missing beside tls.certificate"),
            (None, Some(_)) => refuse("tls.certificate", "is missing beside tls.key"),
            _ => Ok(()),
        }
    }

    fn check_auth(&self) -> Checked {
        let auth = &self.auth;
        within("auth.leeway_s", auth.leeway_s, 0, 300)?;
        let from_provider = auth.jwks_file.is_some() || !auth.public_keys.is_empty();
        match auth.mode {
            AuthMode::Dev => self.check_dev(),
            AuthMode::Jwt if !from_provider && !auth.accept_own_tokens => refuse(
                "auth.jwks_file",
                "auth.mode is jwt, and no key to verify tokens with is named",
            ),
            AuthMode::Jwt if from_provider && auth.issuer.is_none() => {
                refuse("auth.issuer", "is needed with the keys of an issuer")
            }
            AuthMode::Jwt if from_provider && auth.audience.is_none() => {
                refuse("auth.audience", "is needed with the keys of an issuer")
            }
            AuthMode::Jwt => Ok(()),
        }
    }

    fn check_dev(&self) -> Checked {
        let auth = &self.auth;
        let why = "is set, but auth.mode is dev: tokens would not be looked at";
        if auth.jwks_file.is_some() {
            return refuse("auth.jwks_file", why);
        }
        if !auth.public_keys.is_empty() {
            return refuse("auth.public_keys", why);
        }
        if auth.accept_own_tokens {
            return refuse("auth.accept_own_tokens", why);
        }
        if !self.listen.ip().to_canonical().is_loopback() && !auth.dev_off_loopback {
            return refuse(
                "auth.mode",
                format!(
                    "dev lets everyone be anyone, and {} can be reached by others; \
                     set auth.dev_off_loopback = true if that is what you want",
                    self.listen
                ),
            );
        }
        Ok(())
    }

    fn check_times(&self) -> Checked {
        let (queue, stream) = (&self.queue, &self.stream);
        within("queue.tick_ms", queue.tick_ms, 10, 100)?;
        within("queue.rebuild_pause_ms", queue.rebuild_pause_ms, 0, 300_000)?;
        within("queue.lease_ms", queue.lease_ms, 2_000, 60_000)?;
        if queue.retain_closed_ms != 0 {
            let least = RETAIN_CLOSED_LEAST_MS;
            within(
                "queue.retain_closed_ms",
                queue.retain_closed_ms,
                least,
                RETAIN_CLOSED_MOST_MS,
            )?;
        }
        let heartbeat_ms = stream.heartbeat_interval_ms;
        within("stream.heartbeat_interval_ms", heartbeat_ms, 1_000, 30_000)?;
        within(
            "stream.write_stall_ms",
            stream.write_stall_ms,
            1_000,
            600_000,
        )?;
        if stream.write_stall_ms < heartbeat_ms {
            return refuse(
                "stream.write_stall_ms",
                format!("is shorter than stream.heartbeat_interval_ms ({heartbeat_ms})"),
            );
        }
        let streams_max = stream.streams_max as u64;
        within("stream.streams_max", streams_max, 1, 10_000_000)?;
        let streams = stream.streams_per_place as u64;
        within("stream.streams_per_place", streams, 1, 100)?;
        let per_user = stream.streams_per_user as u64;
        within("stream.streams_per_user", per_user, 0, 1_000_000)?;
        let per_address = stream.streams_per_address as u64;
        within("stream.streams_per_address", per_address, 0, 10_000_000)?;
        if stream.age_max_ms != 0 {
            within(
                "stream.age_max_ms",
                stream.age_max_ms,
                heartbeat_ms,
                u64::MAX,
            )?;
        }
        within(
            "stream.reconnect_spread_ms",
            stream.reconnect_spread_ms,
            0,
            600_000,
        )?;
        within("drain.deadline_ms", self.drain.deadline_ms, 0, 600_000)
    }

    fn check_redis(&self) -> Checked {
        let redis = &self.redis;
        let key = "redis.response_timeout_ms";
        within(key, redis.response_timeout_ms, 10, 10_000)?;
        let key = "redis.connect_timeout_ms";
        within(key, redis.connect_timeout_ms, 10, 10_000)?;
        let key = "redis.tcp_user_timeout_ms";
        within(key, redis.tcp_user_timeout_ms, 100, 60_000)?;
        let in_flight = redis.in_flight_max as u64;
        within("redis.in_flight_max", in_flight, 1, 1 << 20)?;
        within("redis.pipeline_max", redis.pipeline_max as u64, 1, 65_536)?;
        let failures = u64::from(redis.breaker_failures);
        within("redis.breaker_failures", failures, 1, 1_000)?;
        within("redis.breaker_open_ms", redis.breaker_open_ms, 10, 10_000)?;
        let key = "redis.probe_interval_ms";
        within(key, redis.probe_interval_ms, 100, 60_000)?;
        let messages = redis.bus_messages_max as u64;
        within("redis.bus_messages_max", messages, 16, 1 << 20)
    }

    fn check_steering(&self) -> Checked {
        let steering = &self.steering;
        let key = "steering.sale_latency_target_ms";
        within(key, steering.sale_latency_target_ms, 0, 60_000)?;
        let key = "steering.pool_wait_target_ms";
        within(key, steering.pool_wait_target_ms, 0, 60_000)?;
        within("steering.settle_ms", steering.settle_ms, 100, 600_000)?;
        let fraction = steering.rate_min_fraction;
        if fraction.is_finite() && (0.000_1..=1.0).contains(&fraction) {
            return Ok(());
        }
        let why = format!("{fraction} is not between 0.0001 and 1");
        refuse("steering.rate_min_fraction", why)
    }

    fn check_wallet(&self) -> Checked {
        let wallet = &self.wallet;
        if wallet.currencies.is_empty() {
            return refuse("wallet.currencies", "names no currency");
        }
        let mut seen = HashSet::new();
        if let Some(twice) = wallet.currencies.iter().find(|code| !seen.insert(**code)) {
            return refuse("wallet.currencies", format!("names {twice} twice"));
        }
        let amount = |key, minor: i64, low: i64| {
            if (low..=AMOUNT_MINOR_MAX).contains(&minor) {
                return Ok(());
            }
            refuse(
                key,
                format!("{minor} is not between {low} and {AMOUNT_MINOR_MAX}"),
            )
        };
        amount("wallet.top_up_minor_max", wallet.top_up_minor_max, 1)?;
        // A wallet that takes less than one top-up may bring.
        let low = wallet.top_up_minor_max;
        amount("wallet.balance_minor_max", wallet.balance_minor_max, low)
    }

    fn check_transport(&self) -> Checked {
        let (transport, limits) = (&self.transport, &self.limits);
        let per_address = transport.connections_per_address as u64;
        within(
            "transport.connections_per_address",
            per_address,
            0,
            10_000_000,
        )?;
        let accepts = u64::from(transport.accepts_per_s);
        if accepts != 0 {
            within("transport.accepts_per_s", accepts, 10, 1_000_000)?;
        }
        within("transport.cores", transport.cores as u64, 0, 1_024)?;
        let streams = u64::from(transport.streams_per_connection_max);
        within(
            "transport.streams_per_connection_max",
            streams,
            1,
            1_000_000,
        )?;
        let key = "transport.handshake_timeout_ms";
        within(key, transport.handshake_timeout_ms, 100, 120_000)?;
        let key = "transport.request_timeout_ms";
        within(key, transport.request_timeout_ms, 100, 120_000)?;
        let key = "transport.keepalive_interval_ms";
        within(key, transport.keepalive_interval_ms, 1_000, 3_600_000)?;
        let key = "transport.keepalive_timeout_ms";
        within(key, transport.keepalive_timeout_ms, 1_000, 600_000)?;
        let header_bytes = u64::from(transport.header_bytes_max);
        within("transport.header_bytes_max", header_bytes, 8_192, 1 << 20)?;
        let send_bytes = transport.send_buffer_bytes_max as u64;
        within(
            "transport.send_buffer_bytes_max",
            send_bytes,
            1_024,
            1 << 24,
        )?;
        for origin in &transport.cors_origins {
            if origin != "*" && !origin.contains("://") {
                let why = format!("{origin} is no origin: write https://shop.example");
                return refuse("transport.cors_origins", why);
            }
        }
        for (key, per_minute) in [
            ("limits.join_per_minute", limits.join_per_minute),
            (
                "limits.stream_open_per_minute",
                limits.stream_open_per_minute,
            ),
            ("limits.money_per_minute", limits.money_per_minute),
            ("limits.coupon_per_minute", limits.coupon_per_minute),
        ] {
            within(key, per_minute.into(), 1, 1_000_000)?;
        }
        let message_bytes = limits.request_bytes_max as u64;
        within("limits.request_bytes_max", message_bytes, 1_024, 1 << 26)
    }
}

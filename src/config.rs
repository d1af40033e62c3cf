//! What an operator can set, read once at the start and validated whole.
//!
//! `default.toml` is the documentation *and* the source of defaults; over it
//! go a file, the environment and flags ([`load`]). A key that does not exist,
//! a value that cannot be and settings that contradict each other end the start
//! with the key's name. Each consumer is handed its own section.

mod check;
mod events;
mod load;
mod render;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use check::is_guarded;
pub use events::{Compression, ConsumersConfig, FeedConfig, KafkaConfig};
pub use load::{Flags, Sources};

use crate::domain::sale::currency::Currency;

/// Every setting with its default, and what it is for.
pub const DEFAULTS: &str = include_str!("config/default.toml");

/// A setting that cannot be, by its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct ConfigError {
    pub key: String,
    pub why: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            why: why.into(),
        }
    }
}

/// A URL that may carry a password: shown without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The whole URL, for whoever connects.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(&self.0);
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest[..authority_end].rfind('@') {
            Some(at) => write!(f, "{scheme}://***{}", &rest[at..]),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub ops_listen: Option<SocketAddr>,
    /// Always set after [`Sources::load`].
    data_dir: Option<PathBuf>,
    pub database_url: Option<SecretUrl>,
    pub redis_url: Option<SecretUrl>,
    pub kafka_brokers: Option<String>,
    pub demo_catalog: bool,
    pub database: DatabaseConfig,
    pub catalog: CatalogConfig,
    pub tls: TlsConfig,
    pub auth: AuthConfig,
    pub keys: KeysConfig,
    pub queue: QueueConfig,
    pub retention: RetentionConfig,
    pub redis: RedisConfig,
    pub kafka: KafkaConfig,
    pub consumers: ConsumersConfig,
    pub notifier: NotifierConfig,
    pub feed: FeedConfig,
    pub steering: SteeringConfig,
    pub wallet: WalletConfig,
    pub gateway: GatewayConfig,
    pub stream: StreamConfig,
    pub transport: TransportConfig,
    pub limits: LimitsConfig,
    pub drain: DrainConfig,
    pub log: LogConfig,
    pub metrics: MetricsConfig,
}

impl Config {
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data_dir
            .as_deref()
            .unwrap_or(Path::new(load::FALLBACK_DATA_DIR))
    }

    /// TOML, as `usher config` prints it: without secrets.
    #[must_use]
    pub fn render(&self) -> String {
        render::toml(self)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    pub gather_max: u32,
    pub gather_delay_ms: u64,
    pub checkout_connections: u32,
    pub write_connections: u32,
    pub background_connections: u32,
    pub read_connections: u32,
    pub replica_url: Option<SecretUrl>,
    pub replica_connections: u32,
    pub replica_lag_max_ms: u64,
    pub acquire_timeout_ms: u64,
    pub connect_timeout_ms: u64,
    pub statement_timeout_ms: u64,
    pub lock_timeout_ms: u64,
    pub unit_timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    pub cache_ttl_ms: u64,
    pub cache_items_max: u64,
    pub cache_seats_max: u64,
    pub warm_up_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Callers say who they are.
    Dev,
    /// Callers prove who they are.
    Jwt,
}

/// A PEM file with a public key that user tokens name by `kid`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyConfig {
    pub kid: String,
    pub file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    pub mode: AuthMode,
    pub dev_off_loopback: bool,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub jwks_file: Option<PathBuf>,
    pub public_keys: Vec<PublicKeyConfig>,
    pub accept_own_tokens: bool,
    pub role_claim: String,
    pub leeway_s: u64,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeysSource {
    /// A file of this node's own.
    Files,
    /// Shared through the database.
    Sql,
    /// A file that someone else keeps.
    Mounted,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    pub source: KeysSource,
    pub wrap_key: Option<Secret>,
    pub wrap_key_file: Option<PathBuf>,
    pub mounted_dir: Option<PathBuf>,
    pub reread_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    pub tick_ms: u64,
    pub rebuild_pause_ms: u64,
    pub lease_ms: u64,
    /// 0: for ever.
    pub retain_closed_ms: u64,
}

/// Of the last three 0: for ever.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    pub idempotency_ms: u64,
    pub events_ms: u64,
    pub gateway_events_ms: u64,
    pub declined_intents_ms: u64,
    pub ended_holds_ms: u64,
    pub finished_sales_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    pub ca_file: Option<PathBuf>,
    pub response_timeout_ms: u64,
    pub connect_timeout_ms: u64,
    pub tcp_user_timeout_ms: u64,
    /// Per server.
    pub in_flight_max: usize,
    pub pipeline_max: usize,
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
    pub probe_interval_ms: u64,
    pub bus_messages_max: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NotifierConfig {
    /// Without it nobody is told.
    pub url: Option<SecretUrl>,
    pub secret: Option<Secret>,
    pub timeout_ms: u64,
    pub in_flight_max: usize,
    /// 0: never.
    pub pay_before_ms: u64,
    /// 0: never.
    pub remind_before_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SteeringConfig {
    /// 0: none.
    pub sale_latency_target_ms: u64,
    /// 0: none.
    pub pool_wait_target_ms: u64,
    pub rate_min_fraction: f64,
    pub settle_ms: u64,
}

impl SteeringConfig {
    /// Whether rooms are steered at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.sale_latency_target_ms > 0 || self.pool_wait_target_ms > 0
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WalletConfig {
    /// Never empty.
    pub currencies: Vec<Currency>,
    pub top_up_minor_max: i64,
    pub balance_minor_max: i64,
}

impl WalletConfig {
    /// Of a wallet that is asked for without one.
    #[must_use]
    pub fn default_currency(&self) -> Currency {
        self.currencies[0]
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// None: no gateway.
    pub url: Option<SecretUrl>,
    pub provider: String,
    pub api_key: Option<Secret>,
    pub webhook_secret: Option<Secret>,
    pub ca_file: Option<PathBuf>,
    /// No new payments.
    pub refunds_only: bool,
    pub payments_max: usize,
    pub answer_within_ms: u64,
    pub call_timeout_ms: u64,
    pub time_limit_ms: u64,
    pub webhook_tolerance_ms: u64,
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
}

/// The name of the payment provider that this process plays; nobody else's.
pub const MEMORY_PROVIDER: &str = "memory";

impl GatewayConfig {
    /// Who takes payments, as rows name them; `None`: nobody.
    #[must_use]
    pub fn provider_name(&self) -> Option<&str> {
        match &self.url {
            None => None,
            Some(_) if self.is_memory() => Some(MEMORY_PROVIDER),
            Some(_) => Some(&self.provider),
        }
    }

    /// Whether this process plays the provider: no money moves.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        self.url
            .as_ref()
            .is_some_and(|url| url.reveal() == "memory:")
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    pub heartbeat_interval_ms: u64,
    pub write_stall_ms: u64,
    /// Of a node.
    pub streams_max: usize,
    pub streams_per_place: usize,
    /// 0: no limit.
    pub streams_per_user: usize,
    /// 0: no limit.
    pub streams_per_address: usize,
    /// 0: never.
    pub age_max_ms: u64,
    pub reconnect_spread_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Http2Kind {
    /// One task for all streams of a connection.
    Direct,
    /// One task for each stream.
    Hyper,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TransportConfig {
    /// 0: one for each processor.
    pub cores: usize,
    pub http2: Http2Kind,
    /// 0: what the limit of open files allows.
    pub connections_max: usize,
    /// 0: no limit.
    pub connections_per_address: usize,
    /// 0: no limit.
    pub accepts_per_s: u32,
    pub streams_per_connection_max: u32,
    pub handshake_timeout_ms: u64,
    pub request_timeout_ms: u64,
    pub keepalive_interval_ms: u64,
    pub keepalive_timeout_ms: u64,
    pub header_bytes_max: u32,
    pub send_buffer_bytes_max: usize,
    pub cors_origins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    pub join_per_minute: u32,
    pub stream_open_per_minute: u32,
    pub money_per_minute: u32,
    pub coupon_per_minute: u32,
    pub trusted_proxies: usize,
    pub request_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    pub deadline_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    pub enabled: bool,
}

#[cfg(test)]
mod tests;

//! What a start needs before anyone is served: the data directory, the keys in
//! it, and the database with its schema.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::entropy::{Entropy, SystemEntropy};
use crate::keys::Keys;
use crate::keys::live::LiveKeys;
use crate::metrics::Metrics;
use crate::store::sql::{DatabaseClock, Dialect, ReplicaSettings, SqlError, SqlSettings, SqlStore};
use crate::truth::failpoint::{self, Failpoints};
use crate::view::catalog::CatalogCache;

use super::keyring::{Keyring, KeysError};
use super::node::random_id;

const DATABASE_FILE: &str = "usher.sqlite";

#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    #[error("cannot use the data directory {dir}: {source}")]
    DataDir {
        dir: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("USHER_FAILPOINTS: {0}")]
    Failpoints(#[from] failpoint::ParseError),
    #[error("there is no database at {}", .0.display())]
    NoDatabase(PathBuf),
    #[error("cannot use the database: {0}")]
    Sql(#[from] SqlError),
}

/// Opened stores, and the sources of time and randomness behind them.
pub struct Stores {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub keys: Arc<LiveKeys>,
    pub keyring: Arc<Keyring>,
    pub sql: Arc<SqlStore>,
    pub catalog: Arc<CatalogCache>,
    pub metrics: Metrics,
    /// Armed by `USHER_FAILPOINTS`, for tests.
    pub failpoints: Arc<Failpoints>,
}

impl Stores {
    /// Makes what is missing, and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoresError`] by what cannot be used.
    pub async fn open(config: &Config) -> Result<Self, StoresError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        make_private_dir(config.data_dir())?;
        let mut settings = sql_settings(config);
        settings.replica = replica_settings(config, entropy.as_ref());
        let sql = Arc::new(connect(settings).await?);
        sql.migrate_up().await?;
        let mut keyring = Keyring::of(config, Some(Arc::clone(&sql) as _))?;
        if config.redis_url.is_some() {
            let (node, reread_ms) = (random_id(entropy.as_ref()), config.keys.reread_ms);
            keyring = keyring.among(Arc::clone(&sql) as _, node, reread_ms);
        }
        let fill = |bytes: &mut [u8]| entropy.fill(bytes);
        let ring = keyring.read_or_make(clock.now(), &fill).await?;
        let keys = Keys::load(&ring, clock.now()).map_err(KeysError::from)?;
        let keys = LiveKeys::new(keys);
        keyring.meet(&keys).await?;
        let metrics = Metrics::new();
        let catalog = CatalogCache::new(
            Arc::clone(&sql) as _,
            Arc::clone(&sql) as _,
            &config.catalog,
            &clock,
            &entropy,
            &metrics,
        );
        Ok(Self {
            clock,
            entropy,
            keys: Arc::new(keys),
            keyring: Arc::new(keyring),
            sql,
            catalog: Arc::new(catalog),
            metrics,
            failpoints: Arc::new(failpoints()?),
        })
    }
}

fn failpoints() -> Result<Failpoints, failpoint::ParseError> {
    match std::env::var(failpoint::ENV) {
        Ok(text) => Failpoints::parse(&text),
        Err(_) => Ok(Failpoints::default()),
    }
}

/// Opens the database as it is, without touching its schema.
///
/// # Errors
/// [`StoresError`] when the directory or the database cannot be used.
pub async fn open_sql(config: &Config) -> Result<SqlStore, StoresError> {
    make_private_dir(config.data_dir())?;
    connect(sql_settings(config)).await
}

/// A server's own clock judges what it holds; SQLite is given this host's.
async fn connect(settings: SqlSettings) -> Result<SqlStore, StoresError> {
    let clock = match Dialect::of(&settings.url)? {
        Dialect::Sqlite => DatabaseClock::Given(Arc::new(SystemClock)),
        Dialect::Postgres | Dialect::MariaDb => DatabaseClock::Server,
    };
    Ok(SqlStore::open(settings, clock).await?)
}

fn sql_settings(config: &Config) -> SqlSettings {
    let (url, database) = (database_url(config), &config.database);
    let defaults = SqlSettings {
        gather_max: usize::try_from(database.gather_max).unwrap_or(usize::MAX),
        gather_delay_ms: database.gather_delay_ms,
        answers_kept_ms: config.retention.idempotency_ms,
        events_kept_ms: config.retention.events_ms,
        ..SqlSettings::new(&url)
    };
    if url.starts_with("sqlite:") {
        return defaults;
    }
    SqlSettings {
        checkout_connections: database.checkout_connections,
        write_connections: database.write_connections,
        read_connections: database.read_connections,
        background_connections: database.background_connections,
        acquire_timeout_ms: database.acquire_timeout_ms,
        connect_timeout_ms: database.connect_timeout_ms,
        statement_timeout_ms: database.statement_timeout_ms,
        lock_timeout_ms: database.lock_timeout_ms,
        unit_timeout_ms: database.unit_timeout_ms,
        ..defaults
    }
}

/// Of who shows things to others: commands read the database itself.
fn replica_settings(config: &Config, entropy: &dyn Entropy) -> Option<ReplicaSettings> {
    let database = &config.database;
    let url = database.replica_url.as_ref()?;
    Some(ReplicaSettings {
        url: url.reveal().to_owned(),
        connections: database.replica_connections,
        lag_max_ms: database.replica_lag_max_ms,
        node: random_id(entropy),
    })
}

/// Opens a database that must be there: one who only reads makes none.
///
/// # Errors
/// [`StoresError`] when there is none, or it cannot be used.
pub async fn open_existing_sql(config: &Config) -> Result<SqlStore, StoresError> {
    match database_file(config) {
        Some(path) if !path.exists() => Err(StoresError::NoDatabase(path)),
        _ => connect(sql_settings(config)).await,
    }
}

/// The file of an embedded database.
#[must_use]
pub fn database_file(config: &Config) -> Option<PathBuf> {
    let url = database_url(config);
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    Some(PathBuf::from(path.split('?').next().unwrap_or(path)))
}

fn database_url(config: &Config) -> String {
    match &config.database_url {
        Some(url) => url.reveal().to_owned(),
        None => format!(
            "sqlite://{}",
            config.data_dir().join(DATABASE_FILE).display()
        ),
    }
}

/// Keys and money lie here: nobody else may look.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), StoresError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|source| StoresError::DataDir {
        dir: dir.to_owned(),
        source,
    })
}

//! What `usher backup` and `usher restore` do with a data directory: its
//! database, and the keys that sign what is in people's hands.
//!
//! A restore makes the whole new database beside the old one, under the lease
//! by which a server owns it, and then changes their names. So a server that
//! runs is never robbed of its file, and a restore that breaks off has changed
//! nothing but names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, KeysSource};
use crate::engine::lease::Lease;
use crate::entropy::{Entropy as _, SystemEntropy};
use crate::keys::files::{self, KEY_FILE, KeyFileError};
use crate::keys::ring::KeyRing;
use crate::store::rooms::{RoomRegistry, RoomsError};
use crate::store::sql::backup::{self, Backup, BackupError, Reach};

use super::stores::{StoresError, database_file, make_private_dir, open_existing_sql};

const SQL_STOP: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A server's database has tools of its own.
    #[error(
        "this is for the embedded SQLite; back up PostgreSQL with pg_dump and MariaDB with \
         mariadb-dump (docs/operations/backup.md)"
    )]
    NotEmbedded,
    #[error("a server is running on {}: stop it first", .0.display())]
    Running(PathBuf),
    #[error("a server took {} over meanwhile: stop it, restore again", .0.display())]
    TakenOver(PathBuf),
    #[error("the keys in {} cannot be read", .0.display())]
    Keys(PathBuf),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Stores(#[from] StoresError),
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// What a backup has.
pub struct TakenBackup {
    pub bytes: u64,
    /// The key file is in it.
    pub has_keys: bool,
}

/// # Errors
/// [`DataError`]; `file` is not there then, unless it was before.
pub async fn take(config: &Config, file: &Path) -> Result<TakenBackup, DataError> {
    let database = database_file(config).ok_or(DataError::NotEmbedded)?;
    if !database.exists() {
        return Err(StoresError::NoDatabase(database).into());
    }
    let mut carried = Vec::new();
    if config.keys.source == KeysSource::Files {
        let ring = files::load(config.data_dir())?;
        let ring = serde_json::to_vec(&ring).map_err(|_| DataError::Keys(file.to_owned()))?;
        carried.push((KEY_FILE, ring));
    }
    Ok(TakenBackup {
        bytes: backup::write(&database, file, &carried).await?,
        has_keys: !carried.is_empty(),
    })
}

/// What a restore did.
pub struct RestoredBackup {
    pub database: PathBuf,
    /// Where the files are that were there.
    pub kept: Vec<PathBuf>,
    pub has_keys: bool,
    /// Why what was there could not be asked how far rooms had gone.
    pub unread: Option<String>,
}

/// # Errors
/// [`DataError`]; the database that was there is there still, or under the name
/// that a restore gives to what it replaces.
pub async fn restore(config: &Config, file: &Path) -> Result<RestoredBackup, DataError> {
    let database = database_file(config).ok_or(DataError::NotEmbedded)?;
    let backup = Backup::open(file).await?;
    let ring = match backup.carried.get(KEY_FILE) {
        Some(ring) if config.keys.source == KeysSource::Files => {
            let ring: Result<KeyRing, _> = serde_json::from_slice(ring);
            Some(ring.map_err(|_| DataError::Keys(file.to_owned()))?)
        }
        _ => None,
    };
    make_private_dir(config.data_dir())?;
    let named_at = SystemClock.now().0;
    let made = PathBuf::from(format!("{}.restoring-{named_at}", database.display()));
    let unpacked = match database.exists() {
        true => unpack_beside(config, &database, &backup, &made).await,
        false => Ok(backup.unpack(&made, &[]).await.map(|()| None)?),
    };
    let finished = match unpacked {
        Ok(unread) => {
            finish(config, &database, &made, ring.as_ref(), named_at).map(|kept| (unread, kept))
        }
        Err(error) => Err(error),
    };
    let (unread, kept) = match finished {
        Ok(done) => done,
        Err(error) => {
            // Nobody has it under this name.
            let _ = std::fs::remove_file(&made);
            return Err(error);
        }
    };
    Ok(RestoredBackup {
        database,
        kept,
        has_keys: ring.is_some(),
        unread,
    })
}

/// Under the lease of the server that might run on the database there. One that
/// cannot be read is none that a server runs on.
async fn unpack_beside(
    config: &Config,
    database: &Path,
    backup: &Backup,
    made: &Path,
) -> Result<Option<String>, DataError> {
    let unpack = async |reaches: Result<Vec<Reach>, BackupError>| {
        let (reaches, unread) = match reaches {
            Ok(reaches) => (reaches, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        backup.unpack(made, &reaches).await?;
        Ok::<_, DataError>(unread)
    };
    let sql = match open_existing_sql(config).await {
        Ok(sql) => Arc::new(sql),
        Err(error) => {
            backup.unpack(made, &[]).await?;
            return Ok(Some(error.to_string()));
        }
    };
    let mut holder = [0; 8];
    SystemEntropy.fill(&mut holder);
    let registry = Arc::clone(&sql) as Arc<dyn RoomRegistry>;
    let leased = Lease::acquire(registry, u64::from_le_bytes(holder), config.queue.lease_ms);
    let unpacked = match leased.await {
        Err(RoomsError::LeaseHeld) => Err(DataError::Running(database.to_owned())),
        Err(_) => unpack(backup::reaches(database).await).await,
        Ok(lease) => tokio::select! {
            unpacked = async { unpack(backup::reaches(database).await).await } => unpacked,
            () = lease.renew_until_lost() => Err(DataError::TakenOver(database.to_owned())),
        },
    };
    // Without giving the lease back: whoever looks now has to wait.
    sql.shutdown(SQL_STOP).await;
    unpacked
}

/// Keys first: more of them than are needed do no harm.
fn finish(
    config: &Config,
    database: &Path,
    made: &Path,
    ring: Option<&KeyRing>,
    named_at: u64,
) -> Result<Vec<PathBuf>, DataError> {
    if let Some(ring) = ring {
        let dir = config.data_dir();
        let ring = match dir.join(KEY_FILE).exists() {
            // What was signed since the backup is in people's hands too.
            true => ring.with(&files::load(dir)?),
            false => ring.clone(),
        };
        files::replace(dir, &ring)?;
    }
    let kept_as = format!("before-restore-{named_at}");
    Ok(backup::replace(made, database, &kept_as)?)
}

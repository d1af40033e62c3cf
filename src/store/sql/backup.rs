//! An SQLite database as one file, taken beside a running server, and back.
//!
//! `VACUUM INTO` reads one snapshot, so nobody waits for a backup and what
//! commits meanwhile is not in it. What else the server needs to go on (its
//! keys) travels in a table of the copy, which is what tells a backup from any
//! other file. A backup has its name only when it is whole, checked and on disk.
//!
//! What was told after a backup was taken is out with people: epochs in their
//! cursors, numbers in their tokens. So rooms come back in a later epoch than
//! was ever told, and with the numbers reserved that the database had reserved
//! which is replaced, if it can still be read ([`Reach`]).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, QueryResult,
    Statement, TransactionTrait as _, Value,
};

use super::server::connect;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Epochs between a backup and the server that begins with it: more than there
/// were since, if nobody can say.
const EPOCHS_AHEAD: i64 = 1_000;

const COPY: &str = "VACUUM INTO $1";
const MAKE_TABLE: &str =
    "CREATE TABLE usher_backup (name TEXT PRIMARY KEY NOT NULL, content BLOB NOT NULL)";
const CARRY: &str = "INSERT INTO usher_backup (name, content) VALUES ($1, $2)";
const IS_BACKUP: &str =
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'usher_backup'";
const CARRIED: &str = "SELECT name, content FROM usher_backup";
const MIGRATIONS: &str = "SELECT version FROM seaql_migrations";

const REACHES: &str = "\
SELECT rooms.id, rooms.created_at, rooms.epoch, room_lanes.lane, room_lanes.reserved_to \
FROM rooms JOIN room_lanes ON room_lanes.room_id = rooms.id";
const RAISE: &str = "UPDATE rooms SET epoch = MAX(epoch, $3) WHERE id = $1 AND created_at = $2";
const RESERVE: &str = "\
UPDATE room_lanes SET reserved_to = MAX(reserved_to, $4) WHERE room_id = $1 AND lane = $3 \
AND EXISTS (SELECT 1 FROM rooms WHERE id = $1 AND created_at = $2)";

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} is there already, and nothing is overwritten", .0.display())]
    Exists(PathBuf),
    #[error("{} is no backup that can be restored: {why}", file.display())]
    Unusable { file: PathBuf, why: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {why}", path.display())]
    Sql { path: PathBuf, why: String },
}

/// How far a room had gone in a database that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    room: String,
    created_at: i64,
    epoch: i64,
    lane: i64,
    reserved_to: i64,
}

/// Writes `file` from the database beside whoever uses it.
///
/// # Errors
/// [`BackupError`]; then there is no such file, or the one that was there.
pub async fn write(
    database: &Path,
    file: &Path,
    carried: &[(&str, Vec<u8>)],
) -> Result<u64, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let partial = beside(file, &format!("{}.partial", std::process::id()));
    let written = match fill(database, &partial, carried).await {
        Ok(()) => publish(&partial, file),
        Err(error) => Err(error),
    };
    // Gone already, or of no use.
    let _ = fs::remove_file(&partial);
    written
}

async fn fill(
    database: &Path,
    partial: &Path,
    carried: &[(&str, Vec<u8>)],
) -> Result<(), BackupError> {
    // SQLite takes an empty file as it is: keys are in it soon.
    make_private(partial)?;
    let copied = async {
        let source = open(database, Access::Write).await?;
        let name = Value::from(partial.to_string_lossy().into_owned());
        let copied = run(&source, COPY, [name]).await;
        source.close().await?;
        copied?;
        let copy = open(partial, Access::Write).await?;
        run(&copy, MAKE_TABLE, []).await?;
        for (name, content) in carried {
            run(&copy, CARRY, [Value::from(*name), content.clone().into()]).await?;
        }
        let fault = fault_of(&copy).await?;
        copy.close().await?;
        fault.map_or(Ok(()), |fault| Err(DbErr::Custom(fault)))
    };
    copied.await.map_err(|error| sql_error(database, &error))
}

/// On disk, and under its name unless that is taken by now.
fn publish(partial: &Path, file: &Path) -> Result<u64, BackupError> {
    let synced = File::open(partial).and_then(|copy| {
        copy.sync_all()?;
        Ok(copy.metadata()?.len())
    });
    let bytes = synced.map_err(|source| io_error(partial, source))?;
    fs::hard_link(partial, file).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
        _ => io_error(file, source),
    })?;
    sync_dir(file)?;
    Ok(bytes)
}

/// A backup that was looked through and found whole.
#[derive(Debug)]
pub struct Backup {
    file: PathBuf,
    /// What travels with the database, by name.
    pub carried: BTreeMap<String, Vec<u8>>,
}

impl Backup {
    /// # Errors
    /// [`BackupError::Unusable`] for anything that [`write`] did not write, or
    /// that was damaged since; nothing is changed.
    pub async fn open(file: &Path) -> Result<Self, BackupError> {
        let unusable = |why: String| BackupError::Unusable {
            file: file.to_owned(),
            why,
        };
        let mut magic = [0; 16];
        let begins = File::open(file).and_then(|mut begin| begin.read_exact(&mut magic));
        match begins {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(unusable("it is too short".to_owned()));
            }
            begins => begins.map_err(|source| io_error(file, source))?,
        }
        if &magic != MAGIC {
            return Err(unusable("it is not a database".to_owned()));
        }
        let looked = async {
            let backup = open(file, Access::Read).await?;
            let looked = look_through(&backup).await;
            backup.close().await?;
            looked
        };
        let looked = looked.await.map_err(|error| unusable(error.to_string()))?;
        let carried = looked.map_err(unusable)?;
        let file = file.to_owned();
        Ok(Self { file, carried })
    }

    /// Makes a database of it at `path`, where nothing is yet, ahead of all
    /// that anyone was told.
    ///
    /// # Errors
    /// [`BackupError`]; what was made of it may lie there.
    pub async fn unpack(&self, path: &Path, reaches: &[Reach]) -> Result<(), BackupError> {
        let mut to = make_private(path)?;
        File::open(&self.file)
            .and_then(|mut from| io::copy(&mut from, &mut to))
            .and_then(|_bytes| to.sync_all())
            .map_err(|source| io_error(path, source))?;
        let ahead = async {
            let database = open(path, Access::Write).await?;
            let moved = move_ahead(&database, reaches).await;
            database.close().await?;
            moved
        };
        ahead.await.map_err(|error| sql_error(path, &error))?;
        sync(path)
    }
}

/// What is carried, or what is wrong.
async fn look_through(
    backup: &DatabaseConnection,
) -> Result<Result<BTreeMap<String, Vec<u8>>, String>, DbErr> {
    if all(backup, IS_BACKUP).await?.is_empty() {
        return Ok(Err("it is a database, and no backup of one".to_owned()));
    }
    if let Some(fault) = fault_of(backup).await? {
        return Ok(Err(fault));
    }
    let known = Migrator::migrations();
    for row in all(backup, MIGRATIONS).await? {
        let applied: String = row.try_get("", "version")?;
        if !known.iter().any(|migration| migration.name() == applied) {
            let why = format!("a newer version of Usher made it ({applied})");
            return Ok(Err(why));
        }
    }
    let mut carried = BTreeMap::new();
    for row in all(backup, CARRIED).await? {
        carried.insert(row.try_get("", "name")?, row.try_get("", "content")?);
    }
    Ok(Ok(carried))
}

/// Damaged pages, and references to what is not there.
async fn fault_of(database: &DatabaseConnection) -> Result<Option<String>, DbErr> {
    for row in all(database, "PRAGMA integrity_check").await? {
        let said: String = row.try_get("", "integrity_check")?;
        if said != "ok" {
            return Ok(Some(format!("it is damaged: {said}")));
        }
    }
    let loose = all(database, "PRAGMA foreign_key_check").await?;
    let Some(row) = loose.first() else {
        return Ok(None);
    };
    let table: String = row.try_get("", "table")?;
    Ok(Some(format!("rows of {table} refer to nothing")))
}

async fn move_ahead(database: &DatabaseConnection, reaches: &[Reach]) -> Result<(), DbErr> {
    let all = database.begin().await?;
    for sql in [
        "DROP TABLE usher_backup",
        // Of servers that ran when it was taken.
        "DELETE FROM leases",
    ] {
        all.execute_raw(statement(sql, [])).await?;
    }
    let raise = format!("UPDATE rooms SET epoch = epoch + {EPOCHS_AHEAD}");
    all.execute_raw(statement(&raise, [])).await?;
    for reach in reaches {
        let room = || Value::from(reach.room.as_str());
        let values = [room(), reach.created_at.into(), reach.epoch.into()];
        all.execute_raw(statement(RAISE, values)).await?;
        let values = [
            room(),
            reach.created_at.into(),
            reach.lane.into(),
            reach.reserved_to.into(),
        ];
        all.execute_raw(statement(RESERVE, values)).await?;
    }
    all.commit().await
}

/// How far the rooms of a database have gone.
///
/// # Errors
/// [`BackupError::Sql`] when it cannot be read.
pub async fn reaches(database: &Path) -> Result<Vec<Reach>, BackupError> {
    let read = async {
        let from = open(database, Access::Write).await?;
        let rows = all(&from, REACHES).await;
        from.close().await?;
        rows?
            .iter()
            .map(|row| {
                Ok(Reach {
                    room: row.try_get("", "id")?,
                    created_at: row.try_get("", "created_at")?,
                    epoch: row.try_get("", "epoch")?,
                    lane: row.try_get("", "lane")?,
                    reserved_to: row.try_get("", "reserved_to")?,
                })
            })
            .collect()
    };
    let read: Result<_, DbErr> = read.await;
    read.map_err(|error| sql_error(database, &error))
}

/// Puts `made` where `database` is; what was there is kept under the names
/// answered.
///
/// # Errors
/// [`BackupError::Io`]; what was there is there, or under such a name.
pub fn replace(made: &Path, database: &Path, kept_as: &str) -> Result<Vec<PathBuf>, BackupError> {
    let mut kept = Vec::new();
    // The journal first: beside another database it would be taken for its own.
    for part in ["-shm", "-wal", ""] {
        let old = PathBuf::from(format!("{}{part}", database.display()));
        if !old.exists() {
            continue;
        }
        let aside = PathBuf::from(format!("{}.{kept_as}{part}", database.display()));
        fs::rename(&old, &aside).map_err(|source| io_error(&old, source))?;
        kept.insert(0, aside);
    }
    fs::rename(made, database).map_err(|source| io_error(database, source))?;
    sync_dir(database)?;
    Ok(kept)
}

enum Access {
    Read,
    Write,
}

/// One connection to a file that is there.
async fn open(file: &Path, access: Access) -> Result<DatabaseConnection, DbErr> {
    let file = file.to_owned();
    // The name is given as it is, whatever is in it.
    let mut options = ConnectOptions::new("sqlite://file");
    options
        .sqlx_logging(false)
        .max_connections(1)
        .map_sqlx_sqlite_opts(move |sqlite| {
            let sqlite = sqlite.filename(&file).create_if_missing(false);
            match access {
                // Nobody writes it, and nothing is made beside it.
                Access::Read => sqlite.read_only(true).immutable(true),
                Access::Write => sqlite,
            }
        });
    connect(options).await
}

fn statement(sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}

async fn run(
    database: &DatabaseConnection,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), DbErr> {
    database.execute_raw(statement(sql, values)).await?;
    Ok(())
}

async fn all(database: &DatabaseConnection, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
    database.query_all_raw(statement(sql, [])).await
}

/// A new file that only its owner reads.
fn make_private(path: &Path) -> Result<File, BackupError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| io_error(path, source))
}

fn beside(path: &Path, word: &str) -> PathBuf {
    PathBuf::from(format!("{}.{word}", path.display()))
}

fn sync(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| io_error(path, source))
}

fn sync_dir(path: &Path) -> Result<(), BackupError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync(dir.unwrap_or(Path::new(".")))
}

fn io_error(path: &Path, source: io::Error) -> BackupError {
    let path = path.to_owned();
    BackupError::Io { path, source }
}

fn sql_error(path: &Path, error: &DbErr) -> BackupError {
    BackupError::Sql {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

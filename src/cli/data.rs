//! `usher migrate`, `usher keys`, `usher seed` and `usher audit`: what lies in
//! the data directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use crate::app::keyring::Keyring;
use crate::app::stores::{open_existing_sql, open_sql};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, KeysSource};
use crate::domain::time::UnixMs;
use crate::engine::lease::Lease;
use crate::entropy::{Entropy, SystemEntropy};
use crate::keys::ring::KeyRing;
use crate::seed::{Seeded, seed_file};
use crate::store::rooms::{RoomRegistry, RoomsError};
use crate::store::sales::{Audit, AuditCheck, AuditReport, Intents as _, SalesError};
use crate::store::sql::{SqlError, SqlStore};

use super::{CliError, block_on, span};

const SQL_STOP: Duration = Duration::from_secs(5);

pub(super) const SEED_HELP: &str = "\
Put concerts, performances and rooms from a file into the database.

Stop the server first: it reads the rooms when it starts. What is there already
(by its id) is left as it is, so seeding may be repeated. A room, as a
performance, belongs to one concert; prices are in one of wallet.currencies.

It is JSON; what is not said takes its default:
  {\"concerts\": [{\"id\": \"aurora\", \"name\": \"Aurora Strings\",
    \"performances\": [{\"id\": \"aurora-1\", \"starts_at\": \"2030-05-01T19:30:00Z\",
      \"sale_opens_at\": \"2030-03-01T10:00:00Z\", \"currency\": \"EUR\",
      \"sections\": [{\"name\": \"Stalls\", \"price_minor\": 6500, \"rows\": 20,
                    \"seats_per_row\": 20}]}],
    \"room\": {\"id\": \"aurora\", \"capacity\": 500, \"rate_per_s\": 50}}]}

Called .csv it is a table, a line for each section of a performance; what is said
of a concert, its room or a performance need not be repeated:
  concert_id,concert_name,performance_id,starts_at,sale_opens_at,currency,section,\
price_minor,rows,seats_per_row,room_id,room_capacity,room_rate_per_s
  aurora,Aurora Strings,aurora-1,2030-05-01T19:30:00Z,2030-03-01T10:00:00Z,EUR,\
Stalls,6500,20,20,aurora,500,50
  aurora,,aurora-1,,,,Balcony,3900,10,20,,,
It may also have venue, description, sale_closes_at, hold_ttl_s,
hold_total_max_s, seats_per_user_max, room_name, room_opens_at, room_draw,
room_claim_window_s and room_pass_ttl_s.";

#[derive(Debug, Subcommand)]
pub(super) enum MigrateAction {
    /// Apply what is pending (a start does it too)
    Up,
    /// Take back the last migrations, with their data
    Down {
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
    /// Show every migration and whether it is applied
    Status,
}

pub(super) fn migrate(config: &Config, action: MigrateAction) -> Result<(), CliError> {
    block_on(async {
        let sql = open_sql(config).await.map_err(CliError::failed)?;
        let done = act(&sql, action).await.map_err(CliError::failed);
        sql.shutdown(SQL_STOP).await;
        done
    })?
}

async fn act(sql: &SqlStore, action: MigrateAction) -> Result<(), SqlError> {
    match action {
        MigrateAction::Up => sql.migrate_up().await?,
        MigrateAction::Down { steps } => sql.migrate_down(steps).await?,
        MigrateAction::Status => {}
    }
    for (name, is_applied) in sql.migrate_status().await? {
        println!("{} {name}", if is_applied { "applied" } else { "pending" });
    }
    Ok(())
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysAction {
    /// Show each key by its id, never its secret
    List,
    /// Add a new key to each family; old ones go on verifying
    Rotate {
        /// When the new keys begin to sign; before, every node must have them
        #[arg(long, default_value = "10m", value_parser = span::parse_s)]
        lead: u64,
    },
}

pub(super) fn keys(config: &Config, action: KeysAction) -> Result<(), CliError> {
    let now = SystemClock.now();
    let ring = block_on(with_keyring(config, async |keyring| {
        act_on_keys(config, &keyring, &action, now).await
    }))??;
    for key in ring.list(now) {
        let use_ = if key.signs { "signs" } else { "verifies" };
        println!(
            "{} {} {use_} (from {} s)",
            key.family, key.kid, key.sign_from_s
        );
    }
    Ok(())
}

/// Where this configuration's keys are; the database is opened only for those
/// that are in it.
pub(super) async fn with_keyring<T>(
    config: &Config,
    act: impl AsyncFnOnce(Keyring) -> Result<T, CliError>,
) -> Result<T, CliError> {
    if config.keys.source != KeysSource::Sql {
        return act(Keyring::of(config, None).map_err(CliError::failed)?).await;
    }
    let sql = Arc::new(open_existing_sql(config).await.map_err(CliError::failed)?);
    let keyring = Keyring::of(config, Some(Arc::clone(&sql) as _)).map_err(CliError::failed);
    let done = match keyring {
        Ok(keyring) => act(keyring).await,
        Err(error) => Err(error),
    };
    sql.shutdown(SQL_STOP).await;
    done
}

async fn act_on_keys(
    config: &Config,
    keyring: &Keyring,
    action: &KeysAction,
    now: UnixMs,
) -> Result<KeyRing, CliError> {
    let fill = |bytes: &mut [u8]| SystemEntropy.fill(bytes);
    let ring = match action {
        KeysAction::List => keyring.read().await,
        KeysAction::Rotate { lead } => {
            let reread_ms = config.keys.reread_ms;
            if config.keys.source != KeysSource::Files && lead * 1_000 < 2 * reread_ms {
                let why = format!("--lead is too short: nodes read keys each {reread_ms} ms");
                return Err(CliError::Usage(why));
            }
            keyring.rotate(now, *lead, &fill).await
        }
    };
    ring.map_err(CliError::failed)
}

pub(super) fn seed(config: &Config, file: &Path) -> Result<(), CliError> {
    block_on(async {
        let sql = Arc::new(open_sql(config).await.map_err(CliError::failed)?);
        let done = seed_stopped(&sql, file, config).await;
        sql.shutdown(SQL_STOP).await;
        let seeded = done?;
        println!(
            "created {} concerts, {} performances, {} rooms",
            seeded.concerts, seeded.performances, seeded.rooms
        );
        Ok(())
    })?
}

/// Under the lease of a server: a running one would not see the new rooms, yet
/// ask for their passes.
async fn seed_stopped(
    sql: &Arc<SqlStore>,
    file: &Path,
    config: &Config,
) -> Result<Seeded, CliError> {
    let (lease_ms, currencies) = (config.queue.lease_ms, &config.wallet.currencies);
    sql.migrate_up().await.map_err(CliError::failed)?;
    let mut holder = [0; 8];
    SystemEntropy.fill(&mut holder);
    let registry = Arc::clone(sql) as Arc<dyn RoomRegistry>;
    let lease = match Lease::acquire(registry, u64::from_le_bytes(holder), lease_ms).await {
        Ok(lease) => lease,
        Err(RoomsError::LeaseHeld) => {
            let why = "a server is running on this database: stop it, seed, start it again";
            return Err(CliError::Failed(why.to_owned()));
        }
        Err(error) => return Err(CliError::failed(error)),
    };
    let seeded = tokio::select! {
        seeded = seed_file(sql.as_ref(), &SystemEntropy, file, currencies) => {
            seeded.map_err(CliError::failed)
        }
        () = lease.renew_until_lost() => {
            let why = "a server took this database over while it was seeded: stop it, seed again";
            Err(CliError::Failed(why.to_owned()))
        }
    };
    lease.release().await.map_err(CliError::failed)?;
    seeded
}

pub(super) fn audit(config: &Config) -> Result<(), CliError> {
    let report = block_on(async {
        let sql = open_existing_sql(config).await.map_err(CliError::failed)?;
        let report = audited(&sql, config).await.map_err(CliError::failed);
        sql.shutdown(SQL_STOP).await;
        report
    })??;
    for check in &report.checks {
        say_check(check);
    }
    if report.is_clean() {
        return Ok(());
    }
    let broken = report.broken().join(", ");
    Err(CliError::Failed(format!("broken: {broken}")))
}

/// With what only the configuration tells: whom a server would ask.
async fn audited(sql: &SqlStore, config: &Config) -> Result<AuditReport, SalesError> {
    let mut report = sql.audit().await?;
    let unsettled = sql.unsettled(config.gateway.provider_name()).await?;
    report.checks.push(unsettled.check());
    Ok(report)
}

fn say_check(check: &AuditCheck) {
    let verdict = if check.violations.is_empty() {
        "ok"
    } else {
        "BROKEN"
    };
    println!("{verdict:<6} {:<4} {}", check.id, check.statement);
    for violation in &check.violations {
        println!("       {violation}");
    }
}

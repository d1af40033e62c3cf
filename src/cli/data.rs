//! `usher migrate` and `usher keys`: what lies in the data directory.

use std::time::Duration;

use clap::Subcommand;

use crate::app::stores::open_sql;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::entropy::{Entropy, SystemEntropy};
use crate::keys::files;
use crate::store::sql::{SqlError, SqlStore};

use super::{CliError, block_on, span};

const SQL_STOP: Duration = Duration::from_secs(5);

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
    let (dir, now) = (config.data_dir(), SystemClock.now());
    let fill = |bytes: &mut [u8]| SystemEntropy.fill(bytes);
    let ring = match action {
        KeysAction::List => files::load(dir),
        KeysAction::Rotate { lead } => files::rotate(dir, now, lead, &fill),
    }
    .map_err(CliError::failed)?;
    for key in ring.list(now) {
        let use_ = if key.signs { "signs" } else { "verifies" };
        println!(
            "{} {} {use_} (from {} s)",
            key.family, key.kid, key.sign_from_s
        );
    }
    Ok(())
}

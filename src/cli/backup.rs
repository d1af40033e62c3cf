//! `usher backup` and `usher restore`: the embedded server's data as one file.

use std::path::Path;

use crate::app::backup::{restore, take};
use crate::config::{Config, KeysSource};

use super::{CliError, block_on};

pub(super) const BACKUP_HELP: &str = "\
Write the embedded database and its keys to a new file.

Beside a running server or on a stopped one's data: it is one moment of the
database, checked, and on disk when the command ends. FILE is overwritten by
nothing and readable by its owner only: whoever has it has the keys that sign
places, passes and tickets.

Not in it: the configuration, TLS files, and keys that are not in the data
directory (keys.source = \"mounted\"; the wrap key of \"sql\").
PostgreSQL and MariaDB have tools of their own: docs/operations/backup.md.";

pub(super) const RESTORE_HELP: &str = "\
Begin with the database and the keys of a backup.

Refused while a server runs on the data directory. The file is checked first;
what is wrong with it changes nothing. What was there is kept beside it, under a
name that is printed. Keys that were there stay valid. Rooms begin in a later
epoch, and no number is given again that the database there had reserved.";

pub(super) fn backup(config: &Config, file: &Path) -> Result<(), CliError> {
    let taken = block_on(take(config, file))?.map_err(CliError::failed)?;
    let keys = if taken.has_keys { " and keys" } else { "" };
    let (bytes, file) = (taken.bytes, file.display());
    println!("wrote the database{keys} to {file} ({bytes} bytes)");
    match config.keys.source {
        KeysSource::Files => {}
        KeysSource::Mounted => println!("not in it: the keys in keys.mounted_dir"),
        KeysSource::Sql => println!("not in it: the wrap key of the keys in the database"),
    }
    Ok(())
}

pub(super) fn restored(config: &Config, file: &Path) -> Result<(), CliError> {
    let restored = block_on(restore(config, file))?.map_err(CliError::failed)?;
    let keys = if restored.has_keys { " and keys" } else { "" };
    println!(
        "restored the database{keys}: {}",
        restored.database.display()
    );
    for kept in &restored.kept {
        println!("kept what was there: {}", kept.display());
    }
    if let Some(why) = &restored.unread {
        println!("numbers given since the backup may be given again: {why}");
    }
    Ok(())
}

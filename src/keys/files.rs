//! The key file in the data directory: made on first start, readable by its
//! owner only, replaced by rename so that a crash leaves the old or the new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::domain::time::UnixMs;

use super::ring::{KeyRing, Random};

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "keys.json";

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot use the key file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Without the parser's words: they could quote a secret.
    #[error("the key file {path} is not a key ring of version 1")]
    Malformed { path: PathBuf },
    #[error("the key file {path} can be read by others: chmod 600 it")]
    TooOpen { path: PathBuf },
}

/// Reads the ring of a data directory, or makes it. Of two processes that
/// start together, both end with the keys of the first.
///
/// # Errors
/// [`KeyFileError`] when the file cannot be read or written, is malformed, or
/// is readable by others.
pub fn load_or_create(
    data_dir: &Path,
    now: UnixMs,
    random: Random<'_>,
) -> Result<KeyRing, KeyFileError> {
    let path = data_dir.join(KEY_FILE);
    if !path.exists() {
        let ring = KeyRing::generate(now, random);
        let staged = stage(&path, &ring)?;
        // A link, unlike a rename, fails if another process was faster.
        let linked = fs::hard_link(&staged, &path);
        fs::remove_file(&staged).map_err(|source| io_error(&path, source))?;
        match linked {
            Ok(()) => sync_dir(&path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(io_error(&path, source)),
        }
    }
    load(data_dir)
}

/// Reads the ring of a data directory.
///
/// # Errors
/// As [`load_or_create`], and when there is no key file.
pub fn load(data_dir: &Path) -> Result<KeyRing, KeyFileError> {
    load_unless(data_dir, 0o077)
}

/// As [`load`], from a directory that others fill: its group may read it, as
/// orchestrators mount secrets.
///
/// # Errors
/// As [`load`].
pub fn load_mounted(dir: &Path) -> Result<KeyRing, KeyFileError> {
    load_unless(dir, 0o027)
}

fn load_unless(data_dir: &Path, open_to: u32) -> Result<KeyRing, KeyFileError> {
    let path = data_dir.join(KEY_FILE);
    refuse_open_file(&path, open_to)?;
    let text = fs::read(&path).map_err(|source| io_error(&path, source))?;
    let ring: KeyRing = serde_json::from_slice(&text)
        .map_err(|_| KeyFileError::Malformed { path: path.clone() })?;
    if ring.version != 1 {
        return Err(KeyFileError::Malformed { path });
    }
    Ok(ring)
}

/// Adds a key to each family and writes the ring back; see [`KeyRing::rotate`].
///
/// # Errors
/// As [`load`].
pub fn rotate(
    data_dir: &Path,
    now: UnixMs,
    lead_s: u64,
    random: Random<'_>,
) -> Result<KeyRing, KeyFileError> {
    let mut ring = load(data_dir)?;
    ring.rotate(now, lead_s, random);
    replace(data_dir, &ring)?;
    Ok(ring)
}

/// Makes `ring` the one of a data directory, whole or not at all.
///
/// # Errors
/// [`KeyFileError::Io`] when it cannot be written.
pub fn replace(data_dir: &Path, ring: &KeyRing) -> Result<(), KeyFileError> {
    let path = data_dir.join(KEY_FILE);
    let staged = stage(&path, ring)?;
    fs::rename(&staged, &path).map_err(|source| io_error(&path, source))?;
    sync_dir(&path)
}

fn io_error(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Writes the ring beside its file, durable and readable by its owner only.
fn stage(path: &Path, ring: &KeyRing) -> Result<PathBuf, KeyFileError> {
    let staged = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&staged)?;
        file.write_all(&serde_json::to_vec_pretty(ring)?)?;
        file.sync_all()
    };
    write().map_err(|source| io_error(path, source))?;
    Ok(staged)
}

fn sync_dir(path: &Path) -> Result<(), KeyFileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| io_error(path, source))
}

#[cfg(unix)]
fn refuse_open_file(path: &Path, open_to: u32) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path).map_err(|source| io_error(path, source))?;
    if metadata.permissions().mode() & open_to != 0 {
        return Err(KeyFileError::TooOpen {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_open_file(_path: &Path, _open_to: u32) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::ring::tests::counting_random;
    use super::*;

    #[test]
    fn keys_are_made_once_and_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let random = counting_random();
        let first = load_or_create(dir.path(), UnixMs(5_000), &random).expect("made");
        let second = load_or_create(dir.path(), UnixMs(9_000), &random).expect("read");
        assert_eq!(first, second);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = dir.path().join(KEY_FILE);
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
            assert!(matches!(
                load(dir.path()),
                Err(KeyFileError::TooOpen { .. })
            ));
        }
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 1);
    }

    #[test]
    fn rotation_is_durable_and_keeps_the_old_keys() {
        let dir = tempfile::tempdir().expect("a directory");
        let random = counting_random();
        let old = load_or_create(dir.path(), UnixMs(5_000), &random).expect("made");
        let new = rotate(dir.path(), UnixMs(6_000), 0, &random).expect("rotated");
        assert_eq!(load(dir.path()).expect("read"), new);
        assert_eq!(new.pass[1], old.pass[0]);
    }

    #[test]
    fn a_malformed_file_is_refused_without_quoting_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let random = counting_random();
        load_or_create(dir.path(), UnixMs(5_000), &random).expect("made");
        fs::write(dir.path().join(KEY_FILE), "{\"secret-thing\":1}").expect("written");
        let error = load(dir.path()).expect_err("malformed");
        assert!(!error.to_string().contains("secret-thing"));
    }
}

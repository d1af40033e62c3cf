//! Where this node's signing keys are, and keeping up with them.
//!
//! "files" is a ring in the data directory, made at the first start. "mounted"
//! is one that someone else puts into a directory. "sql" is one that all nodes
//! share, each key wrapped. In all of them a new key is read, and so verified
//! with, within [`crate::config::KeysConfig::reread_ms`]; it signs only when its
//! time has come, which is later than that on every node. Nodes that share rooms
//! say at each reading what they have, and hear whether it goes with the rest.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, KeysConfig, KeysSource};
use crate::domain::time::UnixMs;
use crate::keys::Keys;
use crate::keys::accord::Discord;
use crate::keys::files::{self, KeyFileError};
use crate::keys::live::LiveKeys;
use crate::keys::ring::{KEYS_KEPT_MAX, KeyRing, Random, RingError};
use crate::keys::wrap::{WrapError, WrapKey};
use crate::store::signing::{SigningError, SigningKeys};

use super::node::Node;
use super::stores::Stores;

/// A node that missed so many readings is not there.
const LIVES_REREADINGS: u64 = 5;
const LIVES_MS_MIN: u64 = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("keys.wrap_key_file: {path}: {source}")]
    WrapKeyFile {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Another wrap key than that of the other nodes, or none.
    #[error("keys.wrap_key: {0}")]
    Wrap(#[from] WrapError),
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Store(#[from] SigningError),
    #[error("no signing keys are in the database yet: start a server first")]
    NoKeys,
    #[error("signing keys: {0}")]
    Discord(#[from] Discord),
}

/// Where the ring is.
enum Place {
    Files(PathBuf),
    Mounted(PathBuf),
    Sql(WrapKey, Arc<dyn SigningKeys>),
}

/// The other nodes, as far as keys go.
struct Company {
    shared: Arc<dyn SigningKeys>,
    /// A name for one life.
    node: u64,
    /// For how long what is said counts.
    lives_ms: u64,
}

/// A ring that can be read again.
pub struct Keyring {
    place: Place,
    company: Option<Company>,
}

impl Keyring {
    /// `shared` is asked for only where the keys are in it.
    ///
    /// # Errors
    /// [`KeysError`] for a wrap key that cannot be read.
    pub fn of(config: &Config, shared: Option<Arc<dyn SigningKeys>>) -> Result<Self, KeysError> {
        let keys = &config.keys;
        let place = match keys.source {
            KeysSource::Files => Place::Files(config.data_dir().to_owned()),
            KeysSource::Mounted => Place::Mounted(keys.mounted_dir.clone().unwrap_or_default()),
            KeysSource::Sql => Place::Sql(wrap_key(keys)?, shared.ok_or(KeysError::NoKeys)?),
        };
        Ok(Self {
            place,
            company: None,
        })
    }

    /// As one of the nodes that share this database, by a name of its own.
    #[must_use]
    pub fn among(mut self, shared: Arc<dyn SigningKeys>, node: u64, reread_ms: u64) -> Self {
        self.company = Some(Company {
            shared,
            node,
            lives_ms: (LIVES_REREADINGS * reread_ms).max(LIVES_MS_MIN),
        });
        self
    }

    /// The ring as it is.
    ///
    /// # Errors
    /// [`KeysError`] when there is none, or this node cannot read it.
    pub async fn read(&self) -> Result<KeyRing, KeysError> {
        match &self.place {
            Place::Files(dir) => Ok(files::load(dir)?),
            Place::Mounted(dir) => Ok(files::load_mounted(dir)?),
            Place::Sql(wrap_key, shared) => {
                let rows = shared.signing_keys().await?;
                if rows.is_empty() {
                    return Err(KeysError::NoKeys);
                }
                Ok(wrap_key.unwrap(&rows)?)
            }
        }
    }

    /// The ring, made where it is this node's to make. Of nodes that start
    /// together on none, all end with that of the first.
    ///
    /// # Errors
    /// As [`Keyring::read`].
    pub async fn read_or_make(
        &self,
        now: UnixMs,
        random: &(dyn Fn(&mut [u8]) + Sync),
    ) -> Result<KeyRing, KeysError> {
        match &self.place {
            Place::Files(dir) => Ok(files::load_or_create(dir, now, random as Random<'_>)?),
            Place::Mounted(_) => self.read().await,
            Place::Sql(wrap_key, shared) => {
                let made = KeyRing::generate(now, random);
                let rows = wrap_key.wrap(&made.keys(), random)?;
                let rows = shared.first_signing_keys(rows).await?;
                Ok(wrap_key.unwrap(&rows)?)
            }
        }
    }

    /// Adds a key to each family that signs `lead_s` from now.
    ///
    /// # Errors
    /// As [`Keyring::read`]; a node with another wrap key rotates nothing.
    pub async fn rotate(
        &self,
        now: UnixMs,
        lead_s: u64,
        random: &(dyn Fn(&mut [u8]) + Sync),
    ) -> Result<KeyRing, KeysError> {
        match &self.place {
            Place::Files(dir) | Place::Mounted(dir) => Ok(files::rotate(dir, now, lead_s, random)?),
            Place::Sql(wrap_key, shared) => {
                let mut ring = self.read().await?;
                ring.rotate(now, lead_s, random);
                let rows = wrap_key.wrap(&ring.newest(), random)?;
                let rows = shared.add_signing_keys(rows, KEYS_KEPT_MAX).await?;
                Ok(wrap_key.unwrap(&rows)?)
            }
        }
    }

    /// Reads the ring again, makes it what `live` has, and hears what other
    /// nodes have. What cannot be asked now stays as it was: the database's
    /// absence is told elsewhere.
    pub async fn refresh(&self, live: &LiveKeys, now: UnixMs) {
        let reread = self.reread(live, now).await;
        let agreed = self.agree(live).await;
        match reread.and(agreed) {
            Ok(()) => {}
            Err(KeysError::Store(error)) => {
                tracing::debug!(%error, "signing keys not read again");
                return;
            }
            Err(error) => return self.tell(live, &error),
        }
        if live.trouble().is_some() {
            tracing::info!("signing keys are those of the other nodes again");
            live.set_trouble(None);
        }
    }

    /// Before anybody is served.
    ///
    /// # Errors
    /// [`KeysError::Store`] when it cannot be found out. A node whose keys are
    /// not those of the others starts, and is not ready.
    pub async fn meet(&self, live: &LiveKeys) -> Result<(), KeysError> {
        match self.agree(live).await {
            Err(error @ KeysError::Discord(_)) => {
                self.tell(live, &error);
                Ok(())
            }
            agreed => agreed,
        }
    }

    async fn reread(&self, live: &LiveKeys, now: UnixMs) -> Result<(), KeysError> {
        let ring = self.read().await?;
        if !live.current().are_of(&ring, now) {
            let keys = Keys::load(&ring, now)?;
            tracing::info!(
                keys.fingerprint = keys.fingerprint(),
                "signing keys changed"
            );
            live.replace(keys);
        }
        Ok(())
    }

    /// Says what this node signs and verifies with, whether or not it could
    /// read it again.
    async fn agree(&self, live: &LiveKeys) -> Result<(), KeysError> {
        let Some(company) = &self.company else {
            return Ok(());
        };
        let held = live.current().held().to_vec();
        let judged = company
            .shared
            .hold_keys(company.node, held, company.lives_ms);
        Ok(judged.await??)
    }

    fn tell(&self, live: &LiveKeys, error: &KeysError) {
        let why = error.to_string();
        if live.trouble().as_ref() != Some(&why) {
            tracing::error!(error = %why, "signing keys are not those of the other nodes");
        }
        // A file of one's own is shared with nobody.
        if !matches!(self.place, Place::Files(_)) {
            live.set_trouble(Some(why));
        }
    }
}

fn wrap_key(keys: &KeysConfig) -> Result<WrapKey, KeysError> {
    let text = match (&keys.wrap_key, &keys.wrap_key_file) {
        (Some(key), _) => key.reveal().to_owned(),
        (None, path) => {
            let path = path.clone().unwrap_or_default();
            fs::read_to_string(&path).map_err(|source| KeysError::WrapKeyFile { path, source })?
        }
    };
    Ok(WrapKey::parse(&text)?)
}

/// Reads the ring again for as long as the node runs.
pub fn follow(config: &Config, stores: &Stores, node: &Node) {
    let (keyring, live) = (Arc::clone(&stores.keyring), Arc::clone(&stores.keys));
    let clock: Arc<dyn Clock> = Arc::clone(&stores.clock);
    let period = Duration::from_millis(config.keys.reread_ms);
    node.every("keys", period, move || {
        let (keyring, live) = (Arc::clone(&keyring), Arc::clone(&live));
        let now = clock.now();
        async move { keyring.refresh(&live, now).await }
    });
}

#[cfg(test)]
mod tests;

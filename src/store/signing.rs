//! The seam to the signing keys that nodes share, and to what each says of its
//! own.
//!
//! Promises: rows are told whole; of nodes that bring the first keys at the same
//! time, one is heard and all are told its keys; a key that is added is told to
//! everyone who asks after that. Nodes that say what they have are judged one
//! after the other.

use async_trait::async_trait;

use crate::keys::accord::{Discord, HeldKey};
use crate::keys::wrap::WrappedKey;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signing keys cannot be read: {0}")]
pub struct SigningError(pub String);

#[async_trait]
pub trait SigningKeys: Send + Sync + 'static {
    async fn signing_keys(&self) -> Result<Vec<WrappedKey>, SigningError>;

    /// Keeps these if there are none. Answers those that there are.
    async fn first_signing_keys(
        &self,
        keys: Vec<WrappedKey>,
    ) -> Result<Vec<WrappedKey>, SigningError>;

    /// Adds these, and forgets all but the newest `kept_max` of each family.
    /// Answers those that there are.
    async fn add_signing_keys(
        &self,
        keys: Vec<WrappedKey>,
        kept_max: usize,
    ) -> Result<Vec<WrappedKey>, SigningError>;

    /// Says for `lives_ms` which keys a node has, and answers whether they go
    /// with those of the other nodes ([`crate::keys::accord`]). A node whose
    /// time is over is not compared with.
    async fn hold_keys(
        &self,
        node: u64,
        held: Vec<HeldKey>,
        lives_ms: u64,
    ) -> Result<Result<(), Discord>, SigningError>;
}

//! Answers of commands whose effect is not one of the store's transactions.
//!
//! Such a command is idempotent by itself, and its answer is kept before it is
//! given: after a crash in between, the repeat finds the effect and answers for
//! the first time.

use async_trait::async_trait;

use super::{Once, SalesError};

/// A command under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub once: Once,
    pub command: &'static str,
    /// Everything that makes another request another one.
    pub request: Vec<u8>,
}

#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// The answer first given, if it is kept.
    /// [`SalesError::IdempotencyKeyReused`] for another request.
    async fn first_answer(&self, asked: Asked) -> Result<Option<Vec<u8>>, SalesError>;

    /// Keeps the answer unless there is one; answers the one that is kept.
    async fn keep_answer(&self, asked: Asked, answer: Vec<u8>) -> Result<Vec<u8>, SalesError>;
}

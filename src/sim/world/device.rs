//! One device of a user: what it keeps, and what it was told.

use std::sync::Arc;

use crate::domain::ids::{ActivationId, Cursor, PlaceKey, UserId};

use super::super::oracle::Told;
use super::super::stream::Stream;
use super::sale::Purchase;

/// A place token as its client keeps it.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Token {
    pub(in crate::sim) text: String,
    pub(in crate::sim) place: PlaceKey,
}

/// One device.
pub(in crate::sim) struct Client {
    pub(in crate::sim) user: UserId,
    pub(in crate::sim) token: Option<Token>,
    /// The last pass it was given.
    pub(in crate::sim) pass: Option<(ActivationId, Arc<str>)>,
    pub(in crate::sim) purchase: Purchase,
    pub(in crate::sim) stream: Option<Stream>,
    /// Where it would resume.
    pub(in crate::sim) seen: Cursor,
    pub(in crate::sim) told: Told,
    /// Real time when someone last vouched for it.
    pub(in crate::sim) attended_ms: u64,
}

impl Client {
    pub(in crate::sim) fn new(index: usize) -> Self {
        Self {
            user: UserId::parse(&format!("user-{}", user_of(index))).expect("a valid id"),
            token: None,
            pass: None,
            purchase: Purchase::default(),
            stream: None,
            seen: Cursor::default(),
            told: Told::default(),
            attended_ms: 0,
        }
    }

    pub(in crate::sim) fn place(&self) -> Option<PlaceKey> {
        self.token.as_ref().map(|token| token.place)
    }
}

/// Whose device it is.
pub(in crate::sim) fn user_of(client: usize) -> usize {
    client / 2
}

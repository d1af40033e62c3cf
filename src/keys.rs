//! Everything that Usher signs, and how it is told from what others made up.
//!
//! Two families, by who reads them. Place and page tokens come back to Usher
//! alone, so a MAC will do ([`place`], [`page`]). Passes and ticket codes are
//! checked by others against published keys, so they are EdDSA in compact JWS
//! form ([`pass`], [`ticket`]). User tokens are made by an identity provider,
//! or by `usher token` with a key of its own ([`user`]).
//!
//! Invariants: a key serves one purpose; what is signed for one purpose never
//! verifies for another (header or domain is pinned); a key set is a value that
//! is replaced whole; secret bytes are in no `Debug` output and in no error.

use std::sync::Arc;

use crate::domain::time::UnixMs;

pub mod accord;
#[cfg(test)]
mod catalogue;
pub mod files;
mod json;
mod jws;
pub mod live;
mod mac;
pub mod page;
pub mod pass;
pub mod place;
pub mod ring;
pub mod ticket;
pub mod user;
pub mod wrap;

use accord::HeldKey;
use page::PageTokens;
use pass::PassKeys;
use place::PlaceTokens;
use ring::{KeyRing, RingError};
use ticket::TicketCodes;
use user::{UserIssuer, UserKey};

/// How far two clocks may differ before a token counts as too old or too new.
pub const LEEWAY_S: u64 = 5;

/// Why a token is refused. The text is for the log: a client reads one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("token refused: {0}")]
    Invalid(&'static str),
    /// Well signed, but not for the caller.
    #[error("token of another user")]
    OtherUser,
}

/// All keys of a node, ready to sign and verify.
#[derive(Debug)]
pub struct Keys {
    pub places: PlaceTokens,
    pub pages: PageTokens,
    pub passes: Arc<PassKeys>,
    pub tickets: TicketCodes,
    pub issuer: UserIssuer,
    own_users: Arc<[UserKey]>,
    fingerprint: String,
    held: Vec<HeldKey>,
}

impl Keys {
    /// Makes the keys of a ring usable; each family signs with its newest key
    /// whose time has come, and verifies with all.
    ///
    /// # Errors
    /// [`RingError`] when a family has no usable key or a secret is malformed.
    pub fn load(ring: &KeyRing, now: UnixMs) -> Result<Self, RingError> {
        let passes = Arc::new(PassKeys::load(&ring.pass, now)?);
        let issuer = UserIssuer::load(&ring.user, now)?;
        Ok(Self {
            places: PlaceTokens::load(&ring.mac, now)?,
            pages: PageTokens::load(&ring.mac, now)?,
            tickets: TicketCodes::new(Arc::clone(&passes)),
            own_users: issuer.public_keys()?.into(),
            issuer,
            passes,
            fingerprint: ring.fingerprint(),
            held: ring.held(now),
        })
    }

    /// The public halves of the keys that sign `usher token`'s user tokens.
    #[must_use]
    pub fn own_user_keys(&self) -> Arc<[UserKey]> {
        Arc::clone(&self.own_users)
    }

    /// Whether [`Keys::load`] would make the same of this ring now.
    #[must_use]
    pub fn are_of(&self, ring: &KeyRing, now: UnixMs) -> bool {
        self.held == ring.held(now)
    }

    /// What other nodes may know of them.
    #[must_use]
    pub fn held(&self) -> &[HeldKey] {
        &self.held
    }

    /// Equal on nodes that hold the same keys; tells nothing about them.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

//! Whether several nodes have the same signing keys, and which of them steps
//! back when they have not.
//!
//! Each node says which keys it has and which of them sign. Two nodes are at
//! one when each has what the other signs with: then each accepts what the
//! other hands out. A node that comes must be at one with all that were
//! accepted, else it is not. Accepted ones that fall out count, for each key
//! that some sign with and some lack, who has it: the fewer step back. If they
//! are as many, those that lack it do; if neither has what the other signs
//! with, the one that has signed for longer stays.
//!
//! Nodes are judged one after the other, and step back before an accepted one
//! only: so somebody always serves. A key is said before it signs, and so is an
//! old one: a rotation by the book is no disagreement at any moment of it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::domain::time::UnixMs;

/// A signing key as another node may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldKey {
    pub family: String,
    pub kid: String,
    /// Equal on nodes that have the same key.
    pub mark: String,
    /// Signs now; the others only verify.
    pub signs: bool,
}

/// A node, as far as its keys go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub node: u64,
    pub held: Vec<HeldKey>,
    pub is_accepted: bool,
    /// Since when its keys sign that sign now, by the database's clock.
    pub signs_since: UnixMs,
}

/// Why a node should not be sent users. The text is for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {}/{}, {}", kind.before(), key.family, key.kid, kind.after())]
pub struct Discord {
    key: HeldKey,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Others would refuse what this node signs.
    NotTheirs,
    /// This node would refuse what others sign.
    NotOurs,
}

impl Discord {
    fn of(key: &HeldKey, kind: Kind) -> Self {
        Self {
            key: key.clone(),
            kind,
        }
    }
}

impl Kind {
    fn before(self) -> &'static str {
        match self {
            Self::NotTheirs => "other nodes do not have key",
            Self::NotOurs => "this node does not have key",
        }
    }

    fn after(self) -> &'static str {
        match self {
            Self::NotTheirs => "with which this node signs",
            Self::NotOurs => "with which other nodes sign",
        }
    }
}

impl Holder {
    /// By the mark: another key may have the same id.
    fn has(&self, key: &HeldKey) -> bool {
        let same = |held: &HeldKey| held.family == key.family && held.mark == key.mark;
        self.held.iter().any(same)
    }

    fn signing(&self) -> impl Iterator<Item = &HeldKey> {
        self.held.iter().filter(|key| key.signs)
    }

    /// One that this node signs with and another does not have.
    fn missed_by(&self, other: &Self) -> Option<&HeldKey> {
        self.signing().find(|key| !other.has(key))
    }

    /// Has signed for less long.
    fn is_younger_than(&self, other: &Self) -> bool {
        (self.signs_since, self.node) > (other.signs_since, other.node)
    }

    /// Whether the same keys sign.
    #[must_use]
    pub fn signs_as(&self, held: &[HeldKey]) -> bool {
        self.signing().eq(held.iter().filter(|key| key.signs))
    }
}

/// Whether a node may serve beside the others that were accepted and live.
///
/// # Errors
/// [`Discord`] when it may not.
pub fn judge(own: &Holder, others: &[Holder]) -> Result<(), Discord> {
    // How many of all have a key, against how many have not.
    let count = |key: &HeldKey| {
        let having = others.iter().filter(|other| other.has(key)).count();
        let having = having + usize::from(own.has(key));
        having.cmp(&(others.len() + 1 - having))
    };
    for other in others {
        let (ours, theirs) = (own.missed_by(other), other.missed_by(own));
        let is_younger = own.is_younger_than(other);
        if let Some(key) = theirs {
            let gives_way = match count(key) {
                Ordering::Less => false,
                Ordering::Equal => ours.is_none() || is_younger,
                Ordering::Greater => true,
            };
            if gives_way || !own.is_accepted {
                return Err(Discord::of(key, Kind::NotOurs));
            }
        }
        if let Some(key) = ours {
            let gives_way = match count(key) {
                Ordering::Less => true,
                Ordering::Equal => theirs.is_some() && is_younger,
                Ordering::Greater => false,
            };
            if gives_way || !own.is_accepted {
                return Err(Discord::of(key, Kind::NotTheirs));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

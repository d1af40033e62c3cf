//! The keys of a node as they are now: replaced whole when the ring they come
//! from has another key, or the time of another key has come.

use std::sync::{Arc, PoisonError, RwLock};

use super::Keys;

#[derive(Debug)]
pub struct LiveKeys {
    current: RwLock<Arc<Keys>>,
    /// Why this node should not be sent users.
    trouble: RwLock<Option<String>>,
}

impl LiveKeys {
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self {
            current: RwLock::new(Arc::new(keys)),
            trouble: RwLock::default(),
        }
    }

    /// One set, for all that one request does.
    #[must_use]
    pub fn current(&self) -> Arc<Keys> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    pub fn replace(&self, keys: Keys) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(keys);
    }

    /// `Some` while this node's keys are known not to be those of the others.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.read().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    pub fn set_trouble(&self, why: Option<String>) {
        let mut trouble = self.trouble.write().unwrap_or_else(PoisonError::into_inner);
        *trouble = why;
    }
}

//! Which request a unit is for.

use std::sync::PoisonError;

use super::Tx;
use crate::domain::trace::Trace;

impl Tx {
    /// What the unit tells from here on goes on with this trace.
    pub(in crate::store::sql) fn is_for(&self, trace: Option<Trace>) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = trace;
    }

    pub(in crate::store::sql) fn trace(&self) -> Option<Trace> {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

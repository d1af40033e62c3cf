//! What an audit answers.

use serde::{Deserialize, Serialize};

/// Violations told per check; more are counted in the last line.
pub const VIOLATIONS_TOLD_MAX: usize = 100;

/// One invariant, and the rows that break it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCheck {
    /// As in the guarantees: `S1`, `M6`, `Q11`.
    pub id: String,
    pub statement: String,
    /// Empty: it holds.
    pub violations: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    pub checks: Vec<AuditCheck>,
}

impl AuditReport {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.violations.is_empty())
    }

    /// Ids of the invariants that do not hold.
    #[must_use]
    pub fn broken(&self) -> Vec<&str> {
        self.checks
            .iter()
            .filter(|check| !check.violations.is_empty())
            .map(|check| check.id.as_str())
            .collect()
    }
}

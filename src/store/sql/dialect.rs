//! Which database a URL names.
//!
//! The SQL is one body that all dialects understand: `$n` placeholders,
//! `ON CONFLICT`, sums cast to integers, text compared byte by byte. What they
//! differ in is who writes: SQLite has one writer, so a unit there is alone; on
//! PostgreSQL units run side by side, and hold each other off with
//! [`super::locks`].

use super::SqlError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// # Errors
    /// [`SqlError::Unsupported`] for a URL that no adapter reads, and for a
    /// database that connections would not share.
    pub fn of(url: &str) -> Result<Self, SqlError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        let Some(file) = url.strip_prefix("sqlite:") else {
            return Err(SqlError::Unsupported(
                "expected sqlite://PATH or postgres://USER@HOST/DATABASE",
            ));
        };
        if file.contains(":memory:") || file.contains("mode=memory") {
            // Each connection would have a database of its own.
            return Err(SqlError::Unsupported("a database in memory is not shared"));
        }
        Ok(Self::Sqlite)
    }
}

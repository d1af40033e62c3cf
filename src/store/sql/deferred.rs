//! Writes that wait for the next statement of their unit.
//!
//! A unit reads, decides in memory, and then writes. What a write changes is
//! known by then, so nothing needs its answer at once: such writes are kept
//! back and sent in one trip, before the unit reads again or at its end. On
//! SQLite each trip is a hand-over between two threads, which costs more than
//! most statements (docs/decisions/0014-deferred-writes.md).
//!
//! Invariant: the rows that they change are counted and compared with what was
//! expected, so a write whose condition no longer holds fails the unit.

use std::fmt::Write;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Value};

use super::dialect;

struct Deferred {
    sql: String,
    /// Where each of its statements begins.
    begins: Vec<usize>,
    values: Vec<Value>,
    rows: u64,
}

/// The writes of one unit that were not sent yet, in order.
#[derive(Default)]
pub(super) struct DeferredWrites(Vec<Deferred>);

impl DeferredWrites {
    pub(super) fn push(&mut self, sql: &str, values: Vec<Value>, rows: u64) {
        self.0.push(Deferred {
            sql: sql.to_owned(),
            begins: vec![0],
            values,
            rows,
        });
    }

    #[cfg(test)]
    pub(super) fn statements(&self, backend: DbBackend) -> Vec<sea_orm::Statement> {
        let all = self.0.iter();
        all.map(|write| dialect::statement(backend, &write.sql, write.values.clone()))
            .collect()
    }

    /// # Errors
    /// What the database said, or that a write did not change as many rows as
    /// expected.
    pub(super) async fn send(self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        let backend = transaction.get_database_backend();
        let trips = match backend {
            // The only one that takes several statements with values at once.
            DbBackend::Sqlite => joined(self.0),
            _ => self.0,
        };
        for mut trip in trips {
            let values = std::mem::take(&mut trip.values);
            let statement = dialect::statement(backend, &trip.sql, values);
            let changed = transaction.execute_raw(statement).await?.rows_affected();
            if changed != trip.rows {
                // No SQL in errors: they are logged.
                return Err(DbErr::Custom(format!(
                    "{changed} rows changed where {} should have: {}",
                    trip.rows,
                    trip.kinds()
                )));
            }
        }
        Ok(())
    }
}

impl Deferred {
    /// What each statement does to which table, such as `UPDATE seats`.
    fn kinds(&self) -> String {
        let kinds = self.begins.iter().map(|&begin| kind(&self.sql[begin..]));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

fn kind(sql: &str) -> String {
    let lines = sql.lines().filter(|line| !line.starts_with("--"));
    let mut words = lines.flat_map(str::split_whitespace);
    let verb = words.next().unwrap_or_default();
    // What MariaDB changes by a list.
    if let Some((_, rest)) = sql.split_once(" STRAIGHT_JOIN ") {
        let table = rest.split_whitespace().next().unwrap_or_default();
        return format!("{verb} {table}");
    }
    let table = words.find(|word| !matches!(*word, "INTO" | "FROM"));
    format!("{verb} {}", table.unwrap_or_default())
}

/// All of them as one. Each changes at most the rows expected of it, so the sum
/// tells.
fn joined(writes: Vec<Deferred>) -> Vec<Deferred> {
    let mut writes = writes.into_iter();
    let Some(mut all) = writes.next() else {
        return Vec::new();
    };
    for write in writes {
        all.sql.push_str("; ");
        all.begins.push(all.sql.len());
        renumber(&write.sql, all.values.len(), &mut all.sql);
        all.values.extend(write.values);
        all.rows += write.rows;
    }
    vec![all]
}

/// Appends `sql` with each placeholder `$n` as `$(n + by)`.
fn renumber(sql: &str, by: usize, to: &mut String) {
    let mut parts = sql.split('$');
    to.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: usize = part[..digits].parse().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(to, "${}", number + by);
        to.push_str(&part[digits..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_writes_keep_their_values() {
        let mut writes = DeferredWrites::default();
        writes.push(
            "UPDATE a SET x = $2 WHERE y = $1",
            vec![1.into(), 2.into()],
            1,
        );
        writes.push(
            "INSERT INTO b VALUES ($1, $2, $1)",
            vec![3.into(), 4.into()],
            1,
        );
        writes.push("DELETE FROM c", Vec::new(), 7);
        let all = joined(writes.0);
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].sql,
            "UPDATE a SET x = $2 WHERE y = $1; INSERT INTO b VALUES ($3, $4, $3); DELETE FROM c"
        );
        assert_eq!(all[0].values, [1, 2, 3, 4].map(Value::from));
        assert_eq!(all[0].rows, 9);
        assert_eq!(all[0].kinds(), "UPDATE a, INSERT b, DELETE c");
    }

    #[test]
    fn a_kind_is_verb_and_table() {
        let with_comment = "-- The next event of $1.\nINSERT INTO outbox (\n    id\n) SELECT 1";
        assert_eq!(kind(with_comment), "INSERT outbox");
    }
}
